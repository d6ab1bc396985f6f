// SPDX-License-Identifier: Apache-2.0

internal import AuditLog
internal import DurableFiles
internal import NodeSync
internal import SPIFFE

/// One log of a server as a restore finds it.
struct RestoredLog: Sendable {
    let key: NoteVerifierKey
    /// Where its files are; nil: nowhere, or they are older than the backup and tell nothing.
    let directory: String?
    /// What is in the database already.
    let known: Checkpoint
    /// All of it that is known.
    let end: Checkpoint
    /// The signed note of that end; nil without a directory.
    ///
    /// A log that is written to meanwhile is read up to there.
    let note: [UInt8]?
    /// Checkpoints of it that were kept elsewhere.
    let remembered: [Checkpoint]
    /// What follows it; nil of the last one.
    let succession: LogSuccession?

    /// The name of the epoch before which this log was; nil of the last one, and of one that no
    /// restore made.
    var nextEpoch: String? {
        succession?.newKey.name.split(separator: "/").last.map(String.init)
            .flatMap { Hexadecimal.bytes($0)?.count == Epoch.byteCount ? $0 : nil }
    }

    /// How many of these nothing here can be compared with: without files nothing is known of the
    /// tree but its end.
    var uncompared: Int {
        directory == nil ? remembered.count { $0.size != known.size } : 0
    }
}

/// The logs of a server, from the one that its backup is of to the last one
/// (docs/decisions/0022-backup-and-restore.md, "Restore", step 2).
struct RestoredLogs: Sendable {
    /// The name of the note beside a log's tiles that says which log follows it.
    static let successionFile = LogSuccession.file
    /// Most logs in a row: one for each restore since the backup.
    static let countMax = 64

    /// In order; empty if the key of the first one is not known.
    let logs: [RestoredLog]
    /// Files that are no notes, and do not say that they are of one of these logs.
    let unread: [String]

    /// The last one, which the new log follows.
    var last: RestoredLog? { logs.last }

    /// Finds the logs below a directory, and looks whether they fit each other.
    ///
    /// Nothing of their records is believed yet: `read` does that.
    ///
    /// - Parameters:
    ///   - copies: Where `audit/` and `logs/` are.
    ///   - key: The key of the log that the database is of; nil: it is not known, so none is read.
    ///   - known: What the database has of it.
    ///   - checkpoints: Files with checkpoints kept elsewhere.
    /// - Throws: `RestoreError.logDiffers`, `FileError`.
    init(
        in copies: String,
        key: NoteVerifierKey?,
        known: Checkpoint,
        checkpoints: [String]
    ) throws {
        guard let key else {
            guard checkpoints.isEmpty else {
                throw RestoreError.logDiffers(
                    "the log's key is lost, so no checkpoint can be compared with it: leave "
                        + "--checkpoint out"
                )
            }
            logs = []
            unread = []
            return
        }
        let notes = try checkpoints.map { (path: $0, note: try KeptCheckpoint.read($0)) }
        let directories =
            ["\(copies)/audit"]
            + (try RestorePlace.epochs(in: "\(copies)/logs").map { "\(copies)/logs/\($0)" })
        var found: [RestoredLog] = []
        var unread: Set<String> = []
        var next: (key: NoteVerifierKey, known: Checkpoint)? = (key, known)
        while let (key, known) = next {
            guard found.count < Self.countMax, !found.contains(where: { $0.key == key }) else {
                throw RestoreError.logDiffers("the logs follow each other without an end")
            }
            let remembered = notes.compactMap {
                try? SignedCheckpoint(parsing: $0.note, key: key).checkpoint
            }
            let (log, succession) = try Self.log(
                key,
                known,
                remembered,
                in: directories,
                &unread
            )
            found.append(log)
            next = succession.map {
                ($0.newKey, Checkpoint(origin: $0.newKey.name, size: 0, root: .emptyRoot))
            }
        }
        for (path, note) in notes
        where !found.contains(where: { (try? SignedCheckpoint(parsing: note, key: $0.key)) != nil })
        {
            throw RestoreError.logDiffers(
                "\(path) is no checkpoint of \(found.map(\.key.name).joined(separator: ", "))"
            )
        }
        try Self.requireLast(found, in: "\(copies)/audit")
        logs = found
        self.unread = unread.sorted()
    }

