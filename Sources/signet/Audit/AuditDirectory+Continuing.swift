// SPDX-License-Identifier: Apache-2.0

package import AuditLog
internal import DurableFiles
internal import Foundation

/// A copy that is continued: only what is missing is fetched, and nothing of it is replaced before
/// the log is known to go on from it.
extension AuditDirectory {
    /// Where files wait until then, below the copy; no part of it.
    static let incomingName = ".incoming"
    /// What was fetched last and does not continue the copy: evidence, and no part of it.
    static let refusedName = ".refused"
    /// Who writes into the copy holds a lock on this file.
    static let lockName = ".lock"

    /// Where files wait until they are known to continue the copy.
    package var incoming: AuditDirectory { AuditDirectory("\(path)/\(Self.incomingName)") }

    private var refused: AuditDirectory { AuditDirectory("\(path)/\(Self.refusedName)") }

    /// Whether nothing is there but what an interrupted first copy leaves.
    ///
    /// - Throws: an error for a directory that cannot be read.
    package func isNew() throws -> Bool {
        let known: Set = [Self.incomingName, Self.refusedName, Self.lockName, "tile"]
        return try names().allSatisfy { name in
            // The last file of a first copy, in the midst of being written.
            known.contains(name)
                || name.hasPrefix("\(TilePath.checkpoint).") && name.hasSuffix(".new")
        }
    }

    /// Whether a copy was completed once.
    ///
    /// - Throws: an error for a directory that cannot be read.
    package func hasCheckpoint() throws -> Bool { try names().contains(TilePath.checkpoint) }

    /// Writes the log's verifier key beside it, unless it is there.
    package func keep(_ key: NoteVerifierKey) throws {
        let line = Array("\(key)\n".utf8)
        if try names().contains(Self.keyFile), try read(Self.keyFile) == line { return }
        try write(line, to: Self.keyFile)
    }

    /// Removes the whole directory, if it is there.
    package func remove() throws {
        guard FileManager.default.fileExists(atPath: path) else { return }
        try FileManager.default.removeItem(atPath: path)
    }

    private func names() throws -> [String] {
        guard FileManager.default.fileExists(atPath: path) else { return [] }
        return try FileManager.default.contentsOfDirectory(atPath: path)
    }

    /// The checkpoint of the copy that is there; nil if there is none.
    ///
    /// - Throws: `CommandFailure` (`tampered`) when the copy is of another log than that of the key;
    ///   another error for a copy that cannot be read.
    package func formerCheckpoint(key: NoteVerifierKey) throws -> Checkpoint? {
        let names = try names()
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
        let note = try read(TilePath.checkpoint)
        do throws(CheckpointError) {
            return try SignedCheckpoint(parsing: note, key: key).checkpoint
        } catch {
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
            let size = try? DurableFile.size(of: "\(path)/\(tile)")
        else { return false }
        switch tile.content {
        case .entries: return size > 0
        case .hashes: return size == TilePath.fullWidth * MerkleHash.byteCount
        }
    }

    /// Requires that every record and hash that is to be taken in is what the new checkpoint signs,
    /// and that its log goes on from the former checkpoint.
    ///
    /// What the former checkpoint signs was judged when it was taken in. Incoming files that do not
    /// continue the copy are set aside, so that the next run fetches them anew.
    ///
    /// - Parameters:
    ///   - note: The new checkpoint, as the server signed it.
    ///   - key: The log's verifier key.
    ///   - former: The checkpoint of the copy; nil if there is none.
    ///   - files: The incoming files.
    /// - Throws: `CommandFailure` (`tampered`); what kept a file of this machine from being read.
    package func requireContinuation(
        _ note: [UInt8],
        key: NoteVerifierKey,
        of former: Checkpoint?,
        taking files: [TilePath]
    ) throws {
        let (incoming, copy) = (incoming, self)
        let verifier = AuditVerifier(key: key, remembered: former.map { [$0] } ?? []) { file in
            try file == TilePath.checkpoint ? note : incoming.read(file, orElse: copy)
        }
        // A walk that begins at the former checkpoint does not read what lies before it.
        let known = former.flatMap { former in
            files.contains { $0.endsBefore(former.size) } ? nil : former
        }
        guard case .broken(let defect) = verifier.verify(after: known) else { return }
        if case .fileUnreadable(let reason) = defect.kind {
            // What the server lacks was missed when it was fetched.
            throw CommandFailure(
                "\(defect.path) of the copy in \(path) cannot be read: \(reason)",
                remedy: "Check the directory and what this user may read, and run it again."
            )
        }
        try setAside()
        if case .historyRewritten = defect.kind, let former { throw differs(from: former) }
        throw Self.broken(
            "the server's log and the copy in \(path) do not fit: \(defect)",
            "Keep this copy, and \(Self.refusedName) in it, which has what the server sent. "
                + "`signet audit verify --dir \(path)` tells whether the copy was changed. See "
                + "docs/audit.md, \"After an alarm\"."
        )
    }

    private func setAside() throws {
        try refused.remove()
        guard FileManager.default.fileExists(atPath: incoming.path) else { return }
        try DurableFile.move(incoming.path, to: refused.path)
    }

    private func read(_ file: String, orElse other: AuditDirectory) throws -> [UInt8] {
        let own = "\(path)/\(file)"
        guard FileManager.default.fileExists(atPath: own) else { return try other.read(file) }
        return try DurableFile.read(own, bytesMax: Self.fileBytesMax)
    }

    /// Moves incoming files to their places and ends with the checkpoint; each is on disk when this
    /// returns.
    ///
    /// Only then narrower forms of full tiles go: until then the former checkpoint needs them.
    ///
    /// - Parameters:
    ///   - files: What `requireContinuation` has judged.
    ///   - note: The checkpoint that signs them.
    /// - Throws: An error of this machine; the next run goes on from what is there then.
    package func takeIn(_ files: [TilePath], signedBy note: [UInt8]) throws {
        for tile in files {
            let place = "\(path)/\(tile)"
            let parent = place.lastIndex(of: "/").map { String(place[..<$0]) } ?? path
            try DurableFile.makeDirectory(parent, mode: 0o700)
            try DurableFile.move("\(incoming.path)/\(tile)", to: place)
        }
        try write(note, to: TilePath.checkpoint)
        for tile in files where !tile.isPartial {
            try? FileManager.default.removeItem(atPath: "\(path)/\(tile.partialsDirectory)")
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

extension TilePath {
    /// Whether the tile is full in a log of so many records.
    fileprivate func endsBefore(_ size: UInt64) -> Bool {
        let shift =
            switch content {
            case .entries: 0
            case .hashes(let level): 8 * level
            }
        return !isPartial && index < size >> UInt64(8 + shift)
    }
}

/// Keeps two programs from writing into one copy.
package final class AuditDirectoryLock: Sendable {
    private let lock: FileLock

    /// Takes the lock; the directory is made if it is missing, and what a killed program has left
    /// half written in it is removed.
    ///
    /// - Throws: `CommandFailure` while another program has it, `FileError`.
    package init(_ directory: AuditDirectory) throws {
        try DurableFile.makeDirectory(directory.path, mode: 0o700)
        lock = try Self.lock(directory)
        try DurableFile.removeUnfinished(in: directory.path)
    }

    private static func lock(_ directory: AuditDirectory) throws -> FileLock {
        do {
            return try FileLock("\(directory.path)/\(AuditDirectory.lockName)")
        } catch {
            guard error.isLocked else { throw error }
            throw CommandFailure(
                "another program writes into the copy in \(directory.path)",
                remedy: "Wait until it has ended, and run it again."
            )
        }
    }
}
