// SPDX-License-Identifier: Apache-2.0

package import FoundationEssentials
internal import GRDB
internal import NodeSync
internal import SPIFFE

/// The last certificate revocation list of an authority
/// (docs/decisions/0018-certificate-revocation-lists.md).
package struct RevocationListRecord: Hashable, Sendable {
    /// A certificate on it, and when that ends, which a list does not say.
    package struct Entry: Hashable, Sendable {
        package let serial: [UInt8]
        package let revokedAt: Date
        package let notAfter: Date

        package init(serial: [UInt8], revokedAt: Date, notAfter: Date) {
            self.serial = serial
            self.revokedAt = revokedAt
            self.notAfter = notAfter
        }
    }

    package let authorityID: String
    /// Whole seconds; the list's number is the same in seconds since 1970.
    package let thisUpdate: Date
    package let nextUpdate: Date
    /// Whether the authority signs none after it.
    package let isLast: Bool
    /// The signed list; empty if it is lost.
    package let der: [UInt8]

    /// Whether nothing but its number and times is known, from the log: it is shown to nobody.
    package var isLost: Bool { der.isEmpty }

    package init(
        authorityID: String,
        thisUpdate: Date,
        nextUpdate: Date,
        isLast: Bool,
        der: [UInt8]
    ) {
        self.authorityID = authorityID
        self.thisUpdate = thisUpdate
        self.nextUpdate = nextUpdate
        self.isLast = isLast
        self.der = der
    }
}

/// A certificate of an entry, as far as a revocation list says something of it.
package struct ListableCertificate: Hashable, Sendable {
    package let authorityID: String
    package let serial: [UInt8]
    package let notAfter: Date

    package init(authorityID: String, serial: [UInt8], notAfter: Date) {
        self.authorityID = authorityID
        self.serial = serial
        self.notAfter = notAfter
    }
}

extension ReadTransaction {
    /// The last list of an authority, nil if it has none or it is lost.
    package func revocationList(
        of authorityID: String
    ) throws(DatastoreError) -> RevocationListRecord? {
        let list = try lastRevocationList(of: authorityID)
        return list?.isLost == true ? nil : list
    }

    /// The same, also of a list that is lost: the next one has to be newer.
    package func lastRevocationList(
        of authorityID: String
    ) throws(DatastoreError) -> RevocationListRecord? {
        try first(
            "SELECT * FROM revocation_lists WHERE authority = ?",
            [authorityID],
            RevocationListRecord.init
        )
    }

    /// The last lists of all authorities that have one which is not lost, in the order of the
    /// authorities' IDs.
    package func revocationLists() throws(DatastoreError) -> [RevocationListRecord] {
        try all(
            "SELECT * FROM revocation_lists WHERE length(der) > 0 ORDER BY authority",
            [],
            RevocationListRecord.init
        )
    }

    /// When the last list of each authority that has one begins, which a newer one changes.
    package func revocationListBeginnings() throws(DatastoreError) -> [String: Date] {
        let rows = try all("SELECT authority, this_update FROM revocation_lists") { row in
            (try row.value("authority", as: String.self), try row.date("this_update"))
        }
        return Dictionary(uniqueKeysWithValues: rows)
    }

    /// When the last list of an authority ends, nil if it has none.
    package func revocationListEnd(of authorityID: String) throws(DatastoreError) -> Date? {
        try first(
            "SELECT next_update FROM revocation_lists WHERE authority = ?",
            [authorityID]
        ) { row in
            try row.date("next_update")
        }
    }

    /// How many certificates are on the last list of an authority.
    package func revocationListEntryCount(of authorityID: String) throws(DatastoreError) -> Int {
        try first(
            "SELECT count(*) AS n FROM listed_certificates WHERE authority = ?",
            [authorityID]
        ) { row in
            try row.value("n", as: Int.self)
        } ?? 0
    }

