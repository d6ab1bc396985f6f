// SPDX-License-Identifier: Apache-2.0

package import FoundationEssentials
internal import GRDB
package import SPIFFE

/// An authority of a server below this one, certified by what certifies those of this one.
package struct DownstreamRecord: Hashable, Sendable, Identifiable {
    /// The entry that allowed it, as it was then.
    package struct Entry: Hashable, Sendable {
        package let id: String
        package let namespace: String
        package let name: String
        package let revision: UInt64
        package let spiffeID: String

        package init(
            id: String,
            namespace: String,
            name: String,
            revision: UInt64,
            spiffeID: String
        ) {
            self.id = id
            self.namespace = namespace
            self.name = name
            self.revision = revision
            self.spiffeID = spiffeID
        }

        /// "namespace/name".
        package var reference: String { "\(namespace)/\(name)" }
    }

    /// That nobody believes it any more.
    package struct Revocation: Hashable, Sendable {
        package let at: Date
        package let reason: String
        package let actor: String

        package init(at: Date, reason: String, actor: String) {
            (self.at, self.reason, self.actor) = (at, reason, actor)
        }
    }

    /// The computed ID of its key (`KeyIdentifier`) in hexadecimal.
    package let id: String
    package let entry: Entry
    /// The name of the node whose agent asked for it.
    package let node: String
    /// The server that holds the key, by its own word.
    package let serverID: String
    /// The newest certificate of the key.
    package let certificateDER: [UInt8]
    /// What certified that.
    package let ancestry: AuthorityAncestry
    /// When that was committed.
    package let certifiedAt: Date
    package let notBefore: Date
    package let notAfter: Date
    /// Nil if it was not revoked.
    package let revocation: Revocation?

    package init(
        id: String,
        entry: Entry,
        node: String,
        serverID: String,
        certificateDER: [UInt8],
        ancestry: AuthorityAncestry,
        certifiedAt: Date,
        notBefore: Date,
        notAfter: Date,
        revocation: Revocation? = nil
    ) {
        self.id = id
        self.entry = entry
        self.node = node
        self.serverID = serverID
        self.certificateDER = certificateDER
        self.ancestry = ancestry
        self.certifiedAt = certifiedAt
        self.notBefore = notBefore
        self.notAfter = notAfter
        self.revocation = revocation
    }

    package var isRevoked: Bool { revocation != nil }

    /// Whether somebody may believe it: it is not revoked, and had not ended a minute ago, which is
    /// how late a verifier's clock may be.
    package func isValid(at now: Date) -> Bool {
        !isRevoked && now < notAfter.addingTimeInterval(Self.clockSkewSeconds)
    }

    static let clockSkewSeconds: TimeInterval = 60
}

extension ReadTransaction {
    /// The one with this key ID, nil when there is none.
    package func downstreamAuthority(id: String) throws(DatastoreError) -> DownstreamRecord? {
        try first(
            "SELECT * FROM downstream_authorities WHERE id = ?",
            [id],
            DownstreamRecord.init
        )
    }

    /// All of them, revoked ones and those that have ended included, the oldest first.
    package func downstreamAuthorities() throws(DatastoreError) -> [DownstreamRecord] {
        try all(
            "SELECT * FROM downstream_authorities ORDER BY certified_at, id",
            [],
            DownstreamRecord.init
        )
    }

    /// Those of an entry, the oldest first.
    package func downstreamAuthorities(
        ofEntry id: String
    ) throws(DatastoreError) -> [DownstreamRecord] {
        try all(
            "SELECT * FROM downstream_authorities WHERE entry_id = ? ORDER BY certified_at, id",
            [id],
            DownstreamRecord.init
        )
    }

    /// Those that a node's agent asked for, the oldest first.
    package func downstreamAuthorities(
        ofNode name: String
    ) throws(DatastoreError) -> [DownstreamRecord] {
        try all(
            "SELECT * FROM downstream_authorities WHERE node = ? ORDER BY certified_at, id",
            [name],
            DownstreamRecord.init
        )
    }

