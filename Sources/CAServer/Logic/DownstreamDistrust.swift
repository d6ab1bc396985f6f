// SPDX-License-Identifier: Apache-2.0

package import AuditLog
package import Authorization
internal import ControlAPI
package import Datastore
package import FoundationEssentials
internal import Issuance
internal import NodeSync
package import SPIFFE

/// Authorities of servers below that are believed no more
/// (docs/decisions/0020-authorities-under-another.md, "Nested").
extension ServerLogic {
    /// Ends an authority of a server below: agents and proxies refuse what it signed.
    ///
    /// Its entry goes on to get others: a server whose key was copied needs another one at once, and
    /// would sign with the copied one until it has it.
    ///
    /// - Parameters:
    ///   - id: Its key ID.
    ///   - cause: Who says so, in a word.
    ///   - reason: Why.
    ///   - actor: Who does it.
    ///   - now: The wall clock.
    ///   - transaction: Where all of it happens.
    /// - Returns: It as recorded; nothing has changed if it was revoked before.
    /// - Throws: `APIError` for one that is unknown.
    package func revokeDownstream(
        _ id: String,
        _ cause: DownstreamRevocation.Cause,
        reason: String,
        by actor: Actor,
        now: Date,
        in transaction: Transaction
    ) throws -> DownstreamRecord {
        try check(reason)
        let record = try requireDownstream(id, in: transaction)
        guard !record.isRevoked else { return record }
        try revokeDownstream(
            [record],
            cause,
            reason: reason,
            by: actor,
            now: now,
            in: transaction
        )
        return try requireDownstream(id, in: transaction)
    }

    /// Ends those of several that are not revoked, for one cause.
    func revokeDownstream(
        _ records: [DownstreamRecord],
        _ cause: DownstreamRevocation.Cause,
        reason: String,
        by actor: Actor,
        now: Date,
        in transaction: Transaction
    ) throws {
        let left = records.filter { !$0.isRevoked }
        guard !left.isEmpty else { return }
        let revision = try transaction.advanceRevision()
        for record in left {
            try transaction.put(
                record.revoked(
                    DownstreamRecord.Revocation(
                        at: now,
                        reason: reason,
                        actor: actor.description
                    )
                )
            )
            try transaction.recordDistrust(
                of: record.id,
                number: revision.number,
                isRemoval: false
            )
            let act = DownstreamRevocation(
                authority: keyIdentifier(ofAuthority: record.id),
                cause: cause,
                entry: record.entry.id,
                namespace: record.entry.namespace,
                spiffeID: try SPIFFEID(record.entry.spiffeID),
                reason: reason,
                revision: revision.number
            )
            try transaction.append(.downstreamAuthorityRevoked(act), by: actor, at: now)
        }
    }

    /// Those that are not revoked and have something in their ancestry.
    package func downstreamBelow(
        _ id: String,
        in transaction: ReadTransaction
    ) throws -> [DownstreamRecord] {
        try transaction.downstreamAuthorities()
            .filter { !$0.isRevoked && $0.ancestry.keyIDs.contains(id) }
    }

    /// Whom an act on an authority of a server below, or on what is above, would hurt of those below.
    ///
    /// What they signed is on no record here.
    ///
    /// - Parameters:
    ///   - verb: What is to be done.
    ///   - id: The key ID of what it is to be done to.
    ///   - now: The wall clock.
    ///   - transaction: What is known.
    /// - Returns: Why the act is not done unless it has to be now.
    /// - Throws: `DatastoreError`.
    package func objectionsBelow(
        to verb: AdminVerb,
        of id: String,
        now: Date,
        in transaction: ReadTransaction
    ) throws -> [String] {
        guard verb == .authorityRevoke else { return [] }
        if let record = try transaction.downstreamAuthority(id: id) {
            guard record.isValid(at: now) else { return [] }
            return [
                "it counts until \(AuditTime(record.notAfter)), and what it signed is on no record "
                    + "here"
            ]
        }
        let below = try downstreamBelow(id, in: transaction).filter { $0.isValid(at: now) }
        guard let last = below.map(\.notAfter).max() else { return [] }
        return [
            "\(below.count) authorities of servers below are below it, the last of which ends at "
                + "\(AuditTime(last))"
        ]
    }

