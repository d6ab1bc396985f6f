// SPDX-License-Identifier: Apache-2.0

internal import GRDB

/// From which revision on a node has the selectors that it has; 0 is always.
enum Migration0008NodeScope {
    static func apply(_ database: Database) throws {
        try database.execute(
            sql: """
                ALTER TABLE nodes ADD COLUMN scope_changed_at INTEGER NOT NULL DEFAULT 0
                    CHECK (scope_changed_at >= 0);
                """
        )
    }
}
