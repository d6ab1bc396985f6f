// SPDX-License-Identifier: Apache-2.0

package import ControlAPIProtos

/// Why a request or connection is allowed or denied.
package struct DecisionView: Encodable, Sendable {
    /// What one rule has to say.
    struct Rule: Encodable, Sendable {
        var policy: String
        var rule: UInt32
        var action: String
        var mode: String
        var matches: Bool
        /// The first clause that is no match.
        var failed: String
        /// Whether that clause may have matched by what nobody remembers.
        var notRemembered: Bool
    }

    /// What would be if the policies in shadow were enforced.
    struct Shadow: Encodable, Sendable {
        var allowed: Bool
        var policy: String
    }

    /// Whose record of it the decision log has.
    struct Origin: Encodable, Sendable {
        /// SPIFFE ID of the agent that sent it.
        var agent: String
        var proxy: String
        var storedAt: String
    }

    /// Whose process told it.
    struct Teller: Encodable, Sendable {
        /// SPIFFE ID of the agent at which it is attached.
        var agent: String
        var proxy: String
    }

    /// Empty for a request that nobody made.
    var id: String
    var time: String
    var allowed: Bool
    /// `namespace/name`; empty if no policy decided.
    var policy: String
    /// From 0; nil if no rule decided.
    var rule: Int32?
    var reason: String
    var listener: String
    /// Of the workload that was asked.
    var identity: String
    var peer: String
    var peerAddress: String
    var port: UInt32
    var method: String
    var path: String
    var revision: UInt64
    /// Nil if nothing would be different.
    var shadow: Shadow?
    var rules: [Rule]
    var nearestMiss: String
    /// Nil if it is not from the decision log.
    var log: Origin?
    /// Nil if no process was asked or answered.
    var toldBy: Teller?
    /// What was said otherwise; empty: nothing.
    var contradiction: String

    /// Reads what a proxy or the server tells.
    package init(_ explanation: Signet_Node_V1alpha1_DecisionExplanation) {
        id = explanation.id
        time = Terminal.time(unixMilliseconds: explanation.timeUnixMilliseconds)
        allowed = explanation.allowed
        policy = Self.name(explanation.policyNamespace, explanation.policy)
        rule = explanation.rule < 0 ? nil : explanation.rule
        reason = explanation.reason
        listener = explanation.listener
        identity = explanation.identity
        peer = explanation.peer
        peerAddress = explanation.peerAddress
        port = explanation.port
        method = explanation.method
        path = explanation.path
        revision = explanation.revision.number
        shadow =
            explanation.shadowDiffers
            ? Shadow(allowed: explanation.shadowAllowed, policy: explanation.shadowPolicy) : nil
        rules = explanation.rules.map {
            Rule(
                policy: Self.name($0.policyNamespace, $0.policy),
                rule: $0.rule,
                action: $0.action,
                mode: $0.mode,
                matches: $0.matches,
                failed: $0.failed,
                notRemembered: $0.isNotRemembered
            )
        }
        nearestMiss = explanation.nearestMiss
        log =
            explanation.hasLogged
            ? Origin(
                agent: explanation.logged.agent,
                proxy: explanation.logged.proxy,
                storedAt: Terminal.time(
                    unixMilliseconds: explanation.logged.storedAtUnixMilliseconds
                )
            ) : nil
        toldBy =
            explanation.hasToldBy
            ? Teller(agent: explanation.toldBy.agent, proxy: explanation.toldBy.proxy) : nil
        contradiction = explanation.toldBy.contradiction
    }

    private static func name(_ namespace: String, _ policy: String) -> String {
        policy.isEmpty || namespace.isEmpty ? policy : "\(namespace)/\(policy)"
    }

    /// For people; each line without what could steer the terminal.
    package var text: String {
        var lines = ["\(allowed ? "ALLOWED" : "DENIED"): \(subject)"]
        lines.append("  \(decider)")
        if !id.isEmpty { lines.append("  decision \(id), \(time), listener \(listener)") }
        lines.append("  judged at revision \(revision)")
        if let shadow {
            let verdict = shadow.allowed ? "ALLOWED" : "DENIED"
            let by = shadow.policy.isEmpty ? "" : " by policy \(shadow.policy)"
            lines.append("  with the policies in shadow enforced it would be \(verdict)\(by)")
        }
        lines += origin
        if log == nil || toldBy != nil && contradiction.isEmpty {
            lines +=
                rules.isEmpty ? ["no rule could have decided"] : ["rules that could have decided:"]
            lines += rules.map(line)
        }
        if !nearestMiss.isEmpty { lines.append("nearest miss: \(nearestMiss)") }
        if !contradiction.isEmpty { lines.append("not undisputed: \(contradiction)") }
        return lines.map(Terminal.printable).joined(separator: "\n")
    }

    /// Who says it.
    private var origin: [String] {
        guard let log else {
            return toldBy.map { teller in
                [
                    "told by the process of Proxy \(teller.proxy) at \(teller.agent) alone; the "
                        + "decision log has no record of it"
                ]
            } ?? []
        }
        let record =
            "from the decision log: Proxy \(log.proxy), sent by \(log.agent), stored "
            + log.storedAt
        let isSame = toldBy != nil && contradiction.isEmpty
        return [
            record + (isSame ? "; its process tells the same" : "; it has no account of each rule")
        ]
    }

    private var subject: String {
        let what = method.isEmpty ? "connection" : "\(method) \(path)"
        let from = peer.isEmpty ? "a peer without identity" : peer
        let address = peerAddress.isEmpty ? "" : " (\(peerAddress))"
        let at = port == 0 ? "" : " port \(port)"
        return "\(what) from \(from)\(address) to \(identity)\(at)"
    }

    /// Words that the verdict itself says are left out; others are a newer server's or proxy's.
    private var decider: String {
        let by = rule.map { "by policy \(policy), rule \($0)" }
        switch reason {
        case "", "allowed", "denied": return by ?? "by no rule"
        case "guardrail": return "\(by ?? "by a policy") (guardrail)"
        case "noMatch": return "by default: no ALLOW rule matches it"
        case "reservedPeer": return "the peer is one of Signet's own parts, which no policy admits"
        default: return "\(by ?? "by no rule"): \(reason)"
        }
    }

    private func line(_ rule: Rule) -> String {
        let verdict =
            rule.matches
            ? "matches" : "\(rule.notRemembered ? "not remembered" : "no"): \(rule.failed)"
        let mode = rule.mode == "enforce" ? "" : " (\(rule.mode))"
        return "  \(rule.action) \(rule.policy) rule \(rule.rule)\(mode)  \(verdict)"
    }
}

/// A decision ID as typed.
package enum TypedDecision {
    /// As proxies make them: 128 bits of process, revision and count in base32.
    private static let characters = 26

    /// Reads an ID in small or capital letters.
    ///
    /// - Returns: It in small letters; nil for another form.
    package static func id(_ text: String) -> String? {
        let id = text.lowercased()
        let isKnown = id.utf8.allSatisfy { byte in
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "2")...UInt8(ascii: "7"): true
            default: false
            }
        }
        return isKnown && id.utf8.count == characters ? id : nil
    }
}
