// SPDX-License-Identifier: Apache-2.0

internal import GRDB

/// Until when an authority has certificates that a revocation list may have to name; its last list,
/// and what is on it.
///
/// Authorities from before do not tell entries' certificates from agents': the later time keeps
/// their keys longer, never shorter.
enum Migration0014RevocationLists {
    static func apply(_ database: Database) throws {
        try database.execute(
            sql: """
                ALTER TABLE authorities ADD COLUMN last_listed_not_after INTEGER;
                UPDATE authorities SET last_listed_not_after = last_issued_not_after;

                CREATE TABLE revocation_lists (
                    authority TEXT PRIMARY KEY NOT NULL,
                    this_update INTEGER NOT NULL,
                    next_update INTEGER NOT NULL,
                    is_last INTEGER NOT NULL,
                    der BLOB NOT NULL
                ) STRICT;

                CREATE TABLE listed_certificates (
                    authority TEXT NOT NULL,
                    serial BLOB NOT NULL,
                    revoked_at INTEGER NOT NULL,
                    not_after INTEGER NOT NULL,
                    PRIMARY KEY (authority, serial)
                ) STRICT, WITHOUT ROWID;
                """
        )
    }
}
