// SPDX-License-Identifier: Apache-2.0

internal import AuditLog
package import Datastore
package import FoundationEssentials
internal import Issuance
internal import NodeSync
internal import SPIFFE

/// What has to be done about keys that an upstream says are revoked
/// (docs/decisions/0020-authorities-under-another.md, "Service and agent: one protocol").
package struct UpstreamRevocationPlan: Hashable, Sendable {
    /// How far the time at which a key was named last may be behind: it is named each five minutes.
    static let namedSlackSeconds: TimeInterval = 3_600

    /// Authorities, what is above them, and those of servers below, to be revoked now.
    package fileprivate(set) var revoked: [String] = []
    /// Prepared authorities below what waits: the next one must not be one of them.
    package fileprivate(set) var prepared: [String] = []
    /// What signs, or is above what signs, and was not known to wait.
    package fileprivate(set) var waiting: [String] = []
    /// Keys that nothing here has, and that were not refused yet.
    package fileprivate(set) var refused: [String] = []
    /// Keys to be remembered as named now.
    package fileprivate(set) var named: [String] = []
    /// Keys that need not be remembered, as they are revoked on another record.
    package fileprivate(set) var settled: [String] = []
    /// Keys that are refused no more: those that nobody names any more.
    package fileprivate(set) var forgotten: [String] = []

    package var isEmpty: Bool {
        [revoked, prepared, waiting, refused, named, settled, forgotten].allSatisfy(\.isEmpty)
    }
}

extension ServerLogic {
    /// What became of keys that an upstream has revoked.
    package struct UpstreamRevocationOutcome: Hashable, Sendable {
        /// The authorities that were revoked for themselves.
        package fileprivate(set) var authorities: [AuthorityRecord] = []
        /// What was revoked above authorities, with what this changed below.
        package fileprivate(set) var above: [UpstreamOutcome] = []
        /// Authorities of servers below.
        package fileprivate(set) var below: [DownstreamRecord] = []
        /// Keys that nothing here has.
        package fileprivate(set) var refused: [String] = []
        package fileprivate(set) var forgotten: [String] = []
        /// All that waits until another authority signs.
        package fileprivate(set) var waiting: [String] = []
        /// Whether anything is trusted less than before.
        package fileprivate(set) var distrustsMore = false
    }

    /// The words of a revocation that nobody here has ordered.
    private static let revokedAbove = "the upstream revoked it"

    /// Plans what an upstream's word makes of what is known.
    ///
    /// - Parameters:
    ///   - named: The IDs of the keys that it names as revoked; nil before it has said anything, when
    ///     nothing is forgotten.
    ///   - isClockBelieved: Whether `now` says when a key was named.
    ///   - now: The wall clock.
    ///   - transaction: What is known.
    /// - Returns: What is to be done.
    /// - Throws: `DatastoreError`.
    package func upstreamRevocationPlan(
        _ named: Set<String>?,
        isClockBelieved: Bool,
        now: Date,
        in transaction: ReadTransaction
    ) throws -> UpstreamRevocationPlan {
        let stored = try transaction.upstreamRevocations()
        let rows = Dictionary(stored.map { ($0.id, $0) }) { $1 }
        let authorities = try transaction.authorities()
        let above = Dictionary(try transaction.upstreams().map { ($0.id, $0) }) { $1 }
        var plan = UpstreamRevocationPlan()
        for id in Set(rows.keys).union(named ?? []).sorted() {
            let below = authorities.filter { $0.isOrIsBelow(id) }
            let isRevoked =
                above[id]?.isRevoked
                ?? below.contains { $0.id == id && $0.state == AuthorityRecord.revokedState }
            if let record = try transaction.downstreamAuthority(id: id) {
                if record.isRevoked, rows[id] == nil { continue }
                if record.isRevoked { plan.settled.append(id) } else { plan.revoked.append(id) }
                continue
            }
            if above[id] == nil, !below.contains(where: { $0.id == id }) {
                if rows[id]?.isWaiting ?? true { plan.refused.append(id) }
            } else if below.contains(where: { $0.state == AuthorityRecord.activeState }) {
                if rows[id] == nil { plan.waiting.append(id) }
                plan.prepared += below.filter { $0.state == Authority.State.prepared.rawValue }
                    .map(\.id)
            } else if isRevoked {
                if rows[id] != nil { plan.settled.append(id) }
                continue
            } else {
                plan.revoked.append(id)
                continue
            }
            guard isClockBelieved, let row = rows[id] else { continue }
            let age = now.timeIntervalSince(row.namedAt)
            let slack = UpstreamRevocationPlan.namedSlackSeconds
            if named?.contains(id) ?? false {
                if abs(age) > slack { plan.named.append(id) }
            } else if age < -slack {
                // By a clock that was ahead; it would be kept for as long.
                plan.named.append(id)
            } else if named != nil, age >= UpstreamRevocation.keptSeconds {
                plan.forgotten.append(id)
            }
        }
        let forgotten = Set(plan.forgotten)
        plan.refused.removeAll(where: forgotten.contains)
        plan.prepared = Set(plan.prepared).sorted()
        makeRoom(among: stored, named ?? [], &plan)
        return plan
    }