    /// Requires that nobody below is hurt by a step, unless it has to be now.
    ///
    /// - Throws: `APIError` (`authorityInUse`).
    func requireNobodyBelow(
        _ step: ProposedStep,
        now: Date,
        in transaction: ReadTransaction
    ) throws {
        let objections = try objectionsBelow(
            to: step.verb,
            of: step.authorityID,
            now: now,
            in: transaction
        )
        guard !step.isNow, !objections.isEmpty else { return }
        throw APIError(
            .failedPrecondition,
            "authorityInUse",
            objections.joined(separator: "; ") + "; add --now if it has to be all the same"
        )
    }

    /// What else is asked of an authority of a server below.
    static let onlyRevoked = APIError(
        .failedPrecondition,
        "authorityState",
        "the authority is of a server below: it is not this server's to activate, and what it signed "
            + "is on no record here that could be replaced; its own server rotates, or signet "
            + "authority revoke ends it"
    )

    private func requireDownstream(
        _ id: String,
        in transaction: ReadTransaction
    ) throws -> DownstreamRecord {
        guard let record = try transaction.downstreamAuthority(id: id) else {
            throw APIError(authorityUnknown: id)
        }
        return record
    }

    // MARK: - Records

    /// Whether there are records that `forgetDownstream` takes.
    package func hasForgettableDownstream(
        now: Date,
        in transaction: ReadTransaction
    ) throws -> Bool {
        try !forgettableDownstream(now: now, in: transaction).isEmpty
    }

    /// Deletes the records of what has ended: of what was revoked 7 days later, when nobody can have
    /// been away since; of the others after an hour, longer than any clock may be wrong.
    ///
    /// - Returns: The key IDs of those that were revoked.
    /// - Throws: `DatastoreError`.
    package func forgetDownstream(now: Date, in transaction: Transaction) throws -> [String] {
        var forgotten: [String] = []
        for record in try forgettableDownstream(now: now, in: transaction) {
            try transaction.deleteDownstream(id: record.id)
            guard record.isRevoked else { continue }
            try forgetDistrust(of: record.id, now: now, in: transaction)
            forgotten.append(record.id)
        }
        return forgotten
    }

    private func forgettableDownstream(
        now: Date,
        in transaction: ReadTransaction
    ) throws -> [DownstreamRecord] {
        let kept = AuthorityRotation.revokedKept / .seconds(1)
        return try transaction.downstreamAuthorities().filter { record in
            let kept = record.isRevoked ? kept : Retention.expiredIntentSeconds
            return now >= record.notAfter.addingTimeInterval(kept)
        }
    }

    /// Those that are not revoked and begin later.
    func downstreamAhead(
        of now: Date,
        in transaction: ReadTransaction
    ) throws -> [DownstreamRecord] {
        try transaction.downstreamAuthorities().filter { !$0.isRevoked && $0.notBefore > now }
    }

    /// Ends what begins later than a clock that somebody has said is right: its server would let it
    /// sign then, and this one would not know it by then.
    package func endDownstreamAhead(
        of now: Date,
        by actor: Actor,
        in transaction: Transaction
    ) throws {
        try revokeDownstream(
            downstreamAhead(of: now, in: transaction),
            .clock,
            reason: Self.datedAhead,
            by: actor,
            now: now,
            in: transaction
        )
    }
}

extension DownstreamRecord {
    /// Its state in words.
    package var state: String {
        isRevoked ? AuthorityRecord.revokedState : Self.certifiedState
    }

    /// The state of one that is not revoked.
    package static let certifiedState = "certified"

    /// The record with this revocation, or without any.
    func revoked(_ revocation: Revocation?) -> Self {
        Self(
            id: id,
            entry: entry,
            node: node,
            serverID: serverID,
            certificateDER: certificateDER,
            ancestry: ancestry,
            certifiedAt: certifiedAt,
            notBefore: notBefore,
            notAfter: notAfter,
            revocation: revocation
        )
    }
}
