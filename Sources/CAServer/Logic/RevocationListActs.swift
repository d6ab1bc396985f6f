// SPDX-License-Identifier: Apache-2.0

internal import AuditLog
package import Datastore
package import FoundationEssentials
package import Issuance
package import NodeSync
package import SPIFFE

/// What a round of revocation lists is decided from, read in one view.
package struct RevocationListSnapshot: Sendable {
    /// An authority of this server that is in the bundle.
    package struct Member: Sendable {
        package let authority: Authority
        let lastCertificateNotAfter: Date?
        let previous: RevocationListContent?

        /// What the plan needs of it.
        func listed(hasKey: Bool) -> ListedAuthority? {
            ListedAuthority(
                authority,
                lastCertificateNotAfter: lastCertificateNotAfter,
                hasKey: hasKey,
                previous: previous
            )
        }
    }

    package let revision: Revision
    package let members: [Member]
    /// How many certificates may be on lists of this server: each server that has authorities in the
    /// bundle has an equal share of what agents take.
    let places: Int
    let serials: [RevocationListPlan.RevokedSerial]
    let identities: [RevocationListPlan.RevokedHolder]
    /// Whether what is revoked was read; else nothing has changed.
    package let isWhole: Bool

    /// What the plan needs of the authorities.
    ///
    /// - Parameter keys: The IDs of those whose key for certificates can be used.
    /// - Returns: All but those that are revoked.
    package func listed(having keys: Set<String>) -> [ListedAuthority] {
        members.compactMap { $0.listed(hasKey: keys.contains($0.authority.id)) }
    }

    /// Decides what is on which list, of a snapshot that is whole.
    package func plan(having keys: Set<String>, now: Date) -> RevocationListPlan {
        RevocationListPlan(
            authorities: listed(having: keys),
            serials: serials,
            identities: identities,
            places: places,
            now: now
        )
    }
}

/// Certificate revocation lists, from what is on record to the row that agents are told of
/// (docs/decisions/0018-certificate-revocation-lists.md).
extension ServerLogic {
    /// Who signs lists.
    package static let lister = Actor.system("lists")

    /// Reads what a round is decided from.
    ///
    /// - Parameters:
    ///   - seen: The revision number up to which everything revoked is on lists already: if nothing
    ///     has changed since, what is revoked is not read. Nil: read all.
    ///   - now: The wall clock.
    ///   - transaction: What is known.
    /// - Returns: Authorities with their lists, and what is revoked.
    /// - Throws: `DatastoreError`.
    package func listSnapshot(
        after seen: UInt64?,
        now: Date,
        in transaction: ReadTransaction
    ) throws -> RevocationListSnapshot {
        let bundle = try transaction.bundleAuthorities()
        let members = try bundle.filter { $0.serverID == serverID }.map { record in
            RevocationListSnapshot.Member(
                authority: try Authority(record, in: transaction),
                lastCertificateNotAfter: try transaction.lastListedNotAfter(authorityID: record.id),
                previous: try content(ofList: record.id, in: transaction)
            )
        }
        let isWhole = try seen.map { try transaction.hasListChange(after: $0) } ?? true
        return RevocationListSnapshot(
            revision: try transaction.revision(),
            members: members,
            places: RevocationListPlan.placesMax / max(1, Set(bundle.map(\.serverID)).count),
            serials: isWhole ? try revokedSerials(in: transaction) : [],
            identities: isWhole ? try revokedHolders(now: now, in: transaction) : [],
            isWhole: isWhole
        )
    }

    private func content(
        ofList id: String,
        in transaction: ReadTransaction
    ) throws -> RevocationListContent? {
        guard let list = try transaction.lastRevocationList(of: id) else { return nil }
        return RevocationListContent(
            authorityID: id,
            thisUpdate: list.thisUpdate,
            nextUpdate: list.nextUpdate,
            isLast: list.isLast,
            entries: try transaction.revocationListEntries(of: id).map {
                .init(serial: $0.serial, revokedAt: $0.revokedAt, notAfter: $0.notAfter)
            },
            isLost: list.isLost
        )
    }

    private func revokedSerials(
        in transaction: ReadTransaction
    ) throws -> [RevocationListPlan.RevokedSerial] {
        try transaction.revokedListableCertificates().map {
            RevocationListPlan.RevokedSerial($0.certificate.planned, revokedAt: $0.revokedAt)
        }
    }

