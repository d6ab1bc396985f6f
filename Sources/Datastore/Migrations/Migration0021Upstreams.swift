// SPDX-License-Identifier: Apache-2.0

internal import GRDB

/// What is above authorities that another one certified: its certificates, and of each authority
/// what is between it and its root (JSON, base64 of DER), its issuer's and its root's key ID.
///
/// All three are NULL of a self-signed authority, as every one of earlier releases is.
enum Migration0021Upstreams {
    static func apply(_ database: Database) throws {
        try database.execute(
            sql: """
                CREATE TABLE upstreams (
                    id TEXT PRIMARY KEY NOT NULL,
                    kind TEXT NOT NULL CHECK (kind IN ('intermediate', 'root')),
                    certificate_der BLOB NOT NULL,
                    published_at INTEGER NOT NULL,
                    not_after INTEGER NOT NULL,
                    tainted_at INTEGER,
                    revoked_at INTEGER,
                    distrust_reason TEXT,
                    distrusted_by TEXT
                ) STRICT;

                ALTER TABLE authorities ADD COLUMN issuer TEXT;
                ALTER TABLE authorities ADD COLUMN chain TEXT;
                ALTER TABLE authorities ADD COLUMN root TEXT;
                """
        )
    }
}
