// SPDX-License-Identifier: Apache-2.0

internal import GRDB

/// Proxies with the state that each is to have, identities whose SVIDs are refused, and when each
/// recorded certificate begins, by which that is judged.
enum Migration0010DataPath {
    static func apply(_ database: Database) throws {
        try database.execute(
            sql: """
                CREATE TABLE proxies (
                    row INTEGER PRIMARY KEY,
                    id TEXT NOT NULL UNIQUE,
                    namespace TEXT NOT NULL,
                    name TEXT NOT NULL,
                    revision INTEGER NOT NULL,
                    anchor INTEGER NOT NULL REFERENCES node_selectors (id),
                    node_selectors TEXT NOT NULL,
                    identities TEXT NOT NULL,
                    expires INTEGER,
                    state BLOB NOT NULL,
                    changes_at INTEGER,
                    UNIQUE (namespace, name)
                ) STRICT;
                CREATE INDEX proxies_by_anchor ON proxies (anchor);
                CREATE INDEX proxies_by_change ON proxies (changes_at)
                    WHERE changes_at IS NOT NULL;

                CREATE TABLE revoked_identities (
                    spiffe_id TEXT PRIMARY KEY,
                    name TEXT NOT NULL UNIQUE,
                    issued_before INTEGER NOT NULL,
                    ends_at INTEGER NOT NULL,
                    reason TEXT NOT NULL,
                    actor TEXT NOT NULL,
                    revoked_at INTEGER NOT NULL
                ) STRICT, WITHOUT ROWID;
                CREATE INDEX revoked_identities_by_end ON revoked_identities (ends_at);

                ALTER TABLE intents ADD COLUMN not_before INTEGER;
                """
        )
    }
}
