// SPDX-License-Identifier: Apache-2.0

internal import AuditLog
internal import Backup
internal import Clocks
internal import Crypto
internal import DurableFiles
internal import Issuance
internal import NodeSync
internal import Synchronization

/// The bytes of one backup, encrypted as they are asked for.
final class BackupStream: Sendable {
    private struct State: ~Copyable {
        let file: FileReader
        var sealer: BackupSealer
        var ready: [[UInt8]]
        var isOver = false
        var digest = SHA256()
        var bytes: UInt64 = 0
    }

    private let manifest: BackupManifest
    private let state: Mutex<State>

    /// Opens the copy, whose name goes at once: a crash leaves nothing of it from here on, and its
    /// room is free when the stream goes.
    ///
    /// The passphrase takes about a second, on the calling thread.
    ///
    /// - Throws: `FileError`, `BackupFileError`.
    init(_ source: BackupSource, passphrase: Secret, cost: SealedKey.Cost) throws {
        manifest = source.manifest
        let file = try FileReader(source.path)
        try DurableFile.remove(source.path)
        var generator = SystemRandomness()
        var sealer = try BackupSealer(
            passphrase: passphrase.bytes,
            cost: cost,
            using: &generator
        )
        let begin = [sealer.header] + (try sealer.seal(BackupFile.preamble(source.manifest)))
        state = Mutex(State(file: file, sealer: sealer, ready: begin))
    }

    /// The next piece of the file; nil after the last one.
    ///
    /// - Throws: `FileError`, `BackupFileError`.
    func next() throws -> [UInt8]? {
        try state.withLock { state in
            while state.ready.isEmpty, !state.isOver {
                let content = try state.file.read(BackupFile.pieceCount)
                state.ready += try state.sealer.seal(content)
                if content.count < BackupFile.pieceCount {
                    state.isOver = true
                    state.ready.append(try state.sealer.finish())
                }
            }
            guard !state.ready.isEmpty else { return nil }
            let piece = state.ready.removeFirst()
            state.digest.update(data: piece)
            state.bytes += UInt64(piece.count)
            return piece
        }
    }

    /// What the audit log says of the backup, after the last piece.
    var making: BackupMaking {
        let (bytes, digest) = state.withLock { ($0.bytes, Array($0.digest.finalize())) }
        return BackupMaking(
            id: manifest.id,
            bytes: bytes,
            sha256: digest,
            revision: manifest.revision.number
        )
    }
}
