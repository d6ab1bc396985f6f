// SPDX-License-Identifier: Apache-2.0

internal import GRDB

/// The public half of the key that an authority signs JWT-SVIDs with, which authorities from before
/// have none of; how long an entry's tokens live; and who holds tokens: a row for each node, entry,
/// ID and authority, however many it had.
enum Migration0013TokenKeys {
    static func apply(_ database: Database) throws {
        try database.execute(
            sql: """
                ALTER TABLE authorities ADD COLUMN token_key BLOB;
                ALTER TABLE entries ADD COLUMN jwt_svid_ttl_seconds INTEGER;

                CREATE TABLE token_holders (
                    node TEXT NOT NULL,
                    entry_id TEXT NOT NULL,
                    spiffe_id TEXT NOT NULL,
                    authority TEXT NOT NULL,
                    issued_at INTEGER NOT NULL,
                    not_after INTEGER NOT NULL,
                    PRIMARY KEY (node, entry_id, spiffe_id, authority)
                ) STRICT, WITHOUT ROWID;
                CREATE INDEX token_holders_by_id ON token_holders (spiffe_id);
                CREATE INDEX token_holders_by_end ON token_holders (not_after);
                """
        )
    }
}
