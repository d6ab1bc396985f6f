// SPDX-License-Identifier: Apache-2.0

package import FoundationEssentials
internal import GRDB
internal import NodeSync
internal import SPIFFE

/// That one certificate is refused although it has not expired.
package struct RevokedCertificate: Hashable, Sendable {
    /// Most certificates that are revoked at a time: with `RevokedIdentity.countMax` identities and
    /// some authorities they are what a proxy takes.
    package static let countMax = 9_000

    package let serial: [UInt8]
    /// The subject key identifier of its authority, in hexadecimal.
    package let authorityID: String
    package let spiffeID: String
    /// Whom it was issued to; empty for the server itself.
    package let node: String
    package let notAfter: Date
    /// When nobody can be shown it any more, whatever his clock says.
    package let ends: Date
    package let reason: String
    package let actor: String
    package let revokedAt: Date

    package init(
        _ intent: IssuanceIntent,
        ends: Date,
        reason: String,
        actor: String,
        revokedAt: Date
    ) {
        serial = intent.serial
        authorityID = intent.authorityID
        spiffeID = intent.spiffeID
        node = intent.node
        notAfter = intent.notAfter
        self.ends = ends
        self.reason = reason
        self.actor = actor
        self.revokedAt = revokedAt
    }

    /// By which agents know it: the same for the same certificate, for ever.
    package var name: String { Self.namePrefix + Hexadecimal.text(serial) }

    /// The serial of the certificate that agents know by this name; nil if it names something else.
    package static func serial(ofName name: String) -> [UInt8]? {
        guard name.hasPrefix(namePrefix) else { return nil }
        return Hexadecimal.bytes(String(name.dropFirst(namePrefix.count)))
    }

    private static let namePrefix = "leaf:"
}

extension ReadTransaction {
    /// The revocation of the certificate with this serial, nil when there is none.
    package func revokedCertificate(
        serial: [UInt8]
    ) throws(DatastoreError) -> RevokedCertificate? {
        try first(
            "SELECT * FROM revoked_certificates WHERE serial = ?",
            [serial.stored],
            RevokedCertificate.init
        )
    }

    /// All revoked certificates, those that end last first.
    package func revokedCertificates() throws(DatastoreError) -> [RevokedCertificate] {
        try all(
            "SELECT * FROM revoked_certificates ORDER BY ends_at DESC, serial LIMIT ?",
            [RevokedCertificate.countMax],
            RevokedCertificate.init
        )
    }

    /// How many certificates are revoked.
    package func revokedCertificateCount() throws(DatastoreError) -> Int {
        try first("SELECT count(*) AS n FROM revoked_certificates") { row in
            try row.value("n", as: Int.self)
        } ?? 0
    }

    /// Whether a revocation of a certificate has ended by `now` that is not forgotten yet.
    package func hasRevokedCertificate(endedBy now: Date) throws(DatastoreError) -> Bool {
        try first(
            "SELECT 1 AS n FROM revoked_certificates WHERE ends_at <= ? LIMIT 1",
            [now.storedMilliseconds]
        ) { row in
            try row.value("n", as: Int.self)
        } != nil
    }

    /// What a node's workloads and proxies hold and is refused neither by itself nor, as
    /// `Revocation.revokes` judges, with its identity.
    private static let isHeld = """
        not_after > ? AND node = ? AND entry_id IS NOT NULL
            AND serial NOT IN (SELECT serial FROM revoked_certificates)
            AND NOT EXISTS (
                SELECT 1 FROM revoked_identities
                WHERE revoked_identities.spiffe_id = intents.spiffe_id
                    AND intents.not_before + \(Int64(X509SVID.backdatingSeconds * 1_000))
                        < revoked_identities.issued_before)
        """

    /// How many certificates of each identity a node's workloads and proxies hold that are valid
    /// after `time` and not refused.
    ///
    /// It reads all that are valid, of every node: not for the writer's transaction.
    package func heldCertificates(
        node: String,
        validAfter time: Date
    ) throws(DatastoreError) -> [String: Int] {
        let counts = try all(
            """
            SELECT spiffe_id, count(*) AS n FROM intents
            WHERE \(Self.isHeld)
            GROUP BY spiffe_id
            """,
            [time.storedMilliseconds, node]
        ) { row in
            (try row.value("spiffe_id", as: String.self), try row.value("n", as: Int.self))
        }
        return Dictionary(counts) { $1 }
    }

    /// The same certificates themselves, of identities of which there are at most `each` and no
    /// live JWT-SVIDs, those that end last first, at most `limit`.
    package func heldCertificates(
        node: String,
        validAfter time: Date,
        each: Int,
        limit: Int
    ) throws(DatastoreError) -> [IssuanceIntent] {
        try all(
            """
            WITH held AS (
                SELECT * FROM intents
                WHERE \(Self.isHeld))
            SELECT * FROM held WHERE spiffe_id IN (
                SELECT spiffe_id FROM held GROUP BY spiffe_id HAVING count(*) <= ?)
                AND spiffe_id NOT IN (\(Self.liveTokens))
            ORDER BY not_after DESC, serial LIMIT ?
            """,
            [
                time.storedMilliseconds, node, each, node, time.storedMilliseconds, limit,
            ],
            IssuanceIntent.init
        )
    }
}

extension Transaction {
    /// Revokes a certificate and records that under `number`; one that is revoked stays as it is.
    ///
    /// - Throws: `DatastoreError.revisionNotAdvanced`.
    package func put(
        _ revocation: RevokedCertificate,
        number: UInt64
    ) throws(DatastoreError) {
        try recordChange(
            ResourceKey(.revocation, revocation.name),
            number: number,
            isRemoval: false
        )
        try execute(
            """
            INSERT INTO revoked_certificates (serial, authority, spiffe_id, node, not_after, ends_at,
                reason, actor, revoked_at)
            VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
            ON CONFLICT (serial) DO NOTHING
            """,
            [
                revocation.serial.stored, revocation.authorityID, revocation.spiffeID,
                revocation.node, revocation.notAfter.storedMilliseconds,
                revocation.ends.storedMilliseconds, revocation.reason, revocation.actor,
                revocation.revokedAt.storedMilliseconds,
            ]
        )
    }

    /// Forgets revocations of certificates that nobody can be shown any more, at most `limit`, and
    /// records that under a new number.
    ///
    /// - Returns: what they were.
    package func endRevokedCertificates(
        by now: Date,
        limit: Int
    ) throws(DatastoreError) -> [RevokedCertificate] {
        let ended = try all(
            "SELECT * FROM revoked_certificates WHERE ends_at <= ? ORDER BY ends_at LIMIT ?",
            [now.storedMilliseconds, limit],
            RevokedCertificate.init
        )
        guard !ended.isEmpty else { return [] }
        let number = try advanceRevision().number
        for revocation in ended {
            try execute(
                "DELETE FROM revoked_certificates WHERE serial = ?",
                [revocation.serial.stored]
            )
            try recordChange(
                ResourceKey(.revocation, revocation.name),
                number: number,
                isRemoval: true
            )
        }
        return ended
    }
}

extension RevokedCertificate {
    fileprivate init(_ row: Row) throws(DatastoreError) {
        serial = try row.bytes("serial")
        authorityID = try row.value("authority")
        spiffeID = try row.value("spiffe_id")
        node = try row.value("node")
        notAfter = try row.date("not_after")
        ends = try row.date("ends_at")
        reason = try row.value("reason")
        actor = try row.value("actor")
        revokedAt = try row.date("revoked_at")
    }
}