    /// The log of a key, and which one follows it.
    private static func log(
        _ key: NoteVerifierKey,
        _ known: Checkpoint,
        _ remembered: [Checkpoint],
        in directories: [String],
        _ unread: inout Set<String>
    ) throws -> (RestoredLog, LogSuccession?) {
        // Of several copies the largest counts; the succession may lie beside another one, or alone.
        var found: (directory: String, signed: SignedCheckpoint)?
        for candidate in directories {
            guard let signed = try checkpoint(in: candidate, key: key, &unread),
                signed.checkpoint.size > found?.signed.checkpoint.size ?? 0 || found == nil
            else { continue }
            found = (candidate, signed)
        }
        // A log that ends before the backup tells nothing of what followed it.
        if let signed = found?.signed.checkpoint, signed.size < known.size { found = nil }
        let end = found?.signed.checkpoint ?? known
        let succession = try Self.succession(of: key, in: directories, &unread)
        if let succession { try Self.require(succession, of: key, endingWith: end, known) }
        if let longer = remembered.max(by: { $0.size < $1.size }), longer.size > end.size {
            throw RestoreError.logDiffers(
                "a checkpoint of the log \(key.name) has \(longer.size) records, and here are "
                    + "\(end.size): look for a newer copy, or leave that --checkpoint out"
            )
        }
        if found == nil, remembered.contains(where: { $0.size == known.size && $0 != known }) {
            throw RestoreError.logDiffers(
                "a checkpoint of the log \(key.name) has other \(known.size) records than the database "
                    + "is of"
            )
        }
        return (
            RestoredLog(
                key: key,
                directory: found?.directory,
                known: known,
                end: end,
                note: found?.signed.note,
                remembered: remembered,
                succession: succession
            ), succession
        )
    }

    /// Which log follows the one of a key; nil if nothing says so.
    private static func succession(
        of key: NoteVerifierKey,
        in directories: [String],
        _ unread: inout Set<String>
    ) throws -> LogSuccession? {
        var found: LogSuccession?
        for directory in directories {
            guard let next = try following(in: directory, key: key, &unread) else { continue }
            if let found, found.former != next.former || found.newKey != next.newKey {
                throw RestoreError.logDiffers(
                    "two logs follow \(key.name), as it was restored twice: \(found.newKey.name) and "
                        + "\(next.newKey.name); move away the directory whose \(successionFile) names "
                        + "the one that shall not count"
                )
            }
            found = next
        }
        return found
    }

    /// Requires that the log which follows begins where this one ends.
    private static func require(
        _ succession: LogSuccession,
        of key: NoteVerifierKey,
        endingWith end: Checkpoint,
        _ known: Checkpoint
    ) throws {
        let size = succession.former.size
        guard succession.former != end else { return }
        throw RestoreError.logDiffers(
            size < known.size
                ? "the log \(succession.newKey.name) follows the first \(size) records of "
                    + "\(key.name), and the backup is of \(known.size): it was restored before from "
                    + "less. A backup of at most \(size) records leads to it; or move its directories "
                    + "away, and its records are lost"
                : "the log \(key.name) ended with \(size) records when another one followed it, and "
                    + "here are \(end.size)"
        )
    }

    /// The checkpoint of a directory's log, if the key signed it; nil for another log, or none.
    private static func checkpoint(
        in directory: String,
        key: NoteVerifierKey,
        _ unread: inout Set<String>
    ) throws -> SignedCheckpoint? {
        let path = "\(directory)/\(TilePath.checkpoint)"
        guard let note = try file(TilePath.checkpoint, in: directory) else { return nil }
        do throws(CheckpointError) {
            return try SignedCheckpoint(parsing: note, key: key)
        } catch .notSignedByKey {
            return nil
        } catch {
            return try passOver(note, at: path, of: key, error, &unread)
        }
    }

    private static func following(
        in directory: String,
        key: NoteVerifierKey,
        _ unread: inout Set<String>
    ) throws -> LogSuccession? {
        let path = "\(directory)/\(successionFile)"
        guard let note = try file(successionFile, in: directory) else { return nil }
        do throws(CheckpointError) {
            return try LogSuccession(parsing: note, key: key)
        } catch .notSignedByKey {
            return nil
        } catch {
            return try passOver(note, at: path, of: key, error, &unread)
        }
    }

