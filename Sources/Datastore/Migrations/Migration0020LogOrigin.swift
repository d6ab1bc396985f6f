// SPDX-License-Identifier: Apache-2.0

internal import GRDB

/// The name of the audit log, which is another one after a restore, and the hold of a restored server
/// (docs/decisions/0022-backup-and-restore.md).
///
/// A name that is NULL is `<trust domain>/audit/<server ID>`, as of every log from before. Whatever
/// the log alone knew, and what documents became last, stands beside the hold until it ends.
enum Migration0020LogOrigin {
    static func apply(_ database: Database) throws {
        try database.execute(
            sql: """
                ALTER TABLE audit_tree ADD COLUMN origin TEXT;

                CREATE TABLE hold (
                    id INTEGER PRIMARY KEY CHECK (id = 1),
                    log_origin TEXT NOT NULL,
                    log_size INTEGER NOT NULL CHECK (log_size >= 0),
                    last_record_at INTEGER,
                    restored_at INTEGER NOT NULL,
                    reason TEXT NOT NULL CHECK (reason IN ('restored', 'rollbackProved'))
                ) STRICT;

                CREATE TABLE hold_documents (
                    api_group TEXT NOT NULL,
                    kind TEXT NOT NULL,
                    namespace TEXT NOT NULL,
                    name TEXT NOT NULL,
                    sha256 BLOB CHECK (length(sha256) = 32),
                    PRIMARY KEY (api_group, kind, namespace, name)
                ) STRICT, WITHOUT ROWID;

                CREATE TABLE hold_names (
                    kind TEXT NOT NULL CHECK (kind IN ('authority', 'node')),
                    name TEXT NOT NULL,
                    PRIMARY KEY (kind, name)
                ) STRICT, WITHOUT ROWID;
                """
        )
    }
}
