// SPDX-License-Identifier: Apache-2.0

internal import GRDB

/// Keys that the upstream has revoked: those that nothing here has, which agents are told of, and
/// those that wait until another authority signs.
enum Migration0022UpstreamRevocations {
    static func apply(_ database: Database) throws {
        try database.execute(
            sql: """
                CREATE TABLE upstream_revocations (
                    id TEXT PRIMARY KEY NOT NULL,
                    named_at INTEGER NOT NULL,
                    is_waiting INTEGER NOT NULL CHECK (is_waiting IN (0, 1))
                ) STRICT;
                """
        )
    }
}