    /// Passes over what is no note: a damaged file of another log tells nothing of this one.
    ///
    /// - Throws: `RestoreError.logDiffers` if it says that it is of this log, or lies where the newest
    ///   one does, whose records would be lost.
    private static func passOver<Value>(
        _ note: [UInt8],
        at path: String,
        of key: NoteVerifierKey,
        _ error: CheckpointError,
        _ unread: inout Set<String>
    ) throws -> Value? {
        let isNamed = note.split(separator: 0x0A).contains { $0.elementsEqual(key.name.utf8) }
        guard error == .notANote, !isNamed, !path.hasSuffix("/audit/\(TilePath.checkpoint)") else {
            throw RestoreError.logDiffers("\(path): \(error)")
        }
        unread.insert(path)
        return nil
    }

    private static func file(_ name: String, in directory: String) throws -> [UInt8]? {
        do throws(FileError) {
            return try DurableFile.read(
                "\(directory)/\(name)",
                bytesMax: SignedCheckpoint.bytesMax
            )
        } catch {
            if error.isNotFound { return nil }
            throw error
        }
    }

    /// Requires that the newest log there is the last one in the row: what it has would be lost.
    private static func requireLast(_ found: [RestoredLog], in audit: String) throws {
        guard let note = try file(TilePath.checkpoint, in: audit),
            let last = found.last
        else { return }
        // One that is older than the backup is found, and not read.
        guard (try? SignedCheckpoint(parsing: note, key: last.key)) == nil else { return }
        if let former = found.first(where: {
            (try? SignedCheckpoint(parsing: note, key: $0.key)) != nil
        }) {
            // A copy of a log of before, which the row has from somewhere else.
            guard last.directory == nil else { return }
            throw RestoreError.logDiffers(
                "\(audit) is the log \(former.key.name), which others have followed, and there are no "
                    + "files of the last one, \(last.key.name): look for a copy of it; without one, "
                    + "move \(audit) away, and the last log's records are lost"
            )
        }
        let names = String(decoding: note, as: UTF8.self).prefix { $0 != "\n" }.prefix(256)
        throw RestoreError.logDiffers(
            "\(audit) is the log \(names), and nothing signed says that it follows "
                + "\(last.key.name), which is the newest one that is known from the backup on. A backup "
                + "of that log restores what it has; without one, move it away, and its records are "
                + "lost"
        )
    }

    /// Reads all records that the database does not have, in order.
    ///
    /// - Parameters:
    ///   - followed: Called before the first record of each log but the first.
    ///   - visit: Called with each record's index and bytes. **They are not to be believed before
    ///     this returns.**
    /// - Throws: `RestoreError.logDiffers`, and what the closures throw.
    func read(
        followed: (_ former: RestoredLog) throws -> Void,
        visit: (UInt64, ArraySlice<UInt8>) throws -> Void
    ) throws {
        for (number, log) in logs.enumerated() {
            if number > 0 { try followed(logs[number - 1]) }
            guard let directory = log.directory, let note = log.note else { continue }
            let verifier = AuditVerifier(key: log.key, remembered: log.remembered) { file in
                file == TilePath.checkpoint
                    ? note
                    : try DurableFile.read("\(directory)/\(file)", bytesMax: EntryBundle.bytesMax)
            }
            var failure: (any Error)?
            let verdict = verifier.verify(after: log.known) { index, leaf in
                guard failure == nil else { return }
                do { try visit(index, leaf) } catch { failure = error }
            }
            if case .broken(let defect) = verdict {
                throw RestoreError.logDiffers("the log in \(directory): \(defect)")
            }
            if let failure { throw failure }
        }
    }
}

/// A checkpoint that an agent has kept, or that was copied from a log.
enum KeptCheckpoint {
    private static let mark = "signet-agent "
    /// Longest first line of an agent's file: what it is, and whose.
    private static let headerBytesMax = 256

    /// Reads the note, which in an agent's file stands below a header line.
    ///
    /// - Throws: `FileError`.
    static func read(_ path: String) throws(FileError) -> [UInt8] {
        let file = try DurableFile.read(
            path,
            bytesMax: headerBytesMax + SignedCheckpoint.bytesMax
        )
        guard file.starts(with: mark.utf8),
            let end = file.prefix(headerBytesMax).firstIndex(of: 0x0A)
        else { return file }
        return Array(file[(end + 1)...])
    }
}
