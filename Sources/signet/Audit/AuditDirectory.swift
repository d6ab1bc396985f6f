// SPDX-License-Identifier: Apache-2.0

package import AuditLog
internal import DurableFiles
internal import Foundation

/// A copy of an audit log: `checkpoint` and the tiles below one directory (C2SP tlog-tiles).
package struct AuditDirectory: Sendable {
    /// Largest file of a log: a full bundle of 256 records, each with its two length bytes.
    package static let fileBytesMax = 256 * (2 + 65_535)
    /// Where `signet audit export` puts the log's verifier key; it is no part of the log.
    package static let keyFile = "verifier.key"

    package let path: String

    /// Names a directory; nothing is read yet.
    package init(_ path: String) {
        self.path = path
    }

    /// Reads the file at a path of the log.
    package func read(_ file: String) throws -> [UInt8] {
        try DurableFile.read("\(path)/\(file)", bytesMax: Self.fileBytesMax)
    }

    /// Writes a file of the log and the directories above it, for this user alone.
    ///
    /// It is on disk when this returns: one that a power cut spoiled would never be fetched again.
    package func write(_ bytes: [UInt8], to file: String) throws {
        let place = "\(path)/\(file)"
        let parent = place.lastIndex(of: "/").map { String(place[..<$0]) } ?? path
        // On the way to a tile it would be made as a parent, open to be looked into.
        try DurableFile.makeDirectory(path, mode: 0o700)
        try DurableFile.makeDirectory(parent, mode: 0o700)
        try DurableFile.write(bytes, to: place, mode: 0o600)
    }

    /// The paths of all files of the log, sorted: without the verifier key, and without what is
    /// beside the copy while it is continued.
    package func files() -> [String] {
        guard let found = FileManager.default.enumerator(atPath: path) else { return [] }
        var files: [String] = []
        for case let file as String in found where file != Self.keyFile {
            if Self.isBeside(file) { continue }
            if found.fileAttributes?[.type] as? FileAttributeType != .typeDirectory {
                files.append(file)
            }
        }
        return files.sorted()
    }

    private static func isBeside(_ file: String) -> Bool {
        let first = file.prefix { $0 != "/" }
        return first == incomingName || first == refusedName || first == lockName
    }

    /// How many records the log's own checkpoint has; nil if the key did not sign it.
    package func size(key: NoteVerifierKey) -> UInt64? {
        guard let note = try? read(TilePath.checkpoint) else { return nil }
        return try? SignedCheckpoint(parsing: note, key: key).checkpoint.size
    }

    /// Tells a wrong path from a log that was tampered with.
    package func checkIsLog() throws(CommandFailure) {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: path)) ?? []
        guard names.contains(TilePath.checkpoint) || names.contains("tile") else {
            throw CommandFailure(
                "there is no audit log in \(path)",
                remedy: "Name a directory made by `signet audit export`, or the server's own, "
                    + "which is audit/ below its data directory."
            )
        }
    }

    /// What to say when the log is to be checked and no key was named.
    package var keyNeeded: String {
        let file = "\(path)/\(Self.keyFile)"
        return FileManager.default.fileExists(atPath: file)
            ? "--dir needs --key; if you trust where the directory comes from: --key \(file)"
            : "--dir needs --key: an agent's file `identity`, or the \(Self.keyFile) of an export "
                + "that was kept"
    }

    /// Checks every file against the signed checkpoint.
    ///
    /// - Parameters:
    ///   - key: The log's verifier key.
    ///   - remembered: Signed notes of this log kept elsewhere.
    /// - Returns: What the walk over the log found.
    /// - Throws: `CheckpointError` when a remembered note is not one that the key signed.
    package func verify(
        key: NoteVerifierKey,
        remembered: [[UInt8]] = []
    ) throws -> AuditVerdict {
        let checkpoints = try remembered.map {
            try SignedCheckpoint(parsing: $0, key: key).checkpoint
        }
        return AuditVerifier(key: key, remembered: checkpoints, read: read)
            .verify(files: files())
    }
}

/// The tiles that a log of one size consists of.
package enum AuditTiles {
    /// Calls `body` with each tile: the records first, then the hashes from level 0 up.
    package static func forEach(
        ofSize size: UInt64,
        _ body: (TilePath) async throws -> Void
    ) async rethrows {
        let levels = (0...TilePath.levelMax).map { TilePath.Content.hashes(level: $0) }
        for (content, shift) in zip(
            [.entries] + levels,
            [0] + (0...TilePath.levelMax).map { 8 * $0 }
        ) {
            let count = size >> UInt64(shift)
            let full = count / UInt64(TilePath.fullWidth)
            for index in 0..<full { try await body(TilePath(content, index: index)) }
            let rest = Int(count % UInt64(TilePath.fullWidth))
            if rest > 0 { try await body(TilePath(content, index: full, width: rest)) }
        }
    }
}
