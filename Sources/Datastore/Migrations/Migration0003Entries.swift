// SPDX-License-Identifier: Apache-2.0

internal import GRDB

/// Registration entries, found through one node selector each: the anchor.
enum Migration0003Entries {
    static func apply(_ database: Database) throws {
        try database.execute(
            sql: """
                CREATE TABLE node_selectors (
                    id INTEGER PRIMARY KEY,
                    selector TEXT NOT NULL UNIQUE,
                    uses INTEGER NOT NULL CHECK (uses > 0)
                ) STRICT;

                CREATE TABLE entries (
                    row INTEGER PRIMARY KEY,
                    id TEXT NOT NULL UNIQUE,
                    namespace TEXT NOT NULL,
                    name TEXT NOT NULL,
                    revision INTEGER NOT NULL,
                    created_at INTEGER NOT NULL,
                    spiffe_id TEXT NOT NULL,
                    variable_bounds TEXT,
                    anchor INTEGER NOT NULL REFERENCES node_selectors (id),
                    node_selectors TEXT NOT NULL,
                    workload_selectors TEXT NOT NULL,
                    x509_svid_ttl_seconds INTEGER,
                    dns_names TEXT,
                    federates_with TEXT,
                    hint TEXT NOT NULL,
                    labels TEXT,
                    expires INTEGER
                ) STRICT;
                CREATE INDEX entries_by_anchor ON entries (anchor);
                CREATE INDEX entries_by_namespace ON entries (namespace, id);
                CREATE INDEX entries_by_spiffe_id ON entries (spiffe_id, id);
                """
        )
    }
}
