// SPDX-License-Identifier: Apache-2.0

internal import AuditLog
internal import Backup
internal import Crypto
internal import Datastore
internal import DurableFiles
internal import FoundationEssentials
internal import NodeSync
internal import SPIFFE

/// What a restore begins with: a database, and its place in the log
/// (docs/decisions/0022-backup-and-restore.md, "Restore", step 1).
struct RestoreSource: Sendable {
    /// Nil: the data directory's own database.
    let backup: ServerRestoration.Backup?
    /// SHA-256 of the backup's file; nil without one.
    let sha256: [UInt8]?
    let trustDomain: TrustDomain
    let serverID: String
    let epoch: Epoch
    /// When what it has was known last.
    let time: Date
    /// The name of its log, and how much of it the database is of.
    let log: Checkpoint
    /// Nil: nobody knows it, so no log can be believed.
    let logKey: NoteVerifierKey?
    /// What the data directory's own database is held for, as nobody has looked at it yet; nil of a
    /// backup, which has none.
    let held: Held?

    /// What a hold has found.
    struct Held: Sendable {
        let record: HoldRecord
        let documents: [HeldDocument]
        let authorities: [String]
        let nodes: [String]
        /// How many records an agent has seen of a server that was set back; nil of another one.
        let seenSize: UInt64?

        /// Whether records are missing from a moment on that nobody knows.
        var isSetBack: Bool { record.reason == .rollbackProved || record.lastRecordAt == nil }

        init?(in transaction: ReadTransaction) throws {
            guard let record = try transaction.hold() else { return nil }
            self.record = record
            documents = try transaction.heldDocuments()
            authorities = try transaction.heldNames(.authority)
            nodes = try transaction.heldNames(.node)
            var filter = AuditLeafFilter()
            filter.event = AuditEvent.Name.rollbackProved.rawValue
            let leaf = try transaction.queryLeaves(filter, limit: 1, newestFirst: true).first
            let event = leaf.flatMap { try? AuditRecord(parsing: $0.bytes).event }
            if record.reason == .rollbackProved, case .rollbackProved(let proof) = event {
                seenSize = proof.seenSize
            } else {
                seenSize = nil
            }
        }
    }

    /// Decrypts a backup into a new file, and checks both.
    ///
    /// - Parameters:
    ///   - path: The backup's file.
    ///   - passphrase: For which it was encrypted; deriving a key from it takes about a second.
    ///   - database: The file to make.
    /// - Throws: `RestoreError.backupUnusable`, `FileError`.
    init(decrypting path: String, passphrase: Secret, to database: String) throws {
        let manifest: BackupManifest
        do {
            let decrypted = try Self.decrypt(path, passphrase: passphrase, to: database)
            manifest = decrypted.manifest
            sha256 = decrypted.sha256
            try RestoredFile.check(database)
        } catch let error as BackupFileError {
            throw RestoreError.backupUnusable(path: path, reason: "\(error)")
        } catch let error as DatastoreError {
            throw RestoreError.backupUnusable(path: path, reason: "\(error)")
        }
        backup = ServerRestoration.Backup(id: manifest.id, time: manifest.time)
        trustDomain = manifest.trustDomain
        serverID = manifest.serverID
        epoch = manifest.revision.epoch
        time = manifest.time.date
        log = Checkpoint(
            origin: manifest.logKey.name,
            size: manifest.logSize,
            root: manifest.logRoot
        )
        logKey = manifest.logKey
        held = nil
    }

    private static func decrypt(
        _ path: String,
        passphrase: Secret,
        to database: String
    ) throws -> (manifest: BackupManifest, sha256: [UInt8]) {
        let file = try FileReader(path)
        var writer = try DurableFileWriter(database, mode: 0o600)
        var digest = SHA256()
        let manifest = try BackupFile.open(passphrase: passphrase.bytes) { count in
            let bytes = try file.read(count)
            digest.update(data: bytes)
            return bytes
        } database: { bytes in
            try writer.write(bytes)
        }
        try writer.finish()
        return (manifest, Array(digest.finalize()))
    }

    /// Copies a data directory's own database into a new file.
    ///
    /// - Parameters:
    ///   - store: The database.
    ///   - path: Its file.
    ///   - key: The key of its log; nil if it is lost.
    ///   - database: The file to make.
    /// - Throws: `DatastoreError`, `FileError`.
    init(
        copying store: ServerStore,
        at path: String,
        key: AuditKey?,
        to database: String
    ) throws {
        let room = try DurableFile.room(at: database.parentDirectory)
        let snapshot = try BackupCopy.make(
            of: path,
            at: database,
            bytesMax: room.freeBytes,
            // Of all of them the root is made below, page by page.
            leafHashesFrom: UInt64(Int64.max),
            until: BackupInterruption()
        )
        let (tree, last) = try Self.tree(of: store, size: snapshot.auditSize)
        let origin =
            try store.readNow { try $0.auditOrigin() } ?? snapshot.identity.firstLogOrigin
        backup = nil
        sha256 = nil
        trustDomain = snapshot.identity.trustDomain
        serverID = snapshot.identity.serverID
        epoch = snapshot.identity.epoch
        time = last ?? snapshot.identity.createdAt
        log = Checkpoint(origin: origin, frontier: tree)
        logKey = try key.map { try NoteVerifierKey(name: origin, publicKey: $0.publicKey) }
        held = try store.readNow { try Held(in: $0) }
    }

    /// The tree over the first records of a database, and the time of the last of them.
    private static func tree(
        of store: ServerStore,
        size: UInt64
    ) throws -> (MerkleFrontier, last: Date?) {
        var (tree, last) = (MerkleFrontier(), Date?.none)
        while tree.size < size {
            let (first, left) = (tree.size, size - tree.size)
            let leaves = try store.readNow {
                try $0.leaves(
                    from: first,
                    limit: Int(min(left, UInt64(AuditPublisher.leavesPerCheckpointMax)))
                )
            }
            guard let newest = leaves.last else {
                throw DatastoreError.corrupt("records of the audit log are missing")
            }
            for leaf in leaves { tree.append(MerkleHash(leaf: leaf.bytes)) }
            if tree.size == size { last = try? AuditRecord(parsing: newest.bytes).time.date }
        }
        return (tree, last)
    }
}

extension String {
    /// The directory of a path; `.` if it has none.
    fileprivate var parentDirectory: String {
        lastIndex(of: "/").map { String(self[..<$0]) } ?? "."
    }
}
