// SPDX-License-Identifier: Apache-2.0

internal import CLinux
internal import Glibc
internal import Synchronization

/// The file of a listening Unix socket: made under a lock, replaced only when nobody listens on it,
/// removed when its listener ends.
///
/// The lock file `<path>.lock` (mode 0600) stays behind; removing it would let two servers hold
/// locks on two files of the same name.
package final class UnixSocketFile: Sendable {
    /// Connections that wait for accept; the kernel may lower it (net.core.somaxconn).
    static let backlog: Int32 = 1024

    /// What the file is until it belongs to its group, and if it cannot be given to it.
    static let ownerMode: UInt32 = 0o600

    package let path: String
    let mode: UInt32
    let group: UInt32?
    private let made = Mutex<Made?>(nil)

    private struct Made {
        let lock: Int32
        let device: UInt64
        let inode: UInt64
    }

    /// Describes the file; `listen()` makes it.
    ///
    /// - Parameters:
    ///   - path: An absolute path.
    ///   - mode: Its permissions, whatever the umask.
    ///   - group: The group that it is given to.
    package init(path: String, mode: UInt32, group: UInt32? = nil) {
        self.path = path
        self.mode = mode
        self.group = group
    }

    deinit {
        remove()
    }

    /// Makes the socket and returns its listening descriptor, which the caller owns.
    ///
    /// - Throws: `UnixSocketError`.
    package func listen() throws(UnixSocketError) -> Int32 {
        guard path.utf8.first == UInt8(ascii: "/"), !path.utf8.contains(0) else {
            throw .pathNotAbsolute
        }
        guard path.utf8.count <= clinux_unix_path_bytes_max() else { throw .pathTooLong }
        let lock = unsafe clinux_lock_file(path + ".lock")
        guard lock >= 0 else {
            throw lock == -EWOULDBLOCK ? .alreadyServed : .systemCall("lock", errno: -lock)
        }
        do throws(UnixSocketError) {
            try removeStale()
            return try make(lock: lock)
        } catch {
            clinux_close(lock)
            throw error
        }
    }

    /// Removes the file if it is still ours, and releases the lock.
    package func remove() {
        let entry = made.withLock { made in
            defer { made = nil }
            return made
        }
        guard let entry else { return }
        _ = unsafe clinux_unlink_if(path, entry.device, entry.inode)
        clinux_close(entry.lock)
    }

    private func make(lock: Int32) throws(UnixSocketError) -> Int32 {
        let firstMode = group == nil ? mode : Self.ownerMode
        let descriptor = unsafe clinux_unix_listen(path, firstMode, Self.backlog)
        guard descriptor >= 0 else { throw .systemCall("bind", errno: -descriptor) }
        if let group {
            let error = unsafe clinux_give_to_group(path, group, mode)
            guard error == 0 || error == EPERM else {
                clinux_close(descriptor)
                throw .systemCall("chown", errno: error)
            }
        }
        let status = unsafe clinux_status_of_path(path)
        guard status.error == 0 else {
            clinux_close(descriptor)
            throw .systemCall("lstat", errno: status.error)
        }
        let entry = Made(lock: lock, device: status.device, inode: status.inode)
        made.withLock { $0 = entry }
        return descriptor
    }

    /// A file that refuses connections was left by a server that ended without tidying up;
    /// anything else at the path is not ours to remove.
    private func removeStale() throws(UnixSocketError) {
        let status = unsafe clinux_status_of_path(path)
        if status.error == ENOENT { return }
        guard status.error == 0 else { throw .systemCall("lstat", errno: status.error) }
        guard status.mode & UInt32(S_IFMT) == UInt32(S_IFSOCK) else { throw .notASocket }
        switch unsafe clinux_unix_probe(path) {
        case 0: throw .alreadyServed
        case ECONNREFUSED:
            let error = unsafe clinux_unlink_if(path, status.device, status.inode)
            guard error == 0 else { throw .systemCall("unlink", errno: error) }
        case let error: throw .systemCall("connect", errno: error)
        }
    }
}

/// Why a Unix socket could not be served.
package enum UnixSocketError: Error, Hashable {
    /// Another process listens at the path.
    case alreadyServed
    /// Something that is not a socket is at the path.
    case notASocket
    case pathNotAbsolute
    /// Longer than a socket address holds (107 bytes on Linux).
    case pathTooLong
    case systemCall(String, errno: Int32)
}
