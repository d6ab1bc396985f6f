// SPDX-License-Identifier: Apache-2.0

package import FoundationEssentials
internal import GRDB
internal import NodeSync
package import SPIFFE

/// What was fetched of another trust domain (docs/decisions/0021-federation.md).
package struct FederatedBundleRecord: Hashable, Sendable {
    /// Most rows: as many trust domains as one entry may name.
    package static let countMax = 64

    package let trustDomain: TrustDomain
    /// Of the FederatedTrustDomain that the row belongs to, and goes with.
    package let documentUID: String
    /// The last good bundle as `TrustBundle.document()` writes it; nil before the first fetch.
    package var document: [UInt8]?
    /// The number that is remembered, not the document's own; nil: none.
    package var sequenceNumber: UInt64?
    /// SHA-256 of the configured bundle that verified the endpoint last; nil: none did.
    package var verifiedBySHA256: [UInt8]?
    /// When keys were taken that had not been there before.
    package var newKeysAt: Date?
    /// When the keys changed last.
    package var changedAt: Date?
    /// When the endpoint served them last.
    package var confirmedAt: Date?
    /// Whether it is kept from validators until it is fetched again.
    package var isWithheld: Bool

    /// A row before the first fetch.
    package init(trustDomain: TrustDomain, documentUID: String) {
        self.trustDomain = trustDomain
        self.documentUID = documentUID
        isWithheld = false
    }

    /// What agents are told, by the trust domain's name: the document, unless it is withheld.
    package var shownDocument: [UInt8]? { isWithheld ? nil : document }
}

/// How many entries federate with whom.
package struct FederatingEntries: Hashable, Sendable {
    /// The entries that name each trust domain that was asked for.
    package let counts: [TrustDomain: Int]
    /// Whether all entries were looked at; else there may be more than was counted.
    package let isComplete: Bool
}

extension ReadTransaction {
    /// What was fetched of a trust domain; nil if no FederatedTrustDomain names it.
    package func federatedBundle(
        of trustDomain: TrustDomain
    ) throws(DatastoreError) -> FederatedBundleRecord? {
        try federatedBundle(named: trustDomain.name)
    }

    /// As `federatedBundle(of:)`, by a name that is perhaps none of a trust domain.
    package func federatedBundle(
        named trustDomain: String
    ) throws(DatastoreError) -> FederatedBundleRecord? {
        try first(
            "SELECT * FROM federated_bundles WHERE trust_domain = ?",
            [trustDomain],
            FederatedBundleRecord.init
        )
    }

    /// What was fetched for a FederatedTrustDomain.
    package func federatedBundle(
        documentUID: String
    ) throws(DatastoreError) -> FederatedBundleRecord? {
        try first(
            "SELECT * FROM federated_bundles WHERE uid = ?",
            [documentUID],
            FederatedBundleRecord.init
        )
    }

    /// What was fetched of every trust domain, by name.
    package func federatedBundles() throws(DatastoreError) -> [FederatedBundleRecord] {
        // One more, so that a caller sees that there are too many.
        try all(
            "SELECT * FROM federated_bundles ORDER BY trust_domain LIMIT ?",
            [FederatedBundleRecord.countMax + 1],
            FederatedBundleRecord.init
        )
    }

    /// The trust domains that FederatedTrustDomains name.
    package func federatedTrustDomains() throws(DatastoreError) -> Set<TrustDomain> {
        Set(
            try all(
                "SELECT trust_domain FROM federated_bundles LIMIT ?",
                [FederatedBundleRecord.countMax + 1]
            ) { row in
                try TrustDomain(stored: row)
            }
        )
    }

    /// How many entries name each of some trust domains to federate with, in one pass.
    ///
    /// - Parameters:
    ///   - trustDomains: Those that are counted.
    ///   - rowsMax: Most entries that federate, with whomever, that are looked at.
    /// - Returns: The counts, and whether all entries were looked at.
    /// - Throws: `DatastoreError`.
    package func federatingEntries(
        with trustDomains: Set<TrustDomain>,
        rowsMax: Int
    ) throws(DatastoreError) -> FederatingEntries {
        let names = try storedJSON(trustDomains.map(\.name).sorted()) ?? "[]"
        let found = try all(
            """
            SELECT named.value AS trust_domain, count(DISTINCT looked.id) AS n
            FROM (SELECT id, federates_with FROM entries WHERE federates_with IS NOT NULL
                    ORDER BY id LIMIT ?) AS looked, json_each(looked.federates_with) AS named
            WHERE named.value IN (SELECT value FROM json_each(?))
            GROUP BY named.value
            """,
            [rowsMax, names]
        ) { row in
            (try TrustDomain(stored: row), try row.value("n", as: Int.self))
        }
        let isMore = try first(
            "SELECT 1 AS one FROM entries WHERE federates_with IS NOT NULL LIMIT 1 OFFSET ?",
            [rowsMax]
        ) { row in
            try row.value("one", as: Int.self)
        }
        var counts: [TrustDomain: Int] = [:]
        for trustDomain in trustDomains { counts[trustDomain] = 0 }
        for (trustDomain, count) in found { counts[trustDomain] = count }
        return FederatingEntries(counts: counts, isComplete: isMore == nil)
    }
}

