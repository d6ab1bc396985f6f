// SPDX-License-Identifier: Apache-2.0

internal import AuditLog
internal import ControlAPI
package import Datastore
package import FoundationEssentials
internal import Issuance
package import NodeSync
package import SPIFFE

/// Roots and upstream authorities that are trusted no more, and what is below them with them
/// (docs/decisions/0020-authorities-under-another.md, "Taint and revoke above").
extension ServerLogic {
    /// What an act on something above did.
    package struct UpstreamOutcome: Hashable, Sendable {
        /// As recorded.
        package let record: UpstreamRecord
        /// The authorities below whose state it changed, as recorded.
        package let changed: [AuthorityRecord]
    }

    /// The authorities, revoked ones included, that have something in their ancestry.
    ///
    /// - Parameters:
    ///   - id: Its key ID.
    ///   - transaction: What is known.
    /// - Returns: In the order of their publication.
    /// - Throws: `DatastoreError`.
    package func authoritiesBelow(
        _ id: String,
        in transaction: ReadTransaction
    ) throws -> [AuthorityRecord] {
        try transaction.authorities().filter { $0.ancestry?.keyIDs.contains(id) ?? false }
    }

    /// Has everything replaced that authorities below signed; agents talk to no server that shows a
    /// certificate below it.
    ///
    /// - Parameters:
    ///   - id: The key ID of a root or an upstream authority.
    ///   - reason: Why.
    ///   - actor: Who does it.
    ///   - now: The wall clock.
    ///   - transaction: Where all of it happens.
    /// - Returns: What was done; nothing if it was tainted before.
    /// - Throws: `APIError` for one that is unknown or revoked, and while the active authority is
    ///   below.
    package func taintUpstream(
        _ id: String,
        reason: String,
        by actor: Actor,
        now: Date,
        in transaction: Transaction
    ) throws -> UpstreamOutcome {
        try check(reason)
        let record = try requireUpstream(id, in: transaction)
        guard !record.isRevoked else {
            throw APIError(.failedPrecondition, "authorityState", "\(id) is revoked")
        }
        guard record.distrust == nil else { return UpstreamOutcome(record: record, changed: []) }
        let below = try requireInactive(below: record, in: transaction)
        let tokens = UInt64(try transaction.deleteUnusedJoinTokens())
        var changed: [AuthorityRecord] = []
        for authority in below {
            switch try authority.knownState() {
            case .old:
                changed.append(
                    try taint(authority.id, reason: reason, by: actor, now: now, in: transaction)
                )
            case .prepared:
                changed.append(
                    try revokeAuthority(
                        authority.id,
                        reason: reason,
                        by: actor,
                        now: now,
                        in: transaction
                    )
                )
            case .active, .revoked, .tainted: break
            }
        }
        let tainted = record.with(
            AuthorityDistrust(
                taintedAt: now,
                revokedAt: nil,
                reason: reason,
                actor: actor.description
            )
        )
        try transaction.put(tainted)
        let revision = try transaction.advanceRevision()
        try transaction.recordDistrust(of: id, number: revision.number, isRemoval: false)
        let act = act(on: record, changed, reason, tokens: tokens, revision: revision)
        try transaction.append(.upstreamTainted(act), by: actor, at: now)
        return UpstreamOutcome(record: tainted, changed: changed)
    }

    /// Ends a root or an upstream authority: authorities below are revoked, and whatever else its key
    /// signed is refused; a root leaves the bundle.
    ///
    /// - Parameters: As of `taintUpstream`.
    /// - Returns: What was done; nothing if it was revoked before.
    /// - Throws: `APIError` for one that is unknown, and while the active authority is below.
    package func revokeUpstream(
        _ id: String,
        reason: String,
        by actor: Actor,
        now: Date,
        in transaction: Transaction
    ) throws -> UpstreamOutcome {
        try check(reason)
        let record = try requireUpstream(id, in: transaction)
        guard !record.isRevoked else { return UpstreamOutcome(record: record, changed: []) }
        let below = try requireInactive(below: record, in: transaction)
        let tokens = UInt64(try transaction.deleteUnusedJoinTokens())
        var changed: [AuthorityRecord] = []
        for authority in below where authority.state != AuthorityRecord.revokedState {
            changed.append(
                try revokeAuthority(
                    authority.id,
                    reason: reason,
                    by: actor,
                    now: now,
                    in: transaction
                )
            )
        }
        try revokeDownstream(
            downstreamBelow(id, in: transaction),
            .above,
            reason: reason,
            by: actor,
            now: now,
            in: transaction
        )
        let revoked = record.with(
            AuthorityDistrust(
                taintedAt: record.distrust?.taintedAt,
                revokedAt: now,
                reason: reason,
                actor: actor.description
            )
        )
        try transaction.put(revoked)
        let revision =
            record.kind == .root
            ? try transaction.recordBundleChange() : try transaction.advanceRevision()
        try transaction.recordDistrust(of: id, number: revision.number, isRemoval: false)
        let act = act(on: record, changed, reason, tokens: tokens, revision: revision)
        try transaction.append(.upstreamRevoked(act), by: actor, at: now)
        return UpstreamOutcome(record: revoked, changed: changed)
    }

