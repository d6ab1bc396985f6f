// SPDX-License-Identifier: Apache-2.0

package import AuditLog
package import NodeSync
package import SPIFFE

/// What a backup is of, in front of the database in its file.
package struct BackupManifest: Hashable, Sendable {
    /// Bytes of a backup's ID.
    package static let idCount = 16
    /// Most bytes of a manifest: its texts are short, and it is read before anything is believed.
    package static let bytesMax = 64 * 1024
    /// Longest text in it in bytes: a server's ID has 8, a release some ten.
    package static let textBytesMax = 256

    /// 16 random bytes, by which the log's record of the backup is found.
    package let id: [UInt8]
    /// When it was begun.
    package let time: AuditTime
    /// The version of the program.
    package let release: String
    package let trustDomain: TrustDomain
    package let serverID: String
    /// What the database has.
    package let revision: Revision
    /// The log's key, named after its origin.
    package let logKey: NoteVerifierKey
    /// How many records the log had in the same moment.
    package let logSize: UInt64
    /// The root of the tree over them.
    package let logRoot: MerkleHash

    /// Describes a backup.
    ///
    /// - Throws: `BackupFileError.manifest` for what would not be read back.
    package init(
        id: [UInt8],
        time: AuditTime,
        release: String,
        trustDomain: TrustDomain,
        serverID: String,
        revision: Revision,
        logKey: NoteVerifierKey,
        logSize: UInt64,
        logRoot: MerkleHash
    ) throws(BackupFileError) {
        guard id.count == Self.idCount else { throw .manifest("backupID") }
        for (name, text) in [("release", release), ("serverID", serverID)] {
            guard (1...Self.textBytesMax).contains(text.utf8.count) else { throw .manifest(name) }
        }
        guard revision.number <= UInt64(CanonicalJSON.integerMax) else {
            throw .manifest("revision")
        }
        guard logSize <= MerkleFrontier.sizeMax, logSize <= UInt64(CanonicalJSON.integerMax) else {
            throw .manifest("logSize")
        }
        self.id = id
        self.time = time
        self.release = release
        self.trustDomain = trustDomain
        self.serverID = serverID
        self.revision = revision
        self.logKey = logKey
        self.logSize = logSize
        self.logRoot = logRoot
    }

    /// As RFC 8785 JSON.
    package var encoded: [UInt8] {
        CanonicalJSON.object([
            "backupID": .string(Hexadecimal.text(id)),
            "epoch": .string(revision.epoch.hex),
            "logKey": .string(logKey.description),
            "logRoot": .string(logRoot.description),
            // The initializer has seen that they fit.
            "logSize": .integer(Int64(logSize)),
            "release": .string(release),
            "revision": .integer(Int64(revision.number)),
            "serverID": .string(serverID),
            "time": .string(time.description),
            "trustDomain": .string(trustDomain.name),
        ]).encoded
    }

    /// Reads what `encoded` wrote.
    ///
    /// - Throws: `BackupFileError.manifest` for anything else, with the field.
    package init(parsing bytes: [UInt8]) throws(BackupFileError) {
        guard bytes.count <= Self.bytesMax else { throw .manifest("length") }
        guard let json = try? CanonicalJSON(parsing: bytes), case .object(let members) = json else {
            throw .manifest("JSON")
        }
        func value<Value>(
            _ name: String,
            _ read: (CanonicalJSON) -> Value?
        ) throws(BackupFileError) -> Value {
            guard let member = members[name], let value = read(member) else {
                throw .manifest(name)
            }
            return value
        }
        func text(_ json: CanonicalJSON) -> String? {
            if case .string(let text) = json { text } else { nil }
        }
        func number(_ json: CanonicalJSON) -> UInt64? {
            if case .integer(let number) = json { UInt64(exactly: number) } else { nil }
        }
        try self.init(
            id: value("backupID") { text($0).flatMap(Hexadecimal.bytes) },
            time: value("time") { text($0).flatMap { AuditTime(parsing: $0) } },
            release: value("release", text),
            trustDomain: value("trustDomain") { text($0).flatMap { try? TrustDomain($0) } },
            serverID: value("serverID", text),
            revision: Revision(
                epoch: value("epoch") { text($0).flatMap { try? Epoch(hex: $0) } },
                number: value("revision", number)
            ),
            logKey: value("logKey") { text($0).flatMap { try? NoteVerifierKey(parsing: $0) } },
            logSize: value("logSize", number),
            logRoot: value("logRoot") {
                text($0).flatMap(Hexadecimal.bytes).flatMap { MerkleHash($0) }
            }
        )
        // Fields that nobody knows, and texts that say the same in other bytes.
        guard encoded == bytes else { throw .manifest("form") }
    }
}
