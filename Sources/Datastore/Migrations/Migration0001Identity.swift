// SPDX-License-Identifier: Apache-2.0

internal import GRDB

/// Who the store belongs to, its revision number, and what changed under which number.
enum Migration0001Identity {
    static func apply(_ database: Database) throws {
        try database.execute(
            sql: """
                PRAGMA application_id = \(Schema.applicationID);

                CREATE TABLE meta (
                    id INTEGER PRIMARY KEY CHECK (id = 1),
                    trust_domain TEXT NOT NULL,
                    server_id TEXT NOT NULL,
                    epoch BLOB NOT NULL CHECK (length(epoch) = 16),
                    revision INTEGER NOT NULL CHECK (revision >= 0),
                    changes_floor INTEGER NOT NULL CHECK (changes_floor >= 0),
                    clock_high_water INTEGER,
                    created_at INTEGER NOT NULL
                ) STRICT;

                CREATE TABLE changes (
                    number INTEGER NOT NULL,
                    type INTEGER NOT NULL,
                    name TEXT NOT NULL,
                    removed INTEGER NOT NULL CHECK (removed IN (0, 1)),
                    prior_node_selectors TEXT,
                    PRIMARY KEY (number, type, name)
                ) STRICT, WITHOUT ROWID;

                CREATE TABLE probe (
                    id INTEGER PRIMARY KEY CHECK (id = 1),
                    count INTEGER NOT NULL
                ) STRICT;
                INSERT INTO probe (id, count) VALUES (1, 0);
                """
        )
    }
}
