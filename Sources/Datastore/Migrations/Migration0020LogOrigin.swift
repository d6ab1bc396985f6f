// SPDX-License-Identifier: Apache-2.0

internal import GRDB

/// The name of the audit log, which is another one after a restore
/// (docs/decisions/0022-backup-and-restore.md).
///
/// NULL: `<trust domain>/audit/<server ID>`, as of every log from before.
enum Migration0020LogOrigin {
    static func apply(_ database: Database) throws {
        try database.execute(sql: "ALTER TABLE audit_tree ADD COLUMN origin TEXT")
    }
}
