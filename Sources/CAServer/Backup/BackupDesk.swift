// SPDX-License-Identifier: Apache-2.0

internal import AuditLog
internal import Backup
internal import Clocks
internal import ControlAPI
internal import Datastore
internal import Dispatch
internal import DurableFiles
internal import FoundationEssentials
internal import SPIFFE
internal import Synchronization

/// Makes backups, one at a time (docs/decisions/0022-backup-and-restore.md).
final class BackupDesk: Sendable {
    private let isBusy = Mutex(false)
    private let queue = DispatchQueue(label: "signet.backup")

    /// Begins a backup; `end` has to follow.
    ///
    /// - Throws: `APIError` (`backupRunning`) while another one is under way.
    func begin() throws(APIError) {
        let isFree = isBusy.withLock { isBusy in
            defer { isBusy = true }
            return !isBusy
        }
        guard isFree else {
            throw APIError(
                .unavailable,
                "backupRunning",
                "another backup is under way, and there is one at a time; retry when it has ended"
            )
        }
    }

    func end() { isBusy.withLock { $0 = false } }

    /// Waits for disk and passphrase outside of the pool of the tasks, in which others would wait
    /// too.
    func apart<Value: Sendable>(
        _ body: @escaping @Sendable () throws -> Value
    ) async throws -> Value {
        try await withCheckedThrowingContinuation { continuation in
            queue.async { continuation.resume(with: Result { try body() }) }
        }
    }

    /// Deletes what a backup has left behind that a crash ended.
    ///
    /// Only for a data directory that this process holds alone.
    static func removeLeftOver(in directory: String) throws {
        guard FileManager.default.fileExists(atPath: directory) else { return }
        try FileManager.default.removeItem(atPath: directory)
    }
}

/// A copy of the database on its way to who asked for it.
struct BackupSource: Sendable {
    let manifest: BackupManifest
    let path: String

    /// Copies the database of a server, on the calling thread.
    ///
    /// - Parameters:
    ///   - core: The server.
    ///   - id: The backup's ID.
    /// - Throws: `APIError` (`backupRoom`), `DatastoreError`, `FileError`. Nothing is left then.
    init(of core: ServerCore, id: [UInt8]) throws {
        let directory = core.configuration.backupDirectory
        try DurableFile.makeDirectory(directory, mode: 0o700)
        let spare = DecisionRoom.spare(try DurableFile.room(at: directory))
        path = "\(directory)/\(Hexadecimal.text(id)).sqlite"
        do {
            // Before the copy, so that all of it is of records that the copy's moment has.
            var tree = core.audit.frontier
            let time = core.clock.wallTime
            let snapshot = try BackupCopy.make(
                of: core.configuration.databasePath,
                at: path,
                bytesMax: spare,
                leafHashesFrom: tree.size
            )
            for bytes in snapshot.leafHashes {
                guard let hash = MerkleHash(bytes) else {
                    throw DatastoreError.corrupt("the hash of a record")
                }
                tree.append(hash)
            }
            guard tree.size == snapshot.auditSize else {
                throw DatastoreError.corrupt("the number of the log's records")
            }
            manifest = try BackupManifest(
                id: id,
                time: AuditTime(time),
                release: SignetVersion.current,
                trustDomain: snapshot.identity.trustDomain,
                serverID: snapshot.identity.serverID,
                revision: snapshot.revision,
                logKey: core.audit.key,
                logSize: tree.size,
                logRoot: tree.root
            )
        } catch {
            try? DurableFile.remove(path)
            guard case DatastoreError.full = error else { throw error }
            throw APIError(
                .failedPrecondition,
                "backupRoom",
                "the copy has no room below \(directory): it may take \(spare >> 20) MiB, the rest is "
                    + "left to the server itself; free some of the file system and retry"
            )
        }
    }
}
