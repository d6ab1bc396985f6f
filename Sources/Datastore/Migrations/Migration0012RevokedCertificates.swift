// SPDX-License-Identifier: Apache-2.0

internal import GRDB

/// Single certificates that are refused although they have not expired.
enum Migration0012RevokedCertificates {
    static func apply(_ database: Database) throws {
        try database.execute(
            sql: """
                CREATE TABLE revoked_certificates (
                    serial BLOB PRIMARY KEY,
                    authority TEXT NOT NULL,
                    spiffe_id TEXT NOT NULL,
                    node TEXT NOT NULL,
                    not_after INTEGER NOT NULL,
                    ends_at INTEGER NOT NULL,
                    reason TEXT NOT NULL,
                    actor TEXT NOT NULL,
                    revoked_at INTEGER NOT NULL
                ) STRICT, WITHOUT ROWID;
                CREATE INDEX revoked_certificates_by_end ON revoked_certificates (ends_at);
                """
        )
    }
}
