// SPDX-License-Identifier: Apache-2.0

internal import GRDB

/// What was fetched of other trust domains, with a row for each FederatedTrustDomain.
///
/// A sequence number is 8 bytes, because a number here has only 63 bits.
enum Migration0015FederatedBundles {
    static func apply(_ database: Database) throws {
        try database.execute(
            sql: """
                CREATE TABLE federated_bundles (
                    trust_domain TEXT PRIMARY KEY NOT NULL,
                    uid TEXT NOT NULL UNIQUE REFERENCES documents (uid) ON DELETE CASCADE,
                    document BLOB,
                    sequence BLOB,
                    verified_by BLOB,
                    new_keys_at INTEGER,
                    changed_at INTEGER,
                    confirmed_at INTEGER,
                    withheld INTEGER NOT NULL
                ) STRICT;
                CREATE INDEX entries_that_federate ON entries (id)
                    WHERE federates_with IS NOT NULL;
                """
        )
    }
}
