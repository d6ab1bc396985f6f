// SPDX-License-Identifier: Apache-2.0

internal import GRDB

/// Attested nodes, and the tokens by which they join.
enum Migration0004Nodes {
    static func apply(_ database: Database) throws {
        try database.execute(
            sql: """
                CREATE TABLE nodes (
                    name TEXT PRIMARY KEY,
                    spiffe_id TEXT NOT NULL UNIQUE,
                    selectors TEXT NOT NULL,
                    key_spki_sha256 BLOB NOT NULL CHECK (length(key_spki_sha256) = 32),
                    attestation_method TEXT NOT NULL,
                    serial BLOB NOT NULL,
                    not_after INTEGER NOT NULL,
                    created_at INTEGER NOT NULL,
                    last_seen INTEGER NOT NULL,
                    banned_at INTEGER,
                    ban_reason TEXT,
                    CHECK ((banned_at IS NULL) = (ban_reason IS NULL))
                ) STRICT, WITHOUT ROWID;

                CREATE TABLE join_tokens (
                    hash BLOB PRIMARY KEY CHECK (length(hash) = 32),
                    name TEXT NOT NULL,
                    selectors TEXT NOT NULL,
                    expires_at INTEGER NOT NULL,
                    created_by TEXT NOT NULL,
                    created_at INTEGER NOT NULL,
                    used_at INTEGER
                ) STRICT, WITHOUT ROWID;
                CREATE INDEX join_tokens_by_expiry ON join_tokens (expires_at);
                """
        )
    }
}
