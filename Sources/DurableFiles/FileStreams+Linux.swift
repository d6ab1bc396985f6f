// SPDX-License-Identifier: Apache-2.0

internal import Glibc

/// A file that is written piece by piece, and is there whole or not at all.
///
/// Until it is finished it is beside its place under one name, `<path>.new`, locked: what a killed
/// process has left there is overwritten by the next one. One that is not finished goes with the
/// value.
package struct DurableFileWriter: ~Copyable {
    private let path: String
    private let temporary: String
    private let descriptor: Int32
    private var isFinished: Bool

    /// Begins a file beside `path`, with the permissions `mode`, whatever the umask.
    ///
    /// - Throws: `FileError`; `isLocked` while another process or value writes the same file.
    package init(_ path: String, mode: UInt32) throws(FileError) {
        let temporary = "\(path).new"
        let descriptor = unsafe open(
            temporary,
            O_WRONLY | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC,
            0o600
        )
        guard descriptor >= 0 else { throw .last("create", temporary) }
        do throws(FileError) {
            try Self.take(descriptor, temporary)
            guard fchmod(descriptor, mode) == 0 else { throw .last("chmod", temporary) }
            guard ftruncate(descriptor, 0) == 0 else { throw .last("truncate", temporary) }
        } catch {
            // It is not removed: it may be another one's.
            close(descriptor)
            throw error
        }
        self.path = path
        self.temporary = temporary
        self.descriptor = descriptor
        isFinished = false
    }

    /// Locks the file, which has to be one that nobody else has another name for.
    private static func take(_ descriptor: Int32, _ path: String) throws(FileError) {
        guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else { throw .last("lock", path) }
        var (held, named) = (stat(), stat())
        guard unsafe fstat(descriptor, &held) == 0 else { throw .last("stat", path) }
        guard held.st_mode & S_IFMT == S_IFREG, held.st_nlink <= 1 else {
            throw FileError(operation: "write", path: path, reason: .notRegularFile)
        }
        guard held.st_uid == geteuid() else {
            let reason = FileError.Reason.foreignOwner(uid: held.st_uid)
            throw FileError(operation: "write", path: path, reason: reason)
        }
        // Between opening and locking another process may have finished it, or removed it.
        guard unsafe lstat(path, &named) == 0, named.st_ino == held.st_ino,
            named.st_dev == held.st_dev
        else {
            throw FileError(operation: "lock", path: path, reason: .system(errno: EWOULDBLOCK))
        }
    }

    /// Appends bytes.
    package func write(_ bytes: [UInt8]) throws(FileError) {
        try DurableFile.writeAll(bytes, to: descriptor, path: temporary)
    }

    /// Syncs the file and renames it over `path`.
    ///
    /// - Throws: `FileError`; then `path` has its old content or, if only the last step failed, the
    ///   new one.
    package mutating func finish() throws(FileError) {
        guard fsync(descriptor) == 0 else { throw .last("sync", temporary) }
        guard unsafe rename(temporary, path) == 0 else { throw .last("rename", path) }
        isFinished = true
        try DurableFile.syncDirectory(of: path)
    }

    deinit {
        // Under the lock: afterwards the name may be another one's.
        if !isFinished { _ = unsafe unlink(temporary) }
        close(descriptor)
    }
}

/// A regular file that is read from its beginning, piece by piece.
package struct FileReader: ~Copyable, Sendable {
    private let path: String
    private let descriptor: Int32

    /// Opens a file.
    ///
    /// - Throws: `FileError`.
    package init(_ path: String) throws(FileError) {
        let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard descriptor >= 0 else { throw .last("open", path) }
        var status = stat()
        guard unsafe fstat(descriptor, &status) == 0 else {
            let error = FileError.last("stat", path)
            close(descriptor)
            throw error
        }
        guard status.st_mode & S_IFMT == S_IFREG else {
            close(descriptor)
            throw FileError(operation: "read", path: path, reason: .notRegularFile)
        }
        self.path = path
        self.descriptor = descriptor
    }

    /// The next bytes: as many as are asked for, and fewer only at the end.
    package func read(_ count: Int) throws(FileError) -> [UInt8] {
        var content = [UInt8](repeating: 0, count: count)
        var filled = 0
        while filled < count {
            let result = unsafe content.withUnsafeMutableBytes {
                unsafe Glibc.read(
                    descriptor,
                    $0.baseAddress?.advanced(by: filled),
                    count - filled
                )
            }
            if result < 0, errno == EINTR { continue }
            guard result >= 0 else { throw .last("read", path) }
            if result == 0 { break }
            filled += result
        }
        content.removeLast(count - filled)
        return content
    }

    deinit { close(descriptor) }
}
