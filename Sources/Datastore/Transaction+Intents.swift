// SPDX-License-Identifier: Apache-2.0

package import FoundationEssentials
internal import GRDB

/// That a certificate is about to be signed; committed before the signature exists.
package struct IssuanceIntent: Hashable, Sendable {
    package let serial: [UInt8]
    package let authorityID: String
    package let spiffeID: String
    /// The entry that grants it; nil for the SVIDs of agents and servers.
    package let entryID: String?
    package let entryRevision: UInt64?
    /// SHA-256 of the TBSCertificate, to which the signed one is compared.
    package let tbsSHA256: [UInt8]
    /// When it begins; nil if an earlier release recorded it.
    package let notBefore: Date?
    package let notAfter: Date
    /// The name of the node that asked; empty for the server itself.
    package let node: String
    /// The Proxy that holds the key, `namespace/name`; nil: nobody but the identity's own holder.
    package let proxy: String?
    /// DER of the certified SubjectPublicKeyInfo; nil if an earlier release recorded it.
    package let spki: [UInt8]?
    /// The certificate's DNS names, in its order; empty if an earlier release recorded it.
    package let dnsNames: [String]
    /// The revision number under which it was approved.
    package let revision: UInt64
    /// The index of the audit leaf that tells of it; 0, where no issuance is, if it is one of a log
    /// from before a restore, which the row has below zero.
    package let leafIndex: UInt64

    package init(
        serial: [UInt8],
        authorityID: String,
        spiffeID: String,
        entryID: String?,
        entryRevision: UInt64?,
        tbsSHA256: [UInt8],
        notBefore: Date? = nil,
        notAfter: Date,
        node: String,
        proxy: String? = nil,
        spki: [UInt8]? = nil,
        dnsNames: [String] = [],
        revision: UInt64,
        leafIndex: UInt64
    ) {
        self.serial = serial
        self.authorityID = authorityID
        self.spiffeID = spiffeID
        self.entryID = entryID
        self.entryRevision = entryRevision
        self.tbsSHA256 = tbsSHA256
        self.notBefore = notBefore
        self.notAfter = notAfter
        self.node = node
        self.proxy = proxy
        self.spki = spki
        self.dnsNames = dnsNames
        self.revision = revision
        self.leafIndex = leafIndex
    }
}

extension ReadTransaction {
    /// The intent with this serial, nil when there is none or it was trimmed.
    package func intent(serial: [UInt8]) throws(DatastoreError) -> IssuanceIntent? {
        try first(
            "SELECT * FROM intents WHERE serial = ?",
            [serial.stored],
            IssuanceIntent.init
        )
    }

    /// Certificates of one identity that are valid after `time`, the longest first, at most
    /// `limit`.
    package func intents(
        spiffeID: String,
        validAfter time: Date,
        limit: Int
    ) throws(DatastoreError) -> [IssuanceIntent] {
        try all(
            """
            SELECT * FROM intents WHERE spiffe_id = ? AND not_after > ?
            ORDER BY not_after DESC, serial LIMIT ?
            """,
            [spiffeID, time.storedMilliseconds, limit],
            IssuanceIntent.init
        )
    }
}

extension ReadTransaction {
    /// How many certificates on record begin after `time`.
    ///
    /// It reads all: for an admin who asks, not for each request.
    package func certificateCount(beginningAfter time: Date) throws(DatastoreError) -> UInt64 {
        try first(
            "SELECT count(*) AS n FROM intents WHERE not_before > ?",
            [time.storedMilliseconds]
        ) { row in
            try row.number("n")
        } ?? 0
    }
}

/// What is valid of an authority's SVIDs, as far as it is on record.
package struct IssuedUnder: Hashable, Sendable {
    /// Certificates that have not expired, and holders of JWT-SVIDs that have not.
    package internal(set) var valid: UInt64
    /// Of the certificates, those whose holder has no newer one under another authority.
    package internal(set) var notReplaced: UInt64
    /// Of them, the holders of JWT-SVIDs, which nothing replaces.
    package internal(set) var tokenHolders: UInt64 = 0
    /// When the last of their JWT-SVIDs ends.
    package internal(set) var tokensEnd: Date?

    package init(valid: UInt64 = 0, notReplaced: UInt64 = 0) {
        self.valid = valid
        self.notReplaced = notReplaced
    }
}

extension ReadTransaction {
    /// A holder of an identity has one key at a time for it, and what was issued to it last is what
    /// it has.
    private static let newestOfHolders = """
        SELECT authority, spiffe_id, max(leaf) AS newest FROM intents WHERE not_after > ?
        GROUP BY node, entry_id, spiffe_id, proxy
        """