    private func act(
        on record: UpstreamRecord,
        _ changed: [AuthorityRecord],
        _ reason: String,
        tokens: UInt64,
        revision: Revision
    ) -> UpstreamDistrustAct {
        UpstreamDistrustAct(
            upstream: keyIdentifier(ofAuthority: record.id),
            certificate: record.certificateDER,
            authorities: changed.map { keyIdentifier(ofAuthority: $0.id) },
            reason: reason,
            tokensDeleted: tokens,
            revision: revision.number
        )
    }

    /// Something has to sign what replaces the rest.
    ///
    /// - Returns: The authorities below.
    private func requireInactive(
        below record: UpstreamRecord,
        in transaction: ReadTransaction
    ) throws -> [AuthorityRecord] {
        let below = try authoritiesBelow(record.id, in: transaction)
        if let active = below.first(where: { $0.state == AuthorityRecord.activeState }) {
            throw APIError(
                .failedPrecondition,
                "authoritySigns",
                "authority \(active.id) below \(record.id) is active, and something has to sign what "
                    + "replaces the rest: have another certificate made below another key (or write "
                    + "upstream: none and restart), then signet authority rotate --now"
            )
        }
        return below
    }

    private func requireUpstream(
        _ id: String,
        in transaction: ReadTransaction
    ) throws -> UpstreamRecord {
        guard let record = try transaction.upstream(id: id) else {
            throw APIError(authorityUnknown: id)
        }
        return record
    }

    /// Whether there are records that `forgetUpstreams` takes.
    package func hasForgettableUpstream(
        now: Date,
        in transaction: ReadTransaction
    ) throws -> Bool {
        try !forgettableUpstreams(now: now, in: transaction).isEmpty
    }

    /// Deletes the records of what has ended: of what is distrusted 7 days later, when nobody can have
    /// been away since, of upstream authorities at once; neither while an authority is below.
    ///
    /// A distrusted upstream authority has ended when the roots of the bundle have: a ceremony may have
    /// certified its key once more, for longer than anybody here has seen.
    ///
    /// - Returns: The key IDs of those that were distrusted.
    /// - Throws: `DatastoreError`.
    package func forgetUpstreams(now: Date, in transaction: Transaction) throws -> [String] {
        var forgotten: [String] = []
        for record in try forgettableUpstreams(now: now, in: transaction) {
            try transaction.deleteUpstream(id: record.id)
            guard record.distrust != nil else { continue }
            try forgetDistrust(of: record.id, now: now, in: transaction)
            forgotten.append(record.id)
        }
        return forgotten
    }

    /// Nobody is told any more that a key is distrusted, as nothing that it signed counts by itself.
    func forgetDistrust(of id: String, now: Date, in transaction: Transaction) throws {
        let revision = try transaction.advanceRevision()
        try transaction.recordDistrust(of: id, number: revision.number, isRemoval: true)
        let step = AuthorityStep(authority: keyIdentifier(ofAuthority: id))
        try transaction.append(.authorityForgotten(step), by: Self.upstream, at: now)
    }

    private func forgettableUpstreams(
        now: Date,
        in transaction: ReadTransaction
    ) throws -> [UpstreamRecord] {
        let kept = AuthorityRotation.revokedKept / .seconds(1)
        let needed = Set(try transaction.authorities().flatMap { $0.ancestry?.keyIDs ?? [] })
            .union(try transaction.downstreamAuthorities().flatMap(\.ancestry.keyIDs))
        let roots = try transaction.bundleRoots().map(\.notAfter).max()
        return try transaction.upstreams().filter { record in
            guard !needed.contains(record.id) else { return false }
            guard record.distrust != nil else {
                return record.kind == .intermediate && now >= record.notAfter
            }
            let end = record.kind == .root ? nil : roots
            return now >= max(record.notAfter, end ?? record.notAfter).addingTimeInterval(kept)
        }
    }
}

extension UpstreamRecord {
    /// The record, distrusted.
    fileprivate func with(_ distrust: AuthorityDistrust) -> Self {
        Self(
            id: id,
            kind: kind,
            certificateDER: certificateDER,
            publishedAt: publishedAt,
            notAfter: notAfter,
            distrust: distrust
        )
    }

    /// Its state in words: `published`, or how it is distrusted.
    package var state: String {
        switch standing {
        case .revoked: AuthorityRecord.revokedState
        case .tainted: AuthorityRecord.taintedState
        case nil: "published"
        }
    }

    /// How it is distrusted; nil if it is not.
    package var standing: AuthorityStanding? {
        guard distrust != nil else { return nil }
        return isRevoked ? .revoked : .tainted
    }
}
