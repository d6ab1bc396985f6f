// SPDX-License-Identifier: Apache-2.0

package import FoundationEssentials
internal import GRDB
package import SPIFFE

/// What a join token allows; the secret itself is never stored, only its hash.
package struct JoinTokenRecord: Hashable, Sendable {
    /// SHA-256 of the secret, which has at least 128 random bits and so needs no salt.
    package let hash: [UInt8]
    /// The name the node will have.
    package let name: String
    /// The selectors the node will have.
    package let selectors: Set<Selector>
    package let expiresAt: Date
    package let createdBy: String
    package let createdAt: Date
    package let usedAt: Date?

    package init(
        hash: [UInt8],
        name: String,
        selectors: Set<Selector>,
        expiresAt: Date,
        createdBy: String,
        createdAt: Date,
        usedAt: Date? = nil
    ) {
        self.hash = hash
        self.name = name
        self.selectors = selectors
        self.expiresAt = expiresAt
        self.createdBy = createdBy
        self.createdAt = createdAt
        self.usedAt = usedAt
    }
}

/// What came of presenting a join token.
package enum JoinTokenRedemption: Hashable, Sendable {
    case alreadyUsed(JoinTokenRecord)
    case expired(JoinTokenRecord)
    /// The token was good and is used up now, if this transaction commits.
    case redeemed(JoinTokenRecord)
    case unknown
}

extension ReadTransaction {
    /// The token with this hash, used or not, nil when there is none.
    package func joinToken(hash: [UInt8]) throws(DatastoreError) -> JoinTokenRecord? {
        try first(
            "SELECT * FROM join_tokens WHERE hash = ?",
            [hash.stored],
            JoinTokenRecord.init
        )
    }

    /// Tokens in order of their hashes, those after `hash`, at most `limit`.
    package func joinTokens(
        after hash: [UInt8] = [],
        limit: Int
    ) throws(DatastoreError) -> [JoinTokenRecord] {
        try all(
            "SELECT * FROM join_tokens WHERE hash > ? ORDER BY hash LIMIT ?",
            [hash.stored, limit],
            JoinTokenRecord.init
        )
    }

    /// Tokens that can be used, in order of their hashes, those after `hash`, at most `limit`.
    package func usableJoinTokens(
        now: Date,
        after hash: [UInt8] = [],
        limit: Int
    ) throws(DatastoreError) -> [JoinTokenRecord] {
        try all(
            """
            SELECT * FROM join_tokens WHERE hash > ? AND used_at IS NULL AND expires_at > ?
            ORDER BY hash LIMIT ?
            """,
            [hash.stored, now.storedMilliseconds, limit],
            JoinTokenRecord.init
        )
    }

    /// Whether a token of this name can be used.
    package func hasUsableJoinToken(name: String, now: Date) throws(DatastoreError) -> Bool {
        try first(
            "SELECT * FROM join_tokens WHERE name = ? AND used_at IS NULL AND expires_at > ?",
            [name, now.storedMilliseconds],
            JoinTokenRecord.init
        ) != nil
    }
}

extension Transaction {
    /// Stores a new token.
    ///
    /// - Throws: `DatastoreError.constraint` when the hash is known already.
    package func put(_ token: JoinTokenRecord) throws(DatastoreError) {
        try execute(
            """
            INSERT INTO join_tokens (hash, name, selectors, expires_at, created_by, created_at,
                used_at)
            VALUES (?, ?, ?, ?, ?, ?, ?)
            """,
            [
                token.hash.stored, token.name, token.selectors.stored,
                token.expiresAt.storedMilliseconds, token.createdBy,
                token.createdAt.storedMilliseconds, token.usedAt?.storedMilliseconds,
            ]
        )
    }

    /// Uses a token up: of any number of tries, one redeems it.
    ///
    /// If the transaction is rolled back, the token is unused again.
    package func redeemJoinToken(
        hash: [UInt8],
        now: Date
    ) throws(DatastoreError) -> JoinTokenRedemption {
        let time = now.storedMilliseconds
        let redeemed = try execute(
            """
            UPDATE join_tokens SET used_at = ?
            WHERE hash = ? AND used_at IS NULL AND expires_at > ?
            """,
            [time, hash.stored, time]
        )
        guard let token = try joinToken(hash: hash) else { return .unknown }
        if redeemed == 1 { return .redeemed(token) }
        return token.usedAt == nil ? .expired(token) : .alreadyUsed(token)
    }

    /// Deletes the tokens of a name.
    ///
    /// - Parameters:
    ///   - name: The name that the tokens admit.
    ///   - unusedOnly: Whether used ones stay.
    /// - Returns: how many there were.
    /// - Throws: `DatastoreError`.
    @discardableResult
    package func deleteJoinTokens(name: String, unusedOnly: Bool) throws(DatastoreError) -> Int {
        try execute(
            "DELETE FROM join_tokens WHERE name = ? AND (used_at IS NULL OR NOT ?)",
            [name, unusedOnly]
        )
    }

    /// Deletes all tokens that nobody has used.
    ///
    /// - Returns: how many there were.
    @discardableResult
    package func deleteUnusedJoinTokens() throws(DatastoreError) -> Int {
        try execute("DELETE FROM join_tokens WHERE used_at IS NULL")
    }

    /// Deletes tokens, used or not, that expired before `time`, at most `limit`.
    ///
    /// - Returns: whether tokens are left to delete.
    package func trimJoinTokens(
        expiredBefore time: Date,
        limit: Int
    ) throws(DatastoreError) -> Bool {
        try execute(
            """
            DELETE FROM join_tokens WHERE hash IN (
                SELECT hash FROM join_tokens WHERE expires_at < ? LIMIT ?)
            """,
            [time.storedMilliseconds, limit]
        ) == limit
    }
}

extension JoinTokenRecord {
    fileprivate init(_ row: Row) throws(DatastoreError) {
        self.init(
            hash: try row.bytes("hash"),
            name: try row.value("name"),
            selectors: Set(try row.selectors("selectors")),
            expiresAt: try row.date("expires_at"),
            createdBy: try row.value("created_by"),
            createdAt: try row.date("created_at"),
            usedAt: try row.optionalDate("used_at")
        )
    }
}
