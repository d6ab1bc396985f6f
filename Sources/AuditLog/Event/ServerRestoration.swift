// SPDX-License-Identifier: Apache-2.0

internal import SPIFFE

/// A server was restored, and this log begins; its first record
/// (docs/decisions/0022-backup-and-restore.md).
package struct ServerRestoration: Hashable, Sendable, AuditPayload {
    /// The backup that was restored.
    package struct Backup: Hashable, Sendable {
        package let id: [UInt8]
        /// When it was begun.
        package let time: AuditTime

        package init(id: [UInt8], time: AuditTime) {
            self.id = id
            self.time = time
        }
    }

    /// Nil: the directory's own database was taken.
    package let backup: Backup?
    /// The epoch of the datastore before, and now.
    package let formerEpoch: [UInt8]
    package let epoch: [UInt8]
    /// What is known of the log before: its name, its size and the root of its tree.
    package let former: Checkpoint
    /// The time of the last record that is known; nil: there is none.
    package let lastRecordAt: AuditTime?
    /// How many records were brought forward.
    package let records: UInt64
    /// The authority that signs from here on, as no record of this log says that it began to; nil if
    /// there is none.
    package let authority: [UInt8]?

    package init(
        backup: Backup?,
        formerEpoch: [UInt8],
        epoch: [UInt8],
        former: Checkpoint,
        lastRecordAt: AuditTime?,
        records: UInt64,
        authority: [UInt8]?
    ) {
        self.backup = backup
        self.formerEpoch = formerEpoch
        self.epoch = epoch
        self.former = former
        self.lastRecordAt = lastRecordAt
        self.records = records
        self.authority = authority
    }

    func write(to fields: inout FieldWriter) {
        if let authority { fields.set("authority", authority) }
        if let backup {
            fields.set("backupID", backup.id)
            fields.set("backupTime", backup.time)
        }
        fields.set("epoch", epoch)
        fields.set("formerEpoch", formerEpoch)
        fields.set("formerLog", former.origin)
        fields.set("formerRoot", former.root.bytes)
        fields.set("formerSize", former.size)
        if let lastRecordAt { fields.set("lastRecordTime", lastRecordAt) }
        fields.set("records", records)
    }

    init(_ fields: inout FieldReader) throws(AuditRecordParsingError) {
        var backup: Backup?
        if fields.has("backupID") {
            backup = Backup(
                id: try fields.bytes("backupID"),
                time: try fields.time("backupTime")
            )
        }
        self.init(
            backup: backup,
            formerEpoch: try fields.bytes("formerEpoch"),
            epoch: try fields.bytes("epoch"),
            former: Checkpoint(
                origin: try fields.text("formerLog"),
                size: try fields.number("formerSize"),
                root: try fields.parsed("formerRoot") {
                    Hexadecimal.bytes($0).flatMap { MerkleHash($0) }
                }
            ),
            lastRecordAt: fields.has("lastRecordTime") ? try fields.time("lastRecordTime") : nil,
            records: try fields.number("records"),
            authority: fields.has("authority") ? try fields.bytes("authority") : nil
        )
    }

    func index(into subjects: inout AuditSubjects) {}
}
