// SPDX-License-Identifier: Apache-2.0

package import FoundationEssentials
internal import GRDB
package import SPIFFE

/// That JWT-SVIDs were about to be signed for a holder; committed before the first signature.
///
/// A row is of a holder and an authority, not of a token: revocations ask who may have one, by whom
/// and until when.
package struct TokenHolder: Hashable, Sendable {
    /// The name of the node that asked.
    package let node: String
    package let entryID: String
    package let spiffeID: String
    /// Whose key signs.
    package let authorityID: String
    /// The last `iat`.
    package let issuedAt: Date
    /// The last `exp`.
    package let notAfter: Date

    package init(
        node: String,
        entryID: String,
        spiffeID: String,
        authorityID: String,
        issuedAt: Date,
        notAfter: Date
    ) {
        self.node = node
        self.entryID = entryID
        self.spiffeID = spiffeID
        self.authorityID = authorityID
        self.issuedAt = issuedAt
        self.notAfter = notAfter
    }
}

extension ReadTransaction {
    /// When a token of an identity, or an exchanged one that names it, was issued last, and when the
    /// last one ends; nil when none is recorded any more.
    package func tokenIssuance(
        of id: SPIFFEID
    ) throws(DatastoreError) -> (issuedAt: Date, notAfter: Date)? {
        let found = try first(
            """
            SELECT max(issued_at) AS issued, max(not_after) AS last FROM (
                SELECT issued_at, not_after FROM token_holders WHERE spiffe_id = ?
                UNION ALL
                SELECT issued_at, not_after FROM delegation_parties WHERE spiffe_id = ?)
            """,
            [id.description, id.description]
        ) { row in
            (try row.optionalDate("issued"), try row.optionalDate("last"))
        }
        guard let issued = found?.0, let last = found?.1 else { return nil }
        return (issued, last)
    }

    /// Identities of which a node may hold tokens that are valid after a time and not refused.
    static let liveTokens = """
        SELECT DISTINCT spiffe_id FROM token_holders
        WHERE node = ? AND not_after > ? AND NOT EXISTS (
            SELECT 1 FROM revoked_identities
            WHERE revoked_identities.spiffe_id = token_holders.spiffe_id
                AND token_holders.issued_at < revoked_identities.issued_before)
        """

    /// The identities of which a node may hold JWT-SVIDs that are valid after `time` and not refused
    /// with their identity, sorted.
    package func tokenIdentities(
        node: String,
        validAfter time: Date
    ) throws(DatastoreError) -> [String] {
        try all(
            "\(Self.liveTokens) ORDER BY spiffe_id",
            [node, time.storedMilliseconds]
        ) { row in
            try row.value("spiffe_id")
        }
    }

    /// The entries by which JWT-SVIDs of an identity were issued that are valid after `time`, at most
    /// `limit`.
    package func tokenEntries(
        of id: SPIFFEID,
        validAfter time: Date,
        limit: Int
    ) throws(DatastoreError) -> [String] {
        try all(
            """
            SELECT DISTINCT entry_id FROM token_holders WHERE spiffe_id = ? AND not_after > ?
            LIMIT ?
            """,
            [id.description, time.storedMilliseconds, limit]
        ) { row in
            try row.value("entry_id")
        }
    }

    /// How many holders have a JWT-SVID by each authority that is valid at `now`, and when the last
    /// ends: one for another audience replaces none.
    package func tokenHolders(
        validAt now: Date
    ) throws(DatastoreError) -> [String: (count: UInt64, lastEnd: Date)] {
        let counts = try all(
            """
            SELECT authority, count(*) AS n, max(not_after) AS last FROM token_holders
            WHERE not_after > ? GROUP BY authority
            """,
            [now.storedMilliseconds]
        ) { row in
            (
                try row.value("authority", as: String.self),
                (count: try row.number("n"), lastEnd: try row.date("last"))
            )
        }
        return Dictionary(counts) { $1 }
    }
}

extension Transaction {
    /// Records who is about to get JWT-SVIDs; what a holder had before stays as far as it is later.
    ///
    /// - Throws: `DatastoreError.constraint` when an authority does not exist.
    package func record(_ holders: [TokenHolder]) throws(DatastoreError) {
        for holder in holders {
            try raiseLastIssued(authorityID: holder.authorityID, notAfter: holder.notAfter)
            try insert(holder)
        }
    }

    func insert(_ holder: TokenHolder) throws(DatastoreError) {
        try execute(
            """
            INSERT INTO token_holders (node, entry_id, spiffe_id, authority, issued_at, not_after)
            VALUES (?, ?, ?, ?, ?, ?)
            ON CONFLICT (node, entry_id, spiffe_id, authority) DO UPDATE SET
                issued_at = max(issued_at, excluded.issued_at),
                not_after = max(not_after, excluded.not_after)
            """,
            [
                holder.node, holder.entryID, holder.spiffeID, holder.authorityID,
                holder.issuedAt.storedMilliseconds, holder.notAfter.storedMilliseconds,
            ]
        )
    }

    /// Forgets holders whose last token expired before `time`, at most `limit`.
    ///
    /// - Returns: Whether there may be more.
    package func trimTokenHolders(
        expiredBefore time: Date,
        limit: Int
    ) throws(DatastoreError) -> Bool {
        try execute(
            """
            DELETE FROM token_holders WHERE (node, entry_id, spiffe_id, authority) IN (
                SELECT node, entry_id, spiffe_id, authority FROM token_holders
                WHERE not_after < ? LIMIT ?)
            """,
            [time.storedMilliseconds, limit]
        ) == limit
    }
}