extension Transaction {
    /// Makes the row of a FederatedTrustDomain that is stored already, and records what agents are
    /// told by it.
    ///
    /// - Throws: `DatastoreError.constraint` when the trust domain has one, or there is no such
    ///   document.
    package func insert(_ record: FederatedBundleRecord) throws(DatastoreError) {
        try execute(
            """
            INSERT INTO federated_bundles (trust_domain, uid, document, sequence, verified_by,
                new_keys_at, changed_at, confirmed_at, withheld)
            VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
            """,
            [record.trustDomain.name, record.documentUID] + record.storedContent
        )
        try recordShown(record.shownDocument, of: record.trustDomain, before: nil)
    }

    /// Writes what came of a fetch, and records it if agents are told something else by it.
    ///
    /// What they are told is the document alone: another time or sequence is no change.
    ///
    /// - Parameters:
    ///   - record: The row as it is to be.
    ///   - version: The version of the document with which the fetch began.
    /// - Returns: False, and nothing is written, if the document is another one by now or gone: what
    ///   an admin has taken back does not return by a fetch that was under way.
    /// - Throws: `DatastoreError`.
    package func update(
        _ record: FederatedBundleRecord,
        ifDocumentHasVersion version: UInt64
    ) throws(DatastoreError) -> Bool {
        let before = try federatedBundle(of: record.trustDomain)
        let isWritten =
            try execute(
                """
                UPDATE federated_bundles SET document = ?, sequence = ?, verified_by = ?,
                    new_keys_at = ?, changed_at = ?, confirmed_at = ?, withheld = ?
                WHERE trust_domain = ? AND uid = ? AND EXISTS (
                    SELECT 1 FROM documents WHERE documents.uid = federated_bundles.uid
                        AND documents.revision = ?)
                """,
                record.storedContent
                    + [record.trustDomain.name, record.documentUID, version.stored]
            ) == 1
        guard isWritten else { return false }
        try recordShown(
            record.shownDocument,
            of: record.trustDomain,
            before: before?.shownDocument
        )
        return true
    }

    /// Forgets what was fetched for a FederatedTrustDomain, and records it if agents were told.
    ///
    /// It has to be called before the document is deleted, which takes the row with it unseen.
    ///
    /// - Returns: The row as it was; nil when there was none.
    @discardableResult
    package func deleteFederatedBundle(
        documentUID: String
    ) throws(DatastoreError) -> FederatedBundleRecord? {
        let record = try federatedBundle(documentUID: documentUID)
        try execute("DELETE FROM federated_bundles WHERE uid = ?", [documentUID])
        if let record {
            try recordShown(nil, of: record.trustDomain, before: record.shownDocument)
        }
        return record
    }

    /// Keeps a trust domain's bundle from validators until it is fetched again, and remembers a
    /// number in place of the one that is there; without a row it does nothing.
    ///
    /// A restore says so of what is another bundle by now (docs/decisions/0022-backup-and-restore.md).
    package func withholdFederatedBundle(
        of trustDomain: TrustDomain,
        sequenceNumber: UInt64?
    ) throws(DatastoreError) {
        guard var record = try federatedBundle(of: trustDomain) else { return }
        let before = record.shownDocument
        record.isWithheld = true
        record.sequenceNumber = sequenceNumber
        try execute(
            """
            UPDATE federated_bundles SET document = ?, sequence = ?, verified_by = ?,
                new_keys_at = ?, changed_at = ?, confirmed_at = ?, withheld = ?
            WHERE trust_domain = ?
            """,
            record.storedContent + [trustDomain.name]
        )
        try recordShown(record.shownDocument, of: trustDomain, before: before)
    }

    private func recordShown(
        _ document: [UInt8]?,
        of trustDomain: TrustDomain,
        before: [UInt8]?
    ) throws(DatastoreError) {
        guard document != before else { return }
        try recordChange(
            ResourceKey(.federatedBundle, trustDomain.name),
            number: try advanceRevision().number,
            isRemoval: document == nil
        )
    }
}

extension FederatedBundleRecord {
    fileprivate init(_ row: Row) throws(DatastoreError) {
        trustDomain = try TrustDomain(stored: row)
        documentUID = try row.value("uid")
        document = try row.optionalBytes("document")
        sequenceNumber = try row.optionalBytes("sequence").map(Self.number)
        verifiedBySHA256 = try row.optionalBytes("verified_by")
        newKeysAt = try row.optionalDate("new_keys_at")
        changedAt = try row.optionalDate("changed_at")
        confirmedAt = try row.optionalDate("confirmed_at")
        isWithheld = try row.value("withheld")
    }

    private static func number(_ bytes: [UInt8]) throws(DatastoreError) -> UInt64 {
        guard bytes.count == 8 else { throw .corrupt("column sequence has not 8 bytes") }
        return bytes.reduce(0) { $0 << 8 | UInt64($1) }
    }

    /// The columns beside the key, in the order of the statements.
    fileprivate var storedContent: StatementArguments {
        [
            document?.stored, sequenceNumber.map(Self.bytes)?.stored, verifiedBySHA256?.stored,
            newKeysAt?.storedMilliseconds, changedAt?.storedMilliseconds,
            confirmedAt?.storedMilliseconds, isWithheld,
        ]
    }

    private static func bytes(_ number: UInt64) -> [UInt8] {
        stride(from: 56, through: 0, by: -8).map { UInt8(truncatingIfNeeded: number >> UInt64($0)) }
    }
}

extension TrustDomain {
    fileprivate init(stored row: Row) throws(DatastoreError) {
        let name: String = try row.value("trust_domain")
        do throws(SPIFFEIDError) {
            self = try TrustDomain(name)
        } catch {
            throw .corrupt("a stored trust domain: \(error)")
        }
    }
}