    /// The authorities that have signed a list after which none follows.
    package func authoritiesWithLastList() throws(DatastoreError) -> Set<String> {
        Set(
            try all("SELECT authority FROM revocation_lists WHERE is_last") { row in
                try row.value("authority", as: String.self)
            }
        )
    }

    /// What is on the last list of an authority, in no particular order.
    package func revocationListEntries(
        of authorityID: String
    ) throws(DatastoreError) -> [RevocationListRecord.Entry] {
        try all(
            "SELECT * FROM listed_certificates WHERE authority = ?",
            [authorityID],
            RevocationListRecord.Entry.init
        )
    }

    /// The certificates of entries that are revoked by their serial number, the first revoked first.
    package func revokedListableCertificates() throws(DatastoreError) -> [(
        certificate: ListableCertificate, revokedAt: Date
    )] {
        try all(
            """
            SELECT r.serial, r.authority, r.not_after, r.revoked_at
            FROM revoked_certificates AS r JOIN intents ON intents.serial = r.serial
            WHERE intents.entry_id IS NOT NULL
            ORDER BY r.revoked_at, r.serial LIMIT ?
            """,
            [RevokedCertificate.countMax]
        ) { row in
            (try ListableCertificate(row), try row.date("revoked_at"))
        }
    }

    /// The certificates of entries that are revoked with their identity, as `Revocation.revokes`
    /// judges; one whose beginning is not on record is.
    ///
    /// - Parameters:
    ///   - revocation: The revoked identity.
    ///   - time: Those that ended before are left out.
    /// - Returns: The certificates, in no particular order.
    /// - Throws: `DatastoreError`.
    package func listableCertificates(
        revokedBy revocation: RevokedIdentity,
        endingFrom time: Date
    ) throws(DatastoreError) -> [ListableCertificate] {
        try all(
            "SELECT serial, authority, not_after \(Self.revokedWithIdentity)",
            Self.arguments(revocation, time),
            ListableCertificate.init
        )
    }

    /// How many certificates `listableCertificates(revokedBy:endingFrom:)` would read.
    ///
    /// - Parameters:
    ///   - revocation: The revoked identity.
    ///   - time: Those that ended before are left out.
    ///   - limit: Most that are counted: there may be a million of an identity.
    /// - Returns: Numbers by authority.
    /// - Throws: `DatastoreError`.
    package func listableCertificateCounts(
        revokedBy revocation: RevokedIdentity,
        endingFrom time: Date,
        limit: Int
    ) throws(DatastoreError) -> [String: Int] {
        let rows = try all(
            """
            SELECT authority, count(*) AS n
            FROM (SELECT authority \(Self.revokedWithIdentity) LIMIT ?) GROUP BY authority
            """,
            Self.arguments(revocation, time) + [limit] as StatementArguments
        ) { row in
            (try row.value("authority", as: String.self), try row.value("n", as: Int.self))
        }
        return Dictionary(uniqueKeysWithValues: rows)
    }

    private static let revokedWithIdentity = """
        FROM intents WHERE spiffe_id = ? AND not_after >= ? AND entry_id IS NOT NULL
            AND (not_before IS NULL OR not_before + ? < ?)
        """

    private static func arguments(
        _ revocation: RevokedIdentity,
        _ time: Date
    ) -> StatementArguments {
        [
            revocation.spiffeID.description, time.storedMilliseconds,
            Int64(X509SVID.backdatingSeconds * 1_000),
            revocation.issuedBefore.storedMilliseconds,
        ]
    }

    /// Whether a revocation or the set of authorities changed after revision number `number`, or may
    /// have.
    package func hasListChange(after number: UInt64) throws(DatastoreError) -> Bool {
        try first(
            """
            SELECT EXISTS (SELECT 1 FROM changes WHERE number > ? AND type IN (?, ?))
                OR EXISTS (SELECT 1 FROM meta WHERE changes_floor > ?) AS changed
            """,
            [
                number.stored, ResourceType.revocation.rawValue, ResourceType.bundle.rawValue,
                number.stored,
            ]
        ) { row in
            try row.value("changed", as: Bool.self)
        } ?? true
    }
}

