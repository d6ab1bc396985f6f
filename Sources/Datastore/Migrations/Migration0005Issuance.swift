// SPDX-License-Identifier: Apache-2.0

internal import GRDB

/// Authorities (keys are files, not rows) and the record of every certificate meant to be signed.
enum Migration0005Issuance {
    static func apply(_ database: Database) throws {
        try database.execute(
            sql: """
                CREATE TABLE authorities (
                    id TEXT PRIMARY KEY,
                    server_id TEXT NOT NULL,
                    state TEXT NOT NULL,
                    certificate_der BLOB NOT NULL,
                    published_at INTEGER NOT NULL,
                    activated_at INTEGER,
                    not_before INTEGER NOT NULL,
                    not_after INTEGER NOT NULL,
                    last_issued_not_after INTEGER
                ) STRICT, WITHOUT ROWID;
                CREATE UNIQUE INDEX authorities_one_active
                    ON authorities (server_id) WHERE state = 'active';

                CREATE TABLE bundle (
                    id INTEGER PRIMARY KEY CHECK (id = 1),
                    sequence INTEGER NOT NULL
                ) STRICT;
                INSERT INTO bundle (id, sequence) VALUES (1, 0);

                CREATE TABLE intents (
                    serial BLOB PRIMARY KEY,
                    authority TEXT NOT NULL,
                    spiffe_id TEXT NOT NULL,
                    entry_id TEXT,
                    entry_revision INTEGER,
                    tbs_sha256 BLOB NOT NULL CHECK (length(tbs_sha256) = 32),
                    not_after INTEGER NOT NULL,
                    node TEXT NOT NULL,
                    revision INTEGER NOT NULL,
                    leaf INTEGER NOT NULL
                ) STRICT, WITHOUT ROWID;
                CREATE INDEX intents_by_expiry ON intents (not_after);
                CREATE INDEX intents_by_spiffe_id ON intents (spiffe_id, not_after);
                """
        )
    }
}
