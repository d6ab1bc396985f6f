// SPDX-License-Identifier: Apache-2.0

internal import AuditLog
internal import Backup
internal import Clocks
internal import ControlAPI
package import Datastore
internal import Dispatch
package import DurableFiles
internal import FoundationEssentials
package import Logging
internal import SPIFFE
internal import Telemetry

/// Makes backups, one at a time (docs/decisions/0022-backup-and-restore.md).
package final class BackupDesk: Sendable {
    /// What is begun and ended around each.
    package let turn = OneAtATime("backup")
    private let queue = DispatchQueue(label: "signet.backup")

    package init() {}

    /// Waits for disk and passphrase outside of the pool of the tasks, in which others would wait
    /// too.
    func apart<Value: Sendable>(
        _ body: @escaping @Sendable () throws -> Value
    ) async throws -> Value {
        try await withCheckedThrowingContinuation { continuation in
            queue.async { continuation.resume(with: Result { try body() }) }
        }
    }

    /// Deletes the copies that a crash has left of backups, and nothing else that is there.
    ///
    /// Only for a data directory that this process holds alone. What cannot be deleted is logged: it
    /// takes room, and keeps no server from starting.
    package static func removeLeftOver(in directory: String, logger: Logger) {
        guard FileManager.default.fileExists(atPath: directory) else { return }
        var failures: [any Error] = []
        var names: [String] = []
        do {
            names = try FileManager.default.contentsOfDirectory(atPath: directory)
        } catch {
            failures.append(error)
        }
        for name in names where isCopy(name) {
            do {
                try DurableFile.remove("\(directory)/\(name)")
            } catch {
                failures.append(error)
            }
        }
        for error in failures {
            logger.warning(
                "what is left of a backup cannot be deleted; delete it by hand",
                metadata: ["directory": "\(directory)", "error": "\(error)"]
            )
        }
    }

    /// Whether a file is named as `BackupSource` names copies, or as SQLite a journal of one.
    private static func isCopy(_ name: String) -> Bool {
        let suffixes = ["", "-journal", "-shm", "-wal"].map { ".sqlite" + $0 }
        guard let suffix = suffixes.first(where: name.hasSuffix) else { return false }
        let id = name.utf8.dropLast(suffix.utf8.count)
        let digits = Set("0123456789abcdef".utf8)
        return id.count == 2 * BackupManifest.idCount && id.allSatisfy(digits.contains)
    }
}

/// A copy of the database on its way to who asked for it.
package struct BackupSource: Sendable {
    let manifest: BackupManifest
    let path: String

    /// Copies the database of a server, on the calling thread.
    ///
    /// - Parameters:
    ///   - core: The server.
    ///   - id: The backup's ID.
    ///   - interruption: Ends it before it is complete.
    ///   - room: What the file system has; nil: it is asked.
    /// - Throws: `APIError` (`backupRoom`), `DatastoreError`, `FileError`. Nothing is left then.
    package init(
        of core: ServerCore,
        id: [UInt8],
        until interruption: BackupInterruption,
        room: FileSystemRoom? = nil
    ) throws {
        let directory = core.configuration.backupDirectory
        try DurableFile.makeDirectory(directory, mode: 0o700)
        let spare = DecisionRoom.spare(try room ?? DurableFile.room(at: directory))
        path = "\(directory)/\(Hexadecimal.text(id)).sqlite"
        do {
            // Before the copy, so that all of it is of records that the copy's moment has.
            var tree = core.audit.frontier
            let time = core.clock.wallTime
            let snapshot = try Self.copy(
                core,
                to: path,
                bytesMax: spare,
                leafHashesFrom: tree.size,
                until: interruption
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

    private static func copy(
        _ core: ServerCore,
        to path: String,
        bytesMax: UInt64,
        leafHashesFrom leaf: UInt64,
        until interruption: BackupInterruption
    ) throws(DatastoreError) -> BackupSnapshot {
        do {
            return try BackupCopy.make(
                of: core.configuration.databasePath,
                at: path,
                bytesMax: bytesMax,
                leafHashesFrom: leaf,
                until: interruption
            )
        } catch {
            if core.datastore.foundDamaged(error) {
                core.health.unmet("datastore", reason: error.description)
            }
            throw error
        }
    }
}