    /// How many have not ended.
    ///
    /// - Parameters:
    ///   - now: The wall clock.
    ///   - countsRevoked: Whether those that are revoked count too.
    /// - Returns: The number.
    /// - Throws: `DatastoreError`.
    package func validDownstreamCount(
        at now: Date,
        countingRevoked countsRevoked: Bool = false
    ) throws(DatastoreError) -> Int {
        try first(
            """
            SELECT count(*) AS n FROM downstream_authorities
            WHERE (? OR revoked_at IS NULL) AND not_after > ?
            """,
            [
                countsRevoked ? 1 : 0,
                now.addingTimeInterval(-DownstreamRecord.clockSkewSeconds).storedMilliseconds,
            ]
        ) { row in
            try row.value("n", as: Int.self)
        } ?? 0
    }

    /// The key IDs of those that are revoked, sorted.
    package func revokedDownstreamIDs() throws(DatastoreError) -> [String] {
        try all(
            "SELECT id FROM downstream_authorities WHERE revoked_at IS NOT NULL ORDER BY id"
        ) { row in
            try row.value("id")
        }
    }

    /// Whether a key is on record as that of an agent, or of a certificate of one identity; of others
    /// it is not looked for, as they may be very many.
    ///
    /// - Parameters:
    ///   - spki: DER of the SubjectPublicKeyInfo.
    ///   - sha256: Its SHA-256.
    ///   - spiffeID: The identity.
    /// - Returns: Whether it is.
    /// - Throws: `DatastoreError`.
    package func hasLeaf(
        with spki: [UInt8],
        sha256: [UInt8],
        of spiffeID: String
    ) throws(DatastoreError) -> Bool {
        try first(
            """
            SELECT EXISTS (SELECT 1 FROM nodes WHERE key_spki_sha256 = ?)
                OR EXISTS (SELECT 1 FROM intents WHERE spiffe_id = ? AND spki = ?) AS found
            """,
            [sha256.stored, spiffeID, spki.stored]
        ) { row in
            try row.value("found", as: Int.self) == 1
        } ?? false
    }
}

extension Transaction {
    /// Creates or replaces the record of an authority of a server below.
    package func put(_ record: DownstreamRecord) throws(DatastoreError) {
        try execute(
            """
            INSERT OR REPLACE INTO downstream_authorities (id, entry_id, entry_namespace, entry_name,
                entry_revision, spiffe_id, node, server_id, certificate_der, chain, root,
                certified_at, not_before, not_after, revoked_at, revoke_reason, revoked_by)
            VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
            """,
            [
                record.id, record.entry.id, record.entry.namespace, record.entry.name,
                record.entry.revision.stored, record.entry.spiffeID, record.node, record.serverID,
                record.certificateDER.stored, try Self.stored(record.ancestry),
                record.ancestry.rootID, record.certifiedAt.storedMilliseconds,
                record.notBefore.storedMilliseconds, record.notAfter.storedMilliseconds,
                record.revocation?.at.storedMilliseconds, record.revocation?.reason,
                record.revocation?.actor,
            ]
        )
    }

    /// Deletes the record of one.
    ///
    /// - Returns: whether there was one.
    @discardableResult
    package func deleteDownstream(id: String) throws(DatastoreError) -> Bool {
        try execute("DELETE FROM downstream_authorities WHERE id = ?", [id]) == 1
    }
}

extension DownstreamRecord {
    fileprivate init(_ row: Row) throws(DatastoreError) {
        let actor: String? = try row.optional("revoked_by")
        var revocation: Revocation?
        if let actor {
            revocation = Revocation(
                at: try row.date("revoked_at"),
                reason: try row.optional("revoke_reason") ?? "",
                actor: actor
            )
        }
        guard let ancestry = try row.ancestry() else { throw .corrupt("column root is NULL") }
        self.init(
            id: try row.value("id"),
            entry: Entry(
                id: try row.value("entry_id"),
                namespace: try row.value("entry_namespace"),
                name: try row.value("entry_name"),
                revision: try row.number("entry_revision"),
                spiffeID: try row.value("spiffe_id")
            ),
            node: try row.value("node"),
            serverID: try row.value("server_id"),
            certificateDER: try row.bytes("certificate_der"),
            ancestry: ancestry,
            certifiedAt: try row.date("certified_at"),
            notBefore: try row.date("not_before"),
            notAfter: try row.date("not_after"),
            revocation: revocation
        )
    }
}
