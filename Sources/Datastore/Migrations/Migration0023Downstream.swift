// SPDX-License-Identifier: Apache-2.0

internal import GRDB

/// Servers below this one: the entries that may have authorities certified, and what was certified
/// for them.
enum Migration0023Downstream {
    static func apply(_ database: Database) throws {
        try database.execute(
            sql: """
                ALTER TABLE entries ADD COLUMN downstream INTEGER NOT NULL DEFAULT 0;

                CREATE TABLE downstream_authorities (
                    id TEXT PRIMARY KEY NOT NULL,
                    entry_id TEXT NOT NULL,
                    entry_namespace TEXT NOT NULL,
                    entry_name TEXT NOT NULL,
                    entry_revision INTEGER NOT NULL,
                    spiffe_id TEXT NOT NULL,
                    node TEXT NOT NULL,
                    server_id TEXT NOT NULL,
                    certificate_der BLOB NOT NULL,
                    chain TEXT,
                    root TEXT NOT NULL,
                    certified_at INTEGER NOT NULL,
                    not_before INTEGER NOT NULL,
                    not_after INTEGER NOT NULL,
                    revoked_at INTEGER,
                    revoke_reason TEXT,
                    revoked_by TEXT
                ) STRICT;
                CREATE INDEX downstream_by_entry ON downstream_authorities (entry_id);
                CREATE INDEX downstream_by_node ON downstream_authorities (node);
                """
        )
    }
}
