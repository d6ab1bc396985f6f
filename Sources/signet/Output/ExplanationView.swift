// SPDX-License-Identifier: Apache-2.0

package import ControlAPIProtos

/// Why a process gets what it gets, for people (`text`) and, encoded, for programs.
package struct ExplanationView: Encodable {
    /// An entry that grants an identity.
    struct Grant: Encodable {
        var entry: String
        var entryID: String
        var spiffeID: String
        var matched: [String]
    }

    /// An entry that nearly means the process.
    struct NearMiss: Encodable {
        var entry: String
        var spiffeID: String
        var matched: [String]
        var missingWorkloadSelectors: [String]
        var missingNodeSelectors: [String]
    }

    private(set) var pid: Int32
    /// What the process attests to.
    private(set) var selectors: [String]
    /// Each identity once, in the order in which the process is given them.
    private(set) var spiffeIDs: [String]
    /// Empty although there are identities when the agent is older than this answer.
    private(set) var grantingEntries: [Grant]
    private(set) var nearMisses: [NearMiss]
    private(set) var revision: UInt64
    private(set) var attestationError: String
    private(set) var notes: [String]

    /// What the agent, or the server for it, answered.
    package init(_ explanation: Signet_Node_V1alpha1_WorkloadExplanation) {
        pid = explanation.pid
        selectors = explanation.selectors
        // The answer names an identity once for each entry that grants it.
        var named: Set<String> = []
        spiffeIDs = explanation.spiffeIds.filter { named.insert($0).inserted }
        grantingEntries = explanation.grantingEntries.map {
            Grant(
                entry: $0.entry,
                entryID: $0.entryID,
                spiffeID: $0.spiffeID,
                matched: $0.matched
            )
        }
        revision = explanation.revision.number
        attestationError = explanation.attestationError
        notes = explanation.notes
        nearMisses = explanation.nearMisses.map {
            NearMiss(
                entry: $0.entry,
                spiffeID: $0.spiffeID,
                matched: $0.matched,
                missingWorkloadSelectors: $0.missingWorkloadSelectors,
                missingNodeSelectors: $0.missingNodeSelectors
            )
        }
    }

    /// Lines for a terminal, without control characters that a peer chose.
    package var text: String {
        var lines = ["process \(pid), judged at revision \(revision)"]
        lines.append("it attests to:")
        lines += selectors.map { "  \($0)" }
        if !attestationError.isEmpty { lines.append("  not: \(attestationError)") }
        lines += notes.map { "  note: \($0)" }
        if spiffeIDs.isEmpty {
            lines.append("it gets no identity")
        } else {
            lines.append("it gets:")
            lines += spiffeIDs.flatMap(identityLines)
        }
        for (number, miss) in nearMisses.enumerated() {
            lines.append(
                number == 0
                    ? "nearest miss: entry \(miss.entry) for \(miss.spiffeID)"
                    : "then: entry \(miss.entry) for \(miss.spiffeID)"
            )
            lines += miss.matched.map { "  has      \($0)" }
            lines += miss.missingWorkloadSelectors.map { "  LACKS    \($0)" }
            lines += miss.missingNodeSelectors.map { "  LACKS    \($0) (on the node)" }
        }
        if spiffeIDs.isEmpty, nearMisses.isEmpty {
            lines.append("no entry in the agent's scope shares a selector with it")
        }
        return lines.map(Terminal.printable).joined(separator: "\n")
    }

    private func identityLines(_ id: String) -> [String] {
        var lines = ["  \(id)"]
        for grant in grantingEntries where grant.spiffeID == id {
            lines.append("    by entry \(grant.entry) (id \(grant.entryID))")
            lines += grant.matched.map { "      has  \($0)" }
        }
        return lines
    }
}
