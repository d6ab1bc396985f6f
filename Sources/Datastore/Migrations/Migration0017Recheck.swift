// SPDX-License-Identifier: Apache-2.0

internal import GRDB

/// Of what a certificate is made again: its key and its DNS names.
///
/// Rows of earlier releases have neither, and live for hours. The index is for whoever goes through
/// the log and looks for what was issued by each record: it grows at its end.
enum Migration0017Recheck {
    static func apply(_ database: Database) throws {
        try database.execute(
            sql: """
                ALTER TABLE intents ADD COLUMN spki BLOB;
                ALTER TABLE intents ADD COLUMN dns_names TEXT;
                CREATE INDEX intents_by_leaf ON intents (leaf);
                """
        )
    }
}
