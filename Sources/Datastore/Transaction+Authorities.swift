// SPDX-License-Identifier: Apache-2.0

package import FoundationEssentials
internal import GRDB
internal import NodeSync
package import SPIFFE

/// One authority of a server; its private key is a file of the server, never a row.
package struct AuthorityRecord: Hashable, Sendable, Identifiable {
    /// The state in which a server has at most one authority; the schema enforces it.
    package static let activeState = "active"
    /// The state of an authority whose SVIDs are being replaced.
    package static let taintedState = "tainted"
    /// The state in which it is in no bundle any more.
    package static let revokedState = "revoked"

    /// The subject key identifier in hexadecimal.
    package let id: String
    package let serverID: String
    /// The state's name in the rotation (`prepared`, `active`, `old`, `tainted`, `revoked`).
    package let state: String
    package let certificateDER: [UInt8]
    /// SubjectPublicKeyInfo of the key that signs JWT-SVIDs; nil if it has none.
    package let tokenKeySPKI: [UInt8]?
    package let publishedAt: Date
    package let activatedAt: Date?
    package let notBefore: Date
    package let notAfter: Date
    /// What certified it; nil if it is self-signed.
    package let ancestry: AuthorityAncestry?
    /// Nil of an authority that was never distrusted.
    package let distrust: AuthorityDistrust?

    package init(
        id: String,
        serverID: String,
        state: String,
        certificateDER: [UInt8],
        tokenKeySPKI: [UInt8]?,
        publishedAt: Date,
        activatedAt: Date?,
        notBefore: Date,
        notAfter: Date,
        ancestry: AuthorityAncestry? = nil,
        distrust: AuthorityDistrust? = nil
    ) {
        self.id = id
        self.serverID = serverID
        self.state = state
        self.certificateDER = certificateDER
        self.tokenKeySPKI = tokenKeySPKI
        self.publishedAt = publishedAt
        self.activatedAt = activatedAt
        self.notBefore = notBefore
        self.notAfter = notAfter
        self.ancestry = ancestry
        self.distrust = distrust
    }

    /// By which agents know that an authority is distrusted.
    package static func revocationName(of id: String) -> String { revocationPrefix + id }

    /// The authority that agents know by this name as distrusted; nil if it names something else.
    package static func authority(ofRevocation name: String) -> String? {
        name.hasPrefix(revocationPrefix) ? String(name.dropFirst(revocationPrefix.count)) : nil
    }

    private static let revocationPrefix = "authority:"
}

/// That somebody trusts an authority no more.
package struct AuthorityDistrust: Hashable, Sendable {
    /// When its SVIDs began to be replaced; nil if it was revoked without that.
    package let taintedAt: Date?
    /// When it left the bundle for that; nil as long as it is tainted.
    package let revokedAt: Date?
    package let reason: String
    /// Who did what was done last.
    package let actor: String

    package init(taintedAt: Date?, revokedAt: Date?, reason: String, actor: String) {
        self.taintedAt = taintedAt
        self.revokedAt = revokedAt
        self.reason = reason
        self.actor = actor
    }
}

extension ReadTransaction {
    /// The authority with this id, nil when there is none.
    package func authority(id: String) throws(DatastoreError) -> AuthorityRecord? {
        try first("SELECT * FROM authorities WHERE id = ?", [id], AuthorityRecord.init)
    }

    /// All authorities of all servers, those that are revoked included, the oldest publication
    /// first.
    package func authorities() throws(DatastoreError) -> [AuthorityRecord] {
        try all("SELECT * FROM authorities ORDER BY published_at, id", [], AuthorityRecord.init)
    }

    /// The authorities that the bundle holds, in its order.
    package func bundleAuthorities() throws(DatastoreError) -> [AuthorityRecord] {
        try authorities().filter { $0.state != AuthorityRecord.revokedState }
    }

    /// The authorities that are tainted or revoked.
    package func distrustedAuthorities() throws(DatastoreError) -> [AuthorityRecord] {
        try authorities().filter {
            [AuthorityRecord.taintedState, AuthorityRecord.revokedState].contains($0.state)
        }
    }

    /// The end of the last certificate issued under an authority, nil if it issued none: until
    /// then it stays in the bundle.
    package func lastIssuedNotAfter(authorityID: String) throws(DatastoreError) -> Date? {
        try first(
            "SELECT last_issued_not_after FROM authorities WHERE id = ?",
            [authorityID]
        ) { row in
            try row.optionalDate("last_issued_not_after")
        } ?? nil
    }

    /// The end of the last certificate with an entry that an authority signed, nil if it signed none:
    /// until then its revocation lists may have to name one.
    ///
    /// Of an authority from before migration 0014 it is the end of everything that it signed till
    /// then.
    package func lastListedNotAfter(authorityID: String) throws(DatastoreError) -> Date? {
        try first(
            "SELECT last_listed_not_after FROM authorities WHERE id = ?",
            [authorityID]
        ) { row in
            try row.optionalDate("last_listed_not_after")
        } ?? nil
    }
}

