// SPDX-License-Identifier: Apache-2.0

internal import GRDB

/// The leaves of the audit log with the columns that queries use, and the tree's frontier.
enum Migration0006Audit {
    static func apply(_ database: Database) throws {
        try database.execute(
            sql: """
                CREATE TABLE audit_leaves (
                    leaf INTEGER PRIMARY KEY,
                    bytes BLOB NOT NULL,
                    hash BLOB NOT NULL CHECK (length(hash) = 32),
                    time INTEGER NOT NULL,
                    event TEXT NOT NULL,
                    actor TEXT NOT NULL
                ) STRICT;
                CREATE TRIGGER audit_leaves_append BEFORE INSERT ON audit_leaves
                    WHEN NEW.leaf <> (SELECT size FROM audit_tree)
                    BEGIN SELECT RAISE(ABORT, 'an audit leaf is only appended'); END;
                CREATE TRIGGER audit_leaves_keep_content BEFORE UPDATE ON audit_leaves
                    BEGIN SELECT RAISE(ABORT, 'an audit leaf never changes'); END;
                CREATE TRIGGER audit_leaves_stay BEFORE DELETE ON audit_leaves
                    BEGIN SELECT RAISE(ABORT, 'an audit leaf is never deleted'); END;
                CREATE INDEX audit_leaves_by_time ON audit_leaves (time);
                CREATE INDEX audit_leaves_by_event ON audit_leaves (event);
                CREATE INDEX audit_leaves_by_actor ON audit_leaves (actor);

                CREATE TABLE audit_spiffe_ids (
                    spiffe_id TEXT NOT NULL,
                    leaf INTEGER NOT NULL REFERENCES audit_leaves (leaf),
                    PRIMARY KEY (spiffe_id, leaf)
                ) STRICT, WITHOUT ROWID;

                CREATE TABLE audit_namespaces (
                    namespace TEXT NOT NULL,
                    leaf INTEGER NOT NULL REFERENCES audit_leaves (leaf),
                    PRIMARY KEY (namespace, leaf)
                ) STRICT, WITHOUT ROWID;

                CREATE TABLE audit_serials (
                    serial TEXT NOT NULL,
                    leaf INTEGER NOT NULL REFERENCES audit_leaves (leaf),
                    PRIMARY KEY (serial, leaf)
                ) STRICT, WITHOUT ROWID;

                CREATE TABLE audit_tree (
                    id INTEGER PRIMARY KEY CHECK (id = 1),
                    size INTEGER NOT NULL CHECK (size >= 0),
                    frontier BLOB NOT NULL,
                    frontier_size INTEGER NOT NULL CHECK (frontier_size <= size)
                ) STRICT;
                INSERT INTO audit_tree (id, size, frontier, frontier_size)
                    VALUES (1, 0, x'', 0);
                """
        )
    }
}
