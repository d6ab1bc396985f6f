// SPDX-License-Identifier: Apache-2.0

internal import GRDB

/// Who may act for whom at whom, with a row for each DelegationPolicy and one for each name in it;
/// and who is named in exchanged tokens besides the one who holds them.
///
/// The key of the names begins with what a hop is looked up by.
enum Migration0016Delegation {
    static func apply(_ database: Database) throws {
        try database.execute(
            sql: """
                CREATE TABLE delegation_policies (
                    uid TEXT PRIMARY KEY NOT NULL REFERENCES documents (uid) ON DELETE CASCADE,
                    namespace TEXT NOT NULL,
                    name TEXT NOT NULL,
                    version INTEGER NOT NULL,
                    expires INTEGER
                ) STRICT;
                CREATE TABLE delegation_terms (
                    role TEXT NOT NULL,
                    value TEXT NOT NULL,
                    uid TEXT NOT NULL REFERENCES delegation_policies (uid) ON DELETE CASCADE,
                    PRIMARY KEY (role, value, uid)
                ) STRICT, WITHOUT ROWID;
                CREATE INDEX delegation_terms_by_policy ON delegation_terms (uid);

                CREATE TABLE delegation_parties (
                    spiffe_id TEXT PRIMARY KEY NOT NULL,
                    issued_at INTEGER NOT NULL,
                    not_after INTEGER NOT NULL
                ) STRICT, WITHOUT ROWID;
                CREATE INDEX delegation_parties_by_end ON delegation_parties (not_after);
                """
        )
    }
}
