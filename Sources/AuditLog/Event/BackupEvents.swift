// SPDX-License-Identifier: Apache-2.0

/// A backup was made.
package struct BackupMaking: Hashable, Sendable, AuditPayload {
    /// 16 random bytes, which are also inside the backup.
    package let id: [UInt8]
    /// How long its file is.
    package let bytes: UInt64
    /// SHA-256 of its file.
    package let sha256: [UInt8]
    /// The revision number of what it holds.
    package let revision: UInt64

    package init(id: [UInt8], bytes: UInt64, sha256: [UInt8], revision: UInt64) {
        self.id = id
        self.bytes = bytes
        self.sha256 = sha256
        self.revision = revision
    }

    func write(to fields: inout FieldWriter) {
        fields.set("backupID", id)
        fields.set("bytes", bytes)
        fields.set("revision", revision)
        fields.set("sha256", sha256)
    }

    init(_ fields: inout FieldReader) throws(AuditRecordParsingError) {
        self.init(
            id: try fields.bytes("backupID"),
            bytes: try fields.number("bytes"),
            sha256: try fields.bytes("sha256"),
            revision: try fields.number("revision")
        )
    }

    func index(into subjects: inout AuditSubjects) {}
}
