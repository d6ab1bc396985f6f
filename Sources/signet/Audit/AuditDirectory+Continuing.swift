// SPDX-License-Identifier: Apache-2.0

package import AuditLog
internal import DurableFiles
internal import Foundation

/// A copy that is continued: only what is missing is fetched, and nothing of it is replaced before
/// the log is known to go on from it.
extension AuditDirectory {
    /// Where files wait until then, below the copy; no part of it.
    static let incomingName = ".incoming"

    /// Where files wait until they are known to continue the copy.
    package var incoming: AuditDirectory { AuditDirectory("\(path)/\(Self.incomingName)") }

    /// Removes the whole directory, if it is there.
    package func remove() throws {
        guard FileManager.default.fileExists(atPath: path) else { return }
        try FileManager.default.removeItem(atPath: path)
    }

    /// The checkpoint of the copy that is there; nil if there is none.
    ///
    /// - Throws: `CommandFailure` (`tampered`) when the copy is of another log than that of the key.
    package func formerCheckpoint(key: NoteVerifierKey) throws -> Checkpoint? {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: path)) ?? []
        guard names.contains(TilePath.checkpoint) else { return nil }
        if names.contains(Self.keyFile) {
            let kept = String(decoding: try read(Self.keyFile), as: UTF8.self)
                .trimmingCharacters(in: .whitespacesAndNewlines)
            guard kept == key.description else {
                throw Self.broken(
                    "the copy in \(path) is of \(kept), and the server has another log, \(key)",
                    "After a restore the log is a new one: export it into another directory. Else see "
                        + "docs/audit.md, \"After an alarm\"."
                )
            }
        }
        do {
            return try SignedCheckpoint(parsing: try read(TilePath.checkpoint), key: key).checkpoint
        } catch let error as CheckpointError {
            throw Self.broken(
                "the checkpoint of the copy in \(path) is not signed by the log's key: \(error)",
                "Keep this copy and see docs/audit.md, \"After an alarm\"; export into another "
                    + "directory meanwhile."
            )
        }
    }

    /// Requires that the log did not become shorter.
    ///
    /// - Throws: `CommandFailure` (`tampered`).
    package func requireNotShorter(_ newest: Checkpoint, than former: Checkpoint?) throws {
        guard let former else { return }
        guard newest.size >= former.size else {
            throw Self.broken(
                "the server's log has \(newest.size) records, and the copy in \(path) has "
                    + "\(former.size): the server was set back, or records were removed",
                Self.setBackRemedy
            )
        }
        guard newest.size > former.size || newest.root == former.root else {
            throw differs(from: former)
        }
    }

    /// Whether a tile is there that never changes any more.
    package func has(_ tile: TilePath) -> Bool {
        guard !tile.isPartial,
            let attributes = try? FileManager.default.attributesOfItem(
                atPath: "\(path)/\(tile)"
            ),
            let size = (attributes[.size] as? any BinaryInteger).map({ Int(clamping: $0) })
        else { return false }
        switch tile.content {
        case .entries: return size > 0
        case .hashes: return size == TilePath.fullWidth * MerkleHash.byteCount
        }
    }

    /// Requires that the tree of copied and incoming files is the one of the checkpoint, and that it
    /// goes on from the former one.
    ///
    /// - Throws: `CommandFailure` (`tampered`).
    package func requireContinuation(_ newest: Checkpoint, of former: Checkpoint?) throws {
        let (incoming, copy) = (incoming, self)
        var tree = TiledTree(size: newest.size) { file in
            if let bytes = try? incoming.read(file) { return bytes }
            return try copy.read(file)
        }
        let root: MerkleHash
        do {
            root = try tree.frontier().root
        } catch {
            throw Self.broken("the server's log: \(error)", Self.setBackRemedy)
        }
        guard root == newest.root else {
            throw Self.broken(
                "the tree of the server's log and of the copy in \(path) is not the one that its "
                    + "checkpoint signs",
                Self.setBackRemedy
            )
        }
        guard let former, former.size > 0, former.size < newest.size else { return }
        guard let proof = try tree.proveConsistency(from: former.size),
            proof.joins(oldRoot: former.root, newRoot: newest.root)
        else { throw differs(from: former) }
    }

    /// Moves incoming files to their places; each is on disk when this returns.
    package func takeIn(_ files: [TilePath]) throws {
        for tile in files {
            let full = "\(path)/\(tile)"
            let parent = full.lastIndex(of: "/").map { String(full[..<$0]) } ?? path
            try DurableFile.makeDirectory(parent, mode: 0o755)
            // One that a power cut spoiled would never be fetched again.
            try DurableFile.write(try incoming.read(tile.description), to: full, mode: 0o600)
            if !tile.isPartial {
                try? FileManager.default.removeItem(atPath: "\(path)/\(tile.partialsDirectory)")
            }
        }
        try incoming.remove()
    }

    /// The beginning of a full tile that has taken the place of a narrower one: what is beyond the
    /// checkpoint is not proved, and not kept.
    ///
    /// - Returns: The bytes of the narrower tile; nil if there are fewer.
    package static func beginning(_ bytes: [UInt8], of tile: TilePath) -> [UInt8]? {
        var end = 0
        switch tile.content {
        case .hashes: end = tile.width * MerkleHash.byteCount
        case .entries:
            for _ in 0..<tile.width {
                guard bytes.count >= end + 2 else { return nil }
                end += 2 + (Int(bytes[end]) << 8 | Int(bytes[end + 1]))
            }
        }
        return bytes.count >= end ? Array(bytes.prefix(end)) : nil
    }

    private static let setBackRemedy =
        "Keep this copy: it has what the server forgot. See docs/audit.md, \"After an alarm\"; export "
        + "into another directory meanwhile."

    private func differs(from former: Checkpoint) -> CommandFailure {
        Self.broken(
            "the server's log does not continue the \(former.size) records of the copy in \(path)",
            Self.setBackRemedy
        )
    }

    private static func broken(_ message: String, _ remedy: String) -> CommandFailure {
        CommandFailure(message, remedy: remedy, status: .tampered)
    }
}
