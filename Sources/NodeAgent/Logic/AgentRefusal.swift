// SPDX-License-Identifier: Apache-2.0

/// What a server says that does not want this agent.
package struct AgentRefusal: Hashable, Sendable {
    /// The name of the rule, such as `nodeBanned`.
    package let rule: String
    /// The server's sentence.
    package let text: String

    package init(rule: String, text: String) {
        self.rule = rule
        self.text = text
    }

    /// What is wrong and what to do about it, for the operator of an agent of that name.
    func description(agent name: String) -> String {
        "the server refuses this agent: \(text); \(remedy(agent: name))"
    }

    /// Commands about an agent are named only where the server has one of that name.
    private func remedy(agent name: String) -> String {
        switch rule {
        case "nodeBanned":
            "on the server, signet agent show \(name) tells why, and signet agent unban \(name) "
                + "lets it in again"
        case "nodeUnknown":
            "on the server run signet token create --name \(name), then start the agent again "
                + "with the new join token"
        default:
            "on the server, signet agent show \(name) tells its standing; to let it join again, "
                + OwnSVID.newTokenRemedy(agent: name)
        }
    }
}