extension Transaction {
    /// Creates or replaces an authority, keeping what it has issued.
    ///
    /// - Throws: `DatastoreError.constraint` when the server would have two active ones: retire
    ///   the old one first, in the same transaction.
    package func put(_ authority: AuthorityRecord) throws(DatastoreError) {
        try execute(
            """
            INSERT INTO authorities (id, server_id, state, certificate_der, token_key, published_at,
                activated_at, not_before, not_after, tainted_at, revoked_at, distrust_reason,
                distrusted_by, issuer, chain, root)
            VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
            ON CONFLICT (id) DO UPDATE SET server_id = excluded.server_id,
                state = excluded.state, certificate_der = excluded.certificate_der,
                token_key = excluded.token_key,
                published_at = excluded.published_at, activated_at = excluded.activated_at,
                not_before = excluded.not_before, not_after = excluded.not_after,
                tainted_at = excluded.tainted_at, revoked_at = excluded.revoked_at,
                distrust_reason = excluded.distrust_reason,
                distrusted_by = excluded.distrusted_by,
                issuer = excluded.issuer, chain = excluded.chain, root = excluded.root
            """,
            [
                authority.id, authority.serverID, authority.state,
                authority.certificateDER.stored, authority.tokenKeySPKI?.stored,
                authority.publishedAt.storedMilliseconds,
                authority.activatedAt?.storedMilliseconds,
                authority.notBefore.storedMilliseconds, authority.notAfter.storedMilliseconds,
                authority.distrust?.taintedAt?.storedMilliseconds,
                authority.distrust?.revokedAt?.storedMilliseconds, authority.distrust?.reason,
                authority.distrust?.actor,
                authority.ancestry?.issuerID, try authority.ancestry.flatMap(Self.stored),
                authority.ancestry?.rootID,
            ]
        )
    }

    static func stored(_ ancestry: AuthorityAncestry) throws(DatastoreError) -> String? {
        try storedJSON(ancestry.chain.map { $0.stored.base64EncodedString() })
    }

    /// Records under `number` that agents are to know an authority as distrusted in another way than
    /// before.
    ///
    /// - Throws: `DatastoreError.revisionNotAdvanced`.
    package func recordDistrust(
        of id: String,
        number: UInt64,
        isRemoval: Bool
    ) throws(DatastoreError) {
        try recordChange(
            ResourceKey(.revocation, AuthorityRecord.revocationName(of: id)),
            number: number,
            isRemoval: isRemoval
        )
    }

    /// Deletes an authority, which takes it out of the bundle.
    ///
    /// - Returns: whether there was one.
    @discardableResult
    package func deleteAuthority(id: String) throws(DatastoreError) -> Bool {
        try execute("DELETE FROM authorities WHERE id = ?", [id]) == 1
    }

    /// Raises the end of the last SVID, certificate or token, issued under an authority.
    ///
    /// - Throws: `DatastoreError.constraint` when there is no such authority: nothing is issued
    ///   under an authority that the bundle does not hold.
    package func raiseLastIssued(authorityID: String, notAfter: Date) throws(DatastoreError) {
        let time = notAfter.storedMilliseconds
        let raised = try execute(
            """
            UPDATE authorities
            SET last_issued_not_after = max(coalesce(last_issued_not_after, ?), ?) WHERE id = ?
            """,
            [time, time, authorityID]
        )
        guard raised == 1 else { throw .constraint("there is no authority \(authorityID)") }
    }

    /// Raises the end of the last certificate with an entry that an authority signed.
    func raiseLastListed(authorityID: String, notAfter: Date) throws(DatastoreError) {
        let time = notAfter.storedMilliseconds
        try execute(
            """
            UPDATE authorities
            SET last_listed_not_after = max(coalesce(last_listed_not_after, ?), ?) WHERE id = ?
            """,
            [time, time, authorityID]
        )
    }
}

extension AuthorityRecord {
    fileprivate init(_ row: Row) throws(DatastoreError) {
        self.init(
            id: try row.value("id"),
            serverID: try row.value("server_id"),
            state: try row.value("state"),
            certificateDER: try row.bytes("certificate_der"),
            tokenKeySPKI: try row.optionalBytes("token_key"),
            publishedAt: try row.date("published_at"),
            activatedAt: try row.optionalDate("activated_at"),
            notBefore: try row.date("not_before"),
            notAfter: try row.date("not_after"),
            ancestry: try row.ancestry(),
            distrust: try AuthorityDistrust(row)
        )
    }
}

extension Row {
    /// What certified an authority; NULL of one that is self-signed.
    func ancestry() throws(DatastoreError) -> AuthorityAncestry? {
        guard let rootID = try optional("root", as: String.self) else { return nil }
        var chain: [[UInt8]] = []
        for text in try json("chain", default: [String]()) {
            guard let der = Data(base64Encoded: text) else {
                throw .corrupt("column chain holds no base64")
            }
            chain.append(Array(der))
        }
        do throws(LeafCertificateError) {
            return try AuthorityAncestry(chain: chain, rootID: rootID)
        } catch { throw .corrupt("column chain holds no certificates: \(error)") }
    }
}

extension AuthorityDistrust {
    init?(_ row: Row) throws(DatastoreError) {
        let actor: String? = try row.optional("distrusted_by")
        guard let actor else { return nil }
        self.init(
            taintedAt: try row.optionalDate("tainted_at"),
            revokedAt: try row.optionalDate("revoked_at"),
            reason: try row.optional("distrust_reason") ?? "",
            actor: actor
        )
    }
}
