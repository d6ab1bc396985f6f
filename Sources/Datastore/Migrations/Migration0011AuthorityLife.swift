// SPDX-License-Identifier: Apache-2.0

internal import GRDB

/// Why and by whom an authority is distrusted, and which Proxy holds the key of a recorded
/// certificate, by which its replacement is told from others.
enum Migration0011AuthorityLife {
    static func apply(_ database: Database) throws {
        try database.execute(
            sql: """
                ALTER TABLE authorities ADD COLUMN tainted_at INTEGER;
                ALTER TABLE authorities ADD COLUMN revoked_at INTEGER;
                ALTER TABLE authorities ADD COLUMN distrust_reason TEXT;
                ALTER TABLE authorities ADD COLUMN distrusted_by TEXT;

                ALTER TABLE intents ADD COLUMN proxy TEXT;
                """
        )
    }
}
