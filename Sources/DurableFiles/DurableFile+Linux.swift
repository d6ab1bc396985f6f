// SPDX-License-Identifier: Apache-2.0

internal import Glibc

/// Whole files, written so that a crash or a power cut leaves the old content or the new one.
///
/// The only unsafe code is the passing of buffers and paths to system calls.
package enum DurableFile {
    /// Writes a temporary file beside `path`, syncs it and renames it over `path`.
    ///
    /// The directory is synced too. The new file has the permissions `mode`, whatever the umask.
    ///
    /// - Throws: `FileError`; then `path` has its old content or, if only the last step failed,
    ///   the new one.
    package static func write(
        _ bytes: [UInt8],
        to path: String,
        mode: UInt32
    )
        throws(FileError)
    {
        let temporary = "\(path).\(getpid()).\(UInt32.random(in: 0...UInt32.max)).new"
        let descriptor = unsafe open(
            temporary,
            O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
            0o600
        )
        guard descriptor >= 0 else { throw .last("create", temporary) }
        do throws(FileError) {
            defer { close(descriptor) }
            guard fchmod(descriptor, mode) == 0 else { throw .last("chmod", temporary) }
            try writeAll(bytes, to: descriptor, path: temporary)
            guard fsync(descriptor) == 0 else { throw .last("sync", temporary) }
        } catch {
            _ = unsafe unlink(temporary)
            throw error
        }
        guard unsafe rename(temporary, path) == 0 else {
            let error = FileError.last("rename", path)
            _ = unsafe unlink(temporary)
            throw error
        }
        try syncDirectory(of: path)
    }

    /// Reads a regular file whole.
    ///
    /// - Throws: `FileError`, also when the file has more than `bytesMax` bytes.
    package static func read(_ path: String, bytesMax: Int) throws(FileError) -> [UInt8] {
        try read(path, bytesMax: bytesMax, closedTo: 0)
    }

    /// Reads a file that holds a secret: it must belong to this process's user or root, and
    /// nobody else may have any access to it.
    package static func readSecret(_ path: String, bytesMax: Int) throws(FileError) -> [UInt8] {
        try read(path, bytesMax: bytesMax, closedTo: 0o077)
    }

    /// Reads a credential that systemd made for this process.
    ///
    /// As `readSecret`, but its group may read it: the access list by which systemd lets this user
    /// in is shown as a permission of the group.
    package static func readCredential(
        _ path: String,
        bytesMax: Int
    ) throws(FileError) -> [UInt8] {
        try read(path, bytesMax: bytesMax, closedTo: 0o037)
    }

    /// Makes a directory and its missing parents; all of them are on disk when this returns.
    ///
    /// Parents are everybody's to pass and nobody else's to write, whatever `mode` is: other users
    /// have directories of their own beside the last one. An existing one keeps its mode; the umask
    /// holds for all.
    ///
    /// - Parameters:
    ///   - path: The directory.
    ///   - mode: The permissions of the last one.
    /// - Throws: `FileError`.
    package static func makeDirectory(_ path: String, mode: UInt32) throws(FileError) {
        var prefix = path.hasPrefix("/") ? "" : "."
        let components = path.split(separator: "/")
        for (index, component) in components.enumerated() {
            prefix += "/\(component)"
            let isParent = index < components.count - 1
            if unsafe mkdir(prefix, isParent ? 0o755 : mode) == 0 {
                try syncDirectory(of: prefix)
            } else if errno != EEXIST {
                throw .last("make directory", prefix)
            }
        }
    }

    /// The ID of this process's user.
    package static var ownUID: UInt32 { geteuid() }

    /// The user ID of a file's or directory's owner.
    ///
    /// - Throws: `FileError`, also if nothing is there.
    package static func owner(of path: String) throws(FileError) -> UInt32 {
        var status = stat()
        guard unsafe stat(path, &status) == 0 else { throw .last("stat", path) }
        return status.st_uid
    }

    /// Requires that nobody but this process's user and root can put files into a directory, or
    /// replace those in it.
    package static func requireOwn(directory path: String) throws(FileError) {
        try requireOwn(path, O_DIRECTORY)
    }

    /// Requires that nobody but this process's user and root can write a file whose content is run.
    package static func requireOwn(file path: String) throws(FileError) {
        try requireOwn(path, O_NONBLOCK)
    }

    private static func requireOwn(_ path: String, _ flag: Int32) throws(FileError) {
        let descriptor = unsafe open(path, O_RDONLY | flag | O_CLOEXEC)
        guard descriptor >= 0 else { throw .last("open", path) }
        defer { close(descriptor) }
        var status = stat()
        guard unsafe fstat(descriptor, &status) == 0 else { throw .last("stat", path) }
        guard status.st_uid == geteuid() || status.st_uid == 0 else {
            let reason = FileError.Reason.foreignOwner(uid: status.st_uid)
            throw FileError(operation: "use", path: path, reason: reason)
        }
        guard status.st_mode & 0o022 == 0 else {
            let mode = UInt32(status.st_mode & 0o7777)
            throw FileError(operation: "use", path: path, reason: .writableByOthers(mode: mode))
        }
    }

    /// Removes what `write` left half done in a directory when its process was killed, secrets
    /// among it.
    ///
    /// Only for a directory that this process holds alone.
    package static func removeUnfinished(in directory: String) throws(FileError) {
        guard let stream = unsafe opendir(directory) else { throw .last("open", directory) }
        defer { unsafe closedir(stream) }
        var unfinished: [String] = []
        while let entry = unsafe readdir(stream) {
            let name = unsafe withUnsafePointer(to: &entry.pointee.d_name) { pointer in
                unsafe pointer.withMemoryRebound(to: CChar.self, capacity: 256) {
                    unsafe String(cString: $0)
                }
            }
            if isUnfinished(name) { unfinished.append(name) }
        }
        for name in unfinished { try remove("\(directory)/\(name)") }
    }

    /// `<name>.<pid>.<number>.new`, as `write` names what it has not finished.
    private static func isUnfinished(_ name: String) -> Bool {
        let parts = name.split(separator: ".", omittingEmptySubsequences: false)
        guard parts.count >= 4, parts.last == "new" else { return false }
        return parts.dropLast().suffix(2).allSatisfy { UInt32($0) != nil }
    }

    /// Removes a file; one that does not exist is no error.
    package static func remove(_ path: String) throws(FileError) {
        if unsafe unlink(path) == 0 {
            try syncDirectory(of: path)
        } else if errno != ENOENT {
            throw .last("remove", path)
        }
    }

    /// Renames a file or directory that is on disk, within one file system, over whatever file is at
    /// `place`.
    ///
    /// It has its new name on disk when this returns; a crash before leaves it at one of both places.
    ///
    /// - Throws: `FileError`.
    package static func move(_ path: String, to place: String) throws(FileError) {
        guard unsafe rename(path, place) == 0 else { throw .last("rename", path) }
        try syncDirectory(of: place)
    }

    /// How many bytes a file has, where a link leads too.
    ///
    /// - Throws: `FileError`, also if nothing is there.
    package static func size(of path: String) throws(FileError) -> Int {
        var status = stat()
        guard unsafe stat(path, &status) == 0 else { throw .last("stat", path) }
        return Int(status.st_size)
    }

    /// How much room the file system of a file or directory has.
    package static func room(at path: String) throws(FileError) -> FileSystemRoom {
        var status = statvfs()
        while unsafe statvfs(path, &status) != 0 {
            guard errno == EINTR else { throw .last("look at the file system of", path) }
        }
        let unit = UInt64(status.f_frsize)
        return FileSystemRoom(
            bytes: UInt64(status.f_blocks).multipliedReportingOverflow(by: unit).partialValue,
            freeBytes: UInt64(status.f_bavail).multipliedReportingOverflow(by: unit).partialValue
        )
    }

    private static func read(
        _ path: String,
        bytesMax: Int,
        closedTo others: mode_t
    ) throws(FileError) -> [UInt8] {
        let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard descriptor >= 0 else { throw .last("open", path) }
        defer { close(descriptor) }
        var status = stat()
        guard unsafe fstat(descriptor, &status) == 0 else { throw .last("stat", path) }
        guard status.st_mode & S_IFMT == S_IFREG else {
            throw FileError(operation: "read", path: path, reason: .notRegularFile)
        }
        if others != 0 {
            guard status.st_uid == geteuid() || status.st_uid == 0 else {
                throw FileError(
                    operation: "read",
                    path: path,
                    reason: .foreignOwner(uid: status.st_uid)
                )
            }
            guard status.st_mode & others == 0 else {
                throw FileError(
                    operation: "read",
                    path: path,
                    reason: .exposed(mode: UInt32(status.st_mode & 0o777))
                )
            }
        }
        guard status.st_size <= bytesMax else {
            throw FileError(operation: "read", path: path, reason: .tooLarge(bytesMax: bytesMax))
        }
        return try readAll(descriptor, path: path, bytesMax: bytesMax)
    }

    private static func readAll(
        _ descriptor: Int32,
        path: String,
        bytesMax: Int
    ) throws(FileError) -> [UInt8] {
        var content: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 65536)
        while true {
            let count = unsafe chunk.withUnsafeMutableBytes {
                unsafe Glibc.read(descriptor, $0.baseAddress, $0.count)
            }
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else { throw .last("read", path) }
            if count == 0 { return content }
            content.append(contentsOf: chunk[..<count])
            guard content.count <= bytesMax else {
                throw FileError(
                    operation: "read",
                    path: path,
                    reason: .tooLarge(bytesMax: bytesMax)
                )
            }
        }
    }

    static func writeAll(
        _ bytes: [UInt8],
        to descriptor: Int32,
        path: String
    ) throws(FileError) {
        var offset = 0
        while offset < bytes.count {
            let count = unsafe bytes.withUnsafeBytes {
                unsafe Glibc.write(
                    descriptor,
                    $0.baseAddress?.advanced(by: offset),
                    $0.count - offset
                )
            }
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { throw .last("write", path) }
            offset += count
        }
    }

    static func syncDirectory(of path: String) throws(FileError) {
        let directory =
            path.lastIndex(of: "/").map { String(path[...$0]) } ?? "."
        let descriptor = unsafe open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else { throw .last("open", directory) }
        defer { close(descriptor) }
        guard fsync(descriptor) == 0 else { throw .last("sync", directory) }
    }
}

/// An advisory lock on a file, so that two processes never use one data directory.
package struct FileLock: ~Copyable, Sendable {
    private let descriptor: Int32

    /// Takes the lock or throws at once (`EWOULDBLOCK`: another process holds it).
    package init(_ path: String) throws(FileError) {
        let descriptor = unsafe open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard descriptor >= 0 else { throw .last("open", path) }
        guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else {
            let error = FileError.last("lock", path)
            close(descriptor)
            throw error
        }
        self.descriptor = descriptor
    }

    deinit { close(descriptor) }
}

extension FileError {
    static func last(_ operation: String, _ path: String) -> Self {
        Self(operation: operation, path: path, reason: .system(errno: errno))
    }
}

func text(ofErrno number: Int32) -> String {
    unsafe strerror(number).map { unsafe String(cString: $0) } ?? "error \(number)"
}