    /// Counts the certificates that are valid at `now`, by authority.
    ///
    /// It reads all of them: for an admin who asks, not for each request.
    package func issued(
        validAt now: Date
    ) throws(DatastoreError) -> [String: IssuedUnder] {
        var result: [String: IssuedUnder] = [:]
        let time = now.storedMilliseconds
        let valid = try all(
            "SELECT authority, count(*) AS n FROM intents WHERE not_after > ? GROUP BY authority",
            [time]
        ) { row in
            (try row.value("authority", as: String.self), try row.number("n"))
        }
        for (authority, count) in valid { result[authority, default: IssuedUnder()].valid = count }
        let newest = try all(
            "SELECT authority, count(*) AS n FROM (\(Self.newestOfHolders)) GROUP BY authority",
            [time]
        ) { row in
            (try row.value("authority", as: String.self), try row.number("n"))
        }
        for (authority, count) in newest {
            result[authority, default: IssuedUnder()].notReplaced = count
        }
        for (authority, holders) in try tokenHolders(validAt: now) {
            result[authority, default: IssuedUnder()].valid += holders.count
            result[authority, default: IssuedUnder()].tokenHolders = holders.count
            result[authority, default: IssuedUnder()].tokensEnd = holders.lastEnd
        }
        return result
    }

    /// Identities of which a holder has nothing newer than a certificate under `authorityID` that is
    /// valid at `now`, sorted, at most `limit`.
    package func notReplaced(
        authorityID: String,
        validAt now: Date,
        limit: Int
    ) throws(DatastoreError) -> [String] {
        try all(
            """
            SELECT DISTINCT spiffe_id FROM (\(Self.newestOfHolders)) WHERE authority = ?
            ORDER BY spiffe_id LIMIT ?
            """,
            [now.storedMilliseconds, authorityID, limit]
        ) { row in
            try row.value("spiffe_id")
        }
    }
}

extension Transaction {
    /// Records what is about to be signed.
    ///
    /// - Throws: `DatastoreError.constraint` when a serial was used before, or an authority does
    ///   not exist.
    package func record(_ intents: [IssuanceIntent]) throws(DatastoreError) {
        for (authorityID, notAfter) in Self.lastEnds(of: intents) {
            try raiseLastIssued(authorityID: authorityID, notAfter: notAfter)
        }
        // Agents' and servers' certificates are on no revocation list.
        for (authorityID, notAfter) in Self.lastEnds(of: intents.filter { $0.entryID != nil }) {
            try raiseLastListed(authorityID: authorityID, notAfter: notAfter)
        }
        try insert(intents)
    }

    /// Records what was signed by an authority of which nothing else is on record any more.
    package func insert(_ intents: [IssuanceIntent]) throws(DatastoreError) {
        for intent in intents {
            try execute(
                """
                INSERT INTO intents (serial, authority, spiffe_id, entry_id, entry_revision,
                    tbs_sha256, not_before, not_after, node, revision, leaf, proxy, spki,
                    dns_names)
                VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
                """,
                [
                    intent.serial.stored, intent.authorityID, intent.spiffeID, intent.entryID,
                    intent.entryRevision?.stored, intent.tbsSHA256.stored,
                    intent.notBefore?.storedMilliseconds, intent.notAfter.storedMilliseconds,
                    intent.node, intent.revision.stored, intent.leafIndex.stored, intent.proxy,
                    intent.spki?.stored, Self.lines(intent.dnsNames),
                ]
            )
        }
    }

    /// DNS names one per line, which none of them holds; NULL for none.
    private static func lines(_ names: [String]) -> String? {
        names.isEmpty ? nil : names.joined(separator: "\n")
    }

    private static func lastEnds(of intents: [IssuanceIntent]) -> [String: Date] {
        var last: [String: Date] = [:]
        for intent in intents {
            last[intent.authorityID, default: .distantPast] =
                max(last[intent.authorityID, default: .distantPast], intent.notAfter)
        }
        return last
    }

    /// Deletes intents whose certificate expired before `time`, at most `limit`; their audit
    /// leaves stay.
    ///
    /// - Returns: whether intents are left to delete.
    package func trimIntents(
        expiredBefore time: Date,
        limit: Int
    ) throws(DatastoreError) -> Bool {
        try execute(
            """
            DELETE FROM intents WHERE serial IN (
                SELECT serial FROM intents WHERE not_after < ? LIMIT ?)
            """,
            [time.storedMilliseconds, limit]
        ) == limit
    }
}

extension IssuanceIntent {
    init(_ row: Row) throws(DatastoreError) {
        let entryRevision = try row.optional("entry_revision", as: Int64.self)
        self.init(
            serial: try row.bytes("serial"),
            authorityID: try row.value("authority"),
            spiffeID: try row.value("spiffe_id"),
            entryID: try row.optional("entry_id"),
            entryRevision: entryRevision.map { UInt64(clamping: $0) },
            tbsSHA256: try row.bytes("tbs_sha256"),
            notBefore: try row.optionalDate("not_before"),
            notAfter: try row.date("not_after"),
            node: try row.value("node"),
            proxy: try row.optional("proxy"),
            spki: try row.optionalBytes("spki"),
            dnsNames: try row.optional("dns_names", as: String.self)?
                .split(separator: "\n", omittingEmptySubsequences: false).map(String.init) ?? [],
            revision: try row.number("revision"),
            leafIndex: UInt64(clamping: try row.value("leaf", as: Int64.self))
        )
    }
}
