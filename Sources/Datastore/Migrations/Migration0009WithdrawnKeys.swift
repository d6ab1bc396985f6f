// SPDX-License-Identifier: Apache-2.0

internal import GRDB

/// Keys of nodes that were evicted: a key that may be known to others is never a node's again.
enum Migration0009WithdrawnKeys {
    static func apply(_ database: Database) throws {
        try database.execute(
            sql: """
                CREATE TABLE withdrawn_node_keys (
                    key_spki_sha256 BLOB PRIMARY KEY CHECK (length(key_spki_sha256) = 32),
                    name TEXT NOT NULL,
                    withdrawn_at INTEGER NOT NULL
                ) STRICT, WITHOUT ROWID;
                """
        )
    }
}
