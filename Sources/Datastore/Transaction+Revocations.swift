// SPDX-License-Identifier: Apache-2.0

package import FoundationEssentials
internal import GRDB
internal import NodeSync
package import SPIFFE

/// That SVIDs of an identity are refused which were issued before a moment.
package struct RevokedIdentity: Hashable, Sendable {
    /// Most identities that are revoked at a time: every agent and proxy holds all of them, and a
    /// snapshot begins with them.
    package static let countMax = 10_000

    package let spiffeID: SPIFFEID
    /// By which agents know it: the same for the same ID, for ever.
    package let name: String
    /// Whole seconds.
    package let issuedBefore: Date
    /// When nothing is left that it refuses.
    package let ends: Date
    package let reason: String
    package let actor: String
    package let revokedAt: Date

    package init(
        spiffeID: SPIFFEID,
        name: String,
        issuedBefore: Date,
        ends: Date,
        reason: String,
        actor: String,
        revokedAt: Date
    ) {
        self.spiffeID = spiffeID
        self.name = name
        self.issuedBefore = issuedBefore
        self.ends = ends
        self.reason = reason
        self.actor = actor
        self.revokedAt = revokedAt
    }
}

extension ReadTransaction {
    /// The revocation of an identity, nil when there is none.
    package func revocation(of id: SPIFFEID) throws(DatastoreError) -> RevokedIdentity? {
        try revocation(of: id.description)
    }

    /// The same by the text of an ID.
    package func revocation(of id: String) throws(DatastoreError) -> RevokedIdentity? {
        try first(
            "SELECT * FROM revoked_identities WHERE spiffe_id = ?",
            [id],
            RevokedIdentity.init
        )
    }

    /// The revocation that agents know by this name, nil when there is none.
    package func revocation(named name: String) throws(DatastoreError) -> RevokedIdentity? {
        try first(
            "SELECT * FROM revoked_identities WHERE name = ?",
            [name],
            RevokedIdentity.init
        )
    }

    /// All revocations in order of their IDs.
    package func revocations() throws(DatastoreError) -> [RevokedIdentity] {
        try all(
            "SELECT * FROM revoked_identities ORDER BY spiffe_id LIMIT ?",
            [RevokedIdentity.countMax],
            RevokedIdentity.init
        )
    }

    /// Whether a revocation has ended by `now` that is not forgotten yet.
    package func hasRevocation(endedBy now: Date) throws(DatastoreError) -> Bool {
        try first(
            "SELECT 1 AS n FROM revoked_identities WHERE ends_at <= ? LIMIT 1",
            [now.storedMilliseconds]
        ) { row in
            try row.value("n", as: Int.self)
        } != nil
    }

    /// How many identities are refused until a moment after `time`.
    package func revocationCount(after time: Date) throws(DatastoreError) -> Int {
        try first(
            "SELECT count(*) AS n FROM revoked_identities WHERE issued_before > ?",
            [time.storedMilliseconds]
        ) { row in
            try row.value("n", as: Int.self)
        } ?? 0
    }

    /// How many identities are revoked.
    package func revocationCount() throws(DatastoreError) -> Int {
        try first("SELECT count(*) AS n FROM revoked_identities") { row in
            try row.value("n", as: Int.self)
        } ?? 0
    }

    /// When the newest recorded SVID of an identity begins, and the last one ends; nil when none is
    /// recorded any more.
    package func issuance(
        of id: SPIFFEID
    ) throws(DatastoreError) -> (lastNotBefore: Date?, lastNotAfter: Date)? {
        let found = try first(
            """
            SELECT max(not_before) AS newest, max(not_after) AS last FROM intents
            WHERE spiffe_id = ?
            """,
            [id.description]
        ) { row in
            (
                lastNotBefore: try row.optionalDate("newest"),
                lastNotAfter: try row.optionalDate("last")
            )
        }
        guard let found, let last = found.lastNotAfter else { return nil }
        return (found.lastNotBefore, last)
    }
}

extension Transaction {
    /// Creates or replaces the revocation of an identity and records that under `number`.
    ///
    /// - Throws: `DatastoreError.revisionNotAdvanced`.
    package func put(
        _ revocation: RevokedIdentity,
        number: UInt64
    ) throws(DatastoreError) {
        try recordChange(
            ResourceKey(.revocation, revocation.name),
            number: number,
            isRemoval: false
        )
        try execute(
            """
            INSERT INTO revoked_identities (spiffe_id, name, issued_before, ends_at, reason,
                actor, revoked_at)
            VALUES (?, ?, ?, ?, ?, ?, ?)
            ON CONFLICT (spiffe_id) DO UPDATE SET issued_before = excluded.issued_before,
                ends_at = excluded.ends_at, reason = excluded.reason, actor = excluded.actor,
                revoked_at = excluded.revoked_at
            """,
            [
                revocation.spiffeID.description, revocation.name,
                revocation.issuedBefore.storedMilliseconds,
                revocation.ends.storedMilliseconds, revocation.reason, revocation.actor,
                revocation.revokedAt.storedMilliseconds,
            ]
        )
    }

    /// Forgets revocations of which nothing is left that they refuse, at most `limit`, and records
    /// that under a new number.
    ///
    /// - Returns: what they were.
    package func endRevocations(
        by now: Date,
        limit: Int
    ) throws(DatastoreError) -> [RevokedIdentity] {
        let ended = try all(
            "SELECT * FROM revoked_identities WHERE ends_at <= ? ORDER BY ends_at LIMIT ?",
            [now.storedMilliseconds, limit],
            RevokedIdentity.init
        )
        guard !ended.isEmpty else { return [] }
        let number = try advanceRevision().number
        for revocation in ended {
            try execute("DELETE FROM revoked_identities WHERE name = ?", [revocation.name])
            try recordChange(
                ResourceKey(.revocation, revocation.name),
                number: number,
                isRemoval: true
            )
        }
        return ended
    }
}

extension RevokedIdentity {
    fileprivate init(_ row: Row) throws(DatastoreError) {
        let id: SPIFFEID
        do { id = try SPIFFEID(row.value("spiffe_id")) } catch {
            throw .corrupt("the ID of a revocation: \(error)")
        }
        self.init(
            spiffeID: id,
            name: try row.value("name"),
            issuedBefore: try row.date("issued_before"),
            ends: try row.date("ends_at"),
            reason: try row.value("reason"),
            actor: try row.value("actor"),
            revokedAt: try row.date("revoked_at")
        )
    }
}