    private func revokedHolders(
        now: Date,
        in transaction: ReadTransaction
    ) throws -> [RevocationListPlan.RevokedHolder] {
        // A list begins at the earliest that long ago.
        let since = now.addingTimeInterval(-(RevocationListPlan.backdate / .seconds(1)))
        let counted = try transaction.revocations().map { revocation in
            let counts = try transaction.listableCertificateCounts(
                revokedBy: revocation,
                endingFrom: since,
                limit: RevocationListPlan.placesMax + 1
            )
            return (revocation: revocation, counts: counts, sum: counts.values.reduce(0, +))
        }
        // Those with the fewest certificates have the first places. Nine thousand may have their
        // place by serial number, so more than the places are read; millions may be on record.
        var room = 2 * RevocationListPlan.placesMax
        return try counted.filter { $0.sum > 0 }.sorted { $0.sum < $1.sum }.map { item in
            let (spiffeID, revokedAt) = (item.revocation.spiffeID, item.revocation.revokedAt)
            guard item.sum <= min(room, RevocationListPlan.placesMax) else {
                return .init(spiffeID: spiffeID, revokedAt: revokedAt, unread: item.counts)
            }
            room -= item.sum
            let certificates = try transaction.listableCertificates(
                revokedBy: item.revocation,
                endingFrom: since
            )
            return .init(
                spiffeID: spiffeID,
                revokedAt: revokedAt,
                certificates: certificates.map(\.planned)
            )
        }
    }

    /// Commits lists that were signed, those of authorities that have left the bundle meanwhile left
    /// out.
    ///
    /// - Parameters:
    ///   - lists: As signed.
    ///   - leftOut: How many certificates of an authority have no place.
    ///   - now: The wall clock.
    ///   - transaction: Where all of it happens.
    /// - Returns: The lists that count from the commit on.
    /// - Throws: `APIError` if the clock is not believed; `DatastoreError`.
    package func commit(
        _ lists: [SignedRevocationList],
        leftOut: [String: Int],
        now: Date,
        in transaction: Transaction
    ) throws -> [SignedRevocationList] {
        try requireClock(now, in: transaction)
        let standing = try lists.filter { list in
            let record = try transaction.authority(id: list.prepared.content.authorityID)
            return try record.map { try $0.knownState().isPublished } ?? false
        }
        guard !standing.isEmpty else { return [] }
        let number = try transaction.advanceRevision().number
        for list in standing {
            try put(
                list,
                leftOut: leftOut[list.prepared.content.authorityID] ?? 0,
                number: number,
                now: now,
                in: transaction
            )
        }
        return standing
    }

    /// Records one list under a number that the transaction has taken.
    func put(
        _ list: SignedRevocationList,
        leftOut: Int = 0,
        number: UInt64,
        now: Date,
        in transaction: Transaction
    ) throws {
        let content = list.prepared.content
        try transaction.put(
            RevocationListRecord(
                authorityID: content.authorityID,
                thisUpdate: content.thisUpdate,
                nextUpdate: content.nextUpdate,
                isLast: content.isLast,
                der: list.der
            ),
            entries: content.entries.map {
                .init(serial: $0.serial, revokedAt: $0.revokedAt, notAfter: $0.notAfter)
            },
            number: number
        )
        let signing = RevocationListSigning(
            authority: keyIdentifier(ofAuthority: content.authorityID),
            number: UInt64(clamping: list.prepared.number),
            thisUpdate: AuditTime(content.thisUpdate),
            nextUpdate: AuditTime(content.nextUpdate),
            certificates: UInt64(content.entries.count),
            leftOut: UInt64(leftOut),
            listSHA256: list.sha256
        )
        try transaction.append(.revocationListSigned(signing), by: Self.lister, at: now)
    }

    /// Signs the first list of an authority, on which nothing is.
    ///
    /// - Parameters:
    ///   - authority: One that is not published yet: verifiers that insist on a list refuse whom it
    ///     signs for until they have one.
    ///   - signer: Its key for certificates.
    ///   - now: The wall clock.
    /// - Returns: The list, to be committed with the publication.
    /// - Throws: `RevocationListIssuanceError`.
    package static func firstList(
        of authority: Authority,
        signedWith signer: any Signer,
        now: Date
    ) throws(RevocationListIssuanceError) -> SignedRevocationList {
        guard let content = RevocationListPlan.firstList(of: authority, now: now) else {
            throw .timesRefused
        }
        return try PreparedRevocationList(content, authority: authority).signed(with: signer)
    }
}

extension ListableCertificate {
    fileprivate var planned: RevocationListPlan.Certificate {
        // A number has no leading zeros.
        .init(authorityID: authorityID, serial: Array(serial.drop { $0 == 0 }), notAfter: notAfter)
    }
}
