// SPDX-License-Identifier: Apache-2.0

package import FoundationEssentials
package import NodeSync
package import SPIFFE

/// Why a workload gets what it gets.
package struct WorkloadExplanation: Hashable, Sendable {
    /// An entry that grants the workload an identity.
    package struct Grant: Hashable, Sendable {
        /// `namespace/name` of the entry.
        package let entry: String
        package let entryID: String
        /// What the entry's template resolved to.
        package let spiffeID: SPIFFEID
        /// The entry's workload selectors; the workload attested to all of them.
        package let matched: [Selector]
    }

    /// An entry that would have meant the workload, had it shown more.
    package struct NearMiss: Hashable, Sendable {
        /// `namespace/name` of the entry.
        package let entry: String
        package let spiffeID: String
        package let matched: [Selector]
        package let missing: [Selector]
        /// Node selectors of the entry that the server did not attest of this node.
        package let missingOfNode: [Selector]
        /// Why the entry grants nothing although all its selectors match.
        package let templateProblem: IDTemplateError?
    }

    /// In the order in which the workload is given the identities; an identity that several entries
    /// grant is there once for each.
    package let grants: [Grant]
    /// The nearest first.
    package let nearMisses: [NearMiss]
    package let revision: Revision?

    /// The identities, once for each entry that grants them.
    package var spiffeIDs: [SPIFFEID] { grants.map(\.spiffeID) }
}

/// What the agent says about itself.
package struct AgentStatus: Hashable, Sendable {
    package let name: String
    package let id: SPIFFEID?
    package let applied: Revision?
    package let isConnected: Bool
    package let entryCount: Int
    package let svidCount: Int
    package let streamCount: Int
    package let ownNotAfter: Date
    package let clockSkew: Duration?
    package let notReadyReasons: [String]
}

extension AgentLogic {
    /// Most near misses in one explanation, whatever is asked for.
    package static let nearMissesMax = 50

    /// Why a workload that attested to `selectors` gets what it gets.
    ///
    /// It looks at every entry, so callers do this on a copy of the value, outside of their lock.
    ///
    /// - Parameters:
    ///   - selectors: What the workload attested to.
    ///   - limit: Most near misses to name.
    ///   - now: The wall clock.
    /// - Returns: What it gets, and the entries that nearly mean it.
    package func explanation(
        of selectors: Set<Selector>,
        limit: Int,
        now: Date
    ) -> WorkloadExplanation {
        var granted: [(createdAt: Date, grant: WorkloadExplanation.Grant)] = []
        var misses: [WorkloadExplanation.NearMiss] = []
        for entry in entries.values where entry.expires.map({ now < $0 }) ?? true {
            let missing = entry.workloadSelectors.filter { !selectors.contains($0) }
            let missingOfNode = entry.nodeSelectors.filter {
                cache.attested?.contains($0) == false
            }
            var problem: IDTemplateError?
            if missing.isEmpty, missingOfNode.isEmpty {
                do throws(IDTemplateError) {
                    let grant = WorkloadExplanation.Grant(
                        entry: "\(entry.namespace)/\(entry.name)",
                        entryID: entry.id,
                        spiffeID: try id(of: entry, for: selectors),
                        matched: entry.workloadSelectors
                    )
                    granted.append((entry.createdAt, grant))
                    continue
                } catch {
                    problem = error
                }
            }
            misses.append(
                WorkloadExplanation.NearMiss(
                    entry: "\(entry.namespace)/\(entry.name)",
                    spiffeID: entry.spiffeID,
                    matched: entry.workloadSelectors.filter(selectors.contains),
                    missing: missing,
                    missingOfNode: missingOfNode,
                    templateProblem: problem
                )
            )
        }
        misses.sort { one, other in
            (one.missing.count, -one.matched.count, one.entry)
                < (other.missing.count, -other.matched.count, other.entry)
        }
        granted.sort { one, other in
            (one.createdAt, one.grant.spiffeID, one.grant.entry)
                < (other.createdAt, other.grant.spiffeID, other.grant.entry)
        }
        return WorkloadExplanation(
            grants: granted.map(\.grant),
            nearMisses: Array(misses.prefix(max(0, min(limit, Self.nearMissesMax)))),
            revision: sync.revision
        )
    }

    private func id(
        of entry: RegistrationEntry,
        for selectors: Set<Selector>
    ) throws(IDTemplateError) -> SPIFFEID {
        let template = try IDTemplate(parsing: entry.spiffeID)
        return try template.resolve(
            trustDomain: trustDomain,
            node: cache.node,
            workload: template.workloadValues(from: selectors),
            bounds: entry.variableBounds
        )
    }

    /// The agent's state, for people.
    package var status: AgentStatus {
        AgentStatus(
            name: name,
            id: try? SPIFFEID(trustDomain: trustDomain, path: "/signet/agent/\(name)"),
            applied: sync.revision,
            isConnected: isOnline,
            entryCount: cache.entryCount,
            svidCount: cache.svidCount,
            streamCount: cache.subscriberCount,
            ownNotAfter: own.validity.notAfter,
            clockSkew: skew.skew,
            notReadyReasons: Condition.allCases.compactMap { condition in
                (reported[condition] ?? nil).map { "\(condition.rawValue): \($0)" }
            }
        )
    }
}