    /// Has those that nobody names any more forgotten, the oldest first, while there are too many.
    private func makeRoom(
        among stored: [UpstreamRevocation],
        _ named: Set<String>,
        _ plan: inout UpstreamRevocationPlan
    ) {
        let known = Set(stored.map(\.id))
        let gone = known.intersection(plan.settled + plan.revoked + plan.forgotten)
        let new = Set(plan.refused + plan.waiting).subtracting(known)
        let excess = known.count - gone.count + new.count - UpstreamRevocation.countMax
        guard excess > 0 else { return }
        let unnamed = stored.filter { !named.contains($0.id) && !gone.contains($0.id) }
            .sorted { ($0.isWaiting ? 1 : 0, $0.namedAt) < ($1.isWaiting ? 1 : 0, $1.namedAt) }
        let left = Set(unnamed.prefix(excess).map(\.id))
        plan.forgotten += left.sorted()
        plan.refused.removeAll(where: left.contains)
        plan.named.removeAll(where: left.contains)
    }

    /// Does what was planned.
    ///
    /// What is known here is revoked as by `authority revoke`; nobody has to approve it
    /// (docs/decisions/0023-approvals.md). What signs waits, with all that is above it: else nothing
    /// could be issued.
    ///
    /// - Parameters:
    ///   - plan: What the same transaction planned.
    ///   - now: The wall clock.
    ///   - transaction: Where all of it happens.
    /// - Returns: What was done.
    /// - Throws: `APIError`, `DatastoreError`.
    package func perform(
        _ plan: UpstreamRevocationPlan,
        now: Date,
        in transaction: Transaction
    ) throws -> UpstreamRevocationOutcome {
        var outcome = UpstreamRevocationOutcome()
        for id in plan.prepared + plan.revoked {
            if try transaction.authority(id: id) != nil {
                outcome.authorities.append(
                    try revokeAuthority(
                        id,
                        reason: Self.revokedAbove,
                        by: Self.upstream,
                        now: now,
                        in: transaction
                    )
                )
            } else if try transaction.downstreamAuthority(id: id) != nil {
                outcome.below.append(
                    try revokeDownstream(
                        id,
                        .upstream,
                        reason: Self.revokedAbove,
                        by: Self.upstream,
                        now: now,
                        in: transaction
                    )
                )
            } else {
                outcome.above.append(
                    try revokeUpstream(
                        id,
                        reason: Self.revokedAbove,
                        by: Self.upstream,
                        now: now,
                        in: transaction
                    )
                )
            }
        }
        for id in plan.revoked + plan.settled { try transaction.deleteUpstreamRevocation(id: id) }
        for id in plan.named {
            guard let row = try transaction.upstreamRevocation(id: id) else { continue }
            try transaction.put(
                UpstreamRevocation(id: id, namedAt: now, isWaiting: row.isWaiting)
            )
        }
        try forget(plan.forgotten, now: now, in: transaction)
        try record(plan, now: now, in: transaction)
        (outcome.refused, outcome.forgotten) = (plan.refused, plan.forgotten)
        outcome.distrustsMore = ![plan.prepared, plan.revoked, plan.refused, plan.waiting]
            .allSatisfy(\.isEmpty)
        outcome.waiting = try transaction.upstreamRevocations().filter(\.isWaiting).map(\.id)
        return outcome
    }

    /// Refuses keys that nothing here has, and remembers what waits.
    private func record(
        _ plan: UpstreamRevocationPlan,
        now: Date,
        in transaction: Transaction
    ) throws {
        guard !plan.refused.isEmpty || !plan.waiting.isEmpty else { return }
        let revision =
            plan.refused.isEmpty ? try transaction.revision() : try transaction.advanceRevision()
        for id in plan.waiting {
            try transaction.put(UpstreamRevocation(id: id, namedAt: now, isWaiting: true))
        }
        for id in plan.refused {
            let known = try transaction.upstreamRevocation(id: id)
            try transaction.put(
                UpstreamRevocation(id: id, namedAt: known?.namedAt ?? now, isWaiting: false)
            )
            try transaction.recordDistrust(of: id, number: revision.number, isRemoval: false)
        }
        var waiting = plan.waiting.map(keyIdentifier(ofAuthority:))
        for keys in Self.leaves(of: plan.refused, orOne: !waiting.isEmpty) {
            let event = UpstreamKeys(keys: keys, waiting: waiting, revision: revision.number)
            try transaction.append(.upstreamKeysRevoked(event), by: Self.upstream, at: now)
            waiting = []
        }
    }

    private func forget(
        _ ids: [String],
        now: Date,
        in transaction: Transaction
    ) throws {
        guard !ids.isEmpty else { return }
        let revision = try transaction.advanceRevision()
        for id in ids {
            try transaction.deleteUpstreamRevocation(id: id)
            try transaction.recordDistrust(of: id, number: revision.number, isRemoval: true)
        }
        for keys in Self.leaves(of: ids, orOne: false) {
            let event = UpstreamKeys(keys: keys, revision: revision.number)
            try transaction.append(.upstreamKeysForgotten(event), by: Self.upstream, at: now)
        }
    }

    /// As many IDs as a leaf holds, and again; one leaf without any if there has to be one.
    private static func leaves(of ids: [String], orOne isNeeded: Bool) -> [[[UInt8]]] {
        let keys = ids.map(keyIdentifier(ofAuthority:))
        let size = UpstreamKeys.perLeafMax
        let leaves = stride(from: 0, to: keys.count, by: size).map {
            Array(keys[$0..<min($0 + size, keys.count)])
        }
        return leaves.isEmpty && isNeeded ? [[]] : leaves
    }
}

extension AuthorityRecord {
    /// Whether a key is the authority's, or above it.
    fileprivate func isOrIsBelow(_ keyID: String) -> Bool {
        id == keyID || ancestry?.keyIDs.contains(keyID) ?? false
    }
}