extension Transaction {
    /// Replaces the list of an authority and records that under `number`.
    ///
    /// - Parameters:
    ///   - list: The list as signed.
    ///   - entries: What is on it.
    ///   - number: A revision number that this transaction has taken.
    /// - Throws: `DatastoreError.revisionNotAdvanced`; `.constraint` when the authority does not
    ///   exist, or has a list that is not older by `thisUpdate`: verifiers would keep that.
    package func put(
        _ list: RevocationListRecord,
        entries: [RevocationListRecord.Entry],
        number: UInt64
    ) throws(DatastoreError) {
        guard try authority(id: list.authorityID) != nil else {
            throw .constraint("there is no authority \(list.authorityID)")
        }
        if let known = try lastRevocationList(of: list.authorityID) {
            guard known.thisUpdate < list.thisUpdate, !known.isLast else {
                throw .constraint("authority \(list.authorityID) has a newer list")
            }
        }
        try recordChange(
            ResourceKey(.revocationList, list.authorityID),
            number: number,
            isRemoval: false
        )
        try execute(
            """
            INSERT OR REPLACE INTO revocation_lists (authority, this_update, next_update, is_last,
                der)
            VALUES (?, ?, ?, ?, ?)
            """,
            [
                list.authorityID, list.thisUpdate.storedMilliseconds,
                list.nextUpdate.storedMilliseconds, list.isLast, list.der.stored,
            ]
        )
        // Of ten thousand rows a list mostly changes few.
        let known = Set(try revocationListEntries(of: list.authorityID))
        let new = Set(entries)
        for entry in known.subtracting(new) {
            try execute(
                "DELETE FROM listed_certificates WHERE authority = ? AND serial = ?",
                [list.authorityID, entry.serial.stored]
            )
        }
        for entry in new.subtracting(known) {
            try execute(
                """
                INSERT INTO listed_certificates (authority, serial, revoked_at, not_after)
                VALUES (?, ?, ?, ?)
                """,
                [
                    list.authorityID, entry.serial.stored, entry.revokedAt.storedMilliseconds,
                    entry.notAfter.storedMilliseconds,
                ]
            )
        }
    }

    /// Removes the list of an authority that leaves the bundle, and records that under `number`.
    ///
    /// - Throws: `DatastoreError.revisionNotAdvanced`.
    package func deleteRevocationList(
        of authorityID: String,
        number: UInt64
    ) throws(DatastoreError) {
        try execute("DELETE FROM listed_certificates WHERE authority = ?", [authorityID])
        let deleted = try execute(
            "DELETE FROM revocation_lists WHERE authority = ?",
            [authorityID]
        )
        guard deleted > 0 else { return }
        try recordChange(
            ResourceKey(.revocationList, authorityID),
            number: number,
            isRemoval: true
        )
    }
}

extension RevocationListRecord {
    fileprivate init(_ row: Row) throws(DatastoreError) {
        self.init(
            authorityID: try row.value("authority"),
            thisUpdate: try row.date("this_update"),
            nextUpdate: try row.date("next_update"),
            isLast: try row.value("is_last"),
            der: try row.bytes("der")
        )
    }
}

extension RevocationListRecord.Entry {
    fileprivate init(_ row: Row) throws(DatastoreError) {
        self.init(
            serial: try row.bytes("serial"),
            revokedAt: try row.date("revoked_at"),
            notAfter: try row.date("not_after")
        )
    }
}

extension ListableCertificate {
    fileprivate init(_ row: Row) throws(DatastoreError) {
        self.init(
            authorityID: try row.value("authority"),
            serial: try row.bytes("serial"),
            notAfter: try row.date("not_after")
        )
    }
}
