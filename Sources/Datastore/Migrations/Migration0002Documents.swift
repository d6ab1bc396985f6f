// SPDX-License-Identifier: Apache-2.0

internal import GRDB

/// Documents, their earlier versions, and the labels that prune selects by.
enum Migration0002Documents {
    static func apply(_ database: Database) throws {
        try database.execute(
            sql: """
                CREATE TABLE documents (
                    id INTEGER PRIMARY KEY,
                    uid TEXT NOT NULL UNIQUE,
                    api_group TEXT NOT NULL,
                    kind TEXT NOT NULL,
                    namespace TEXT NOT NULL,
                    name TEXT NOT NULL,
                    revision INTEGER NOT NULL,
                    body BLOB NOT NULL,
                    actor TEXT NOT NULL,
                    reason TEXT NOT NULL,
                    created_at INTEGER NOT NULL,
                    written_at INTEGER NOT NULL,
                    UNIQUE (api_group, kind, namespace, name)
                ) STRICT;

                CREATE TABLE document_labels (
                    document INTEGER NOT NULL REFERENCES documents (id) ON DELETE CASCADE,
                    label TEXT NOT NULL,
                    value TEXT NOT NULL,
                    PRIMARY KEY (document, label)
                ) STRICT, WITHOUT ROWID;
                CREATE INDEX document_labels_by_value
                    ON document_labels (label, value, document);

                CREATE TABLE document_history (
                    id INTEGER PRIMARY KEY,
                    uid TEXT NOT NULL,
                    api_group TEXT NOT NULL,
                    kind TEXT NOT NULL,
                    namespace TEXT NOT NULL,
                    name TEXT NOT NULL,
                    revision INTEGER NOT NULL,
                    verb TEXT NOT NULL,
                    body BLOB NOT NULL,
                    actor TEXT NOT NULL,
                    reason TEXT NOT NULL,
                    written_at INTEGER NOT NULL,
                    superseded_at INTEGER NOT NULL,
                    UNIQUE (api_group, kind, namespace, name, revision)
                ) STRICT;
                CREATE INDEX document_history_by_age ON document_history (superseded_at);
                """
        )
    }
}
