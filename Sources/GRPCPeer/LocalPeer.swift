// SPDX-License-Identifier: Apache-2.0

internal import CLinux

#if canImport(Glibc)
internal import Glibc
#endif

/// The process that opened a connection to a Unix socket.
///
/// `pid`, `uid` and `gid` are what they were when it connected. A pid names nobody once its
/// process has exited: whoever reads /proc by `pid` asks `isAlive()` afterwards, and uses what was
/// read only if the answer is true.
package struct LocalPeer: Sendable, CustomStringConvertible {
    package let pid: Int32
    package let uid: UInt32
    package let gid: UInt32
    /// What it ran when its connection was accepted, before anything was read from it: a program
    /// that the process starts later must not speak on the connection of another.
    package let executable: ExecutableAtConnect
    let process: ProcessHandle

    package var description: String { "pid \(pid) uid \(uid) gid \(gid)" }

    /// Whether the process that connected still runs.
    ///
    /// By pidfd; on kernels before 6.5, which have none for a socket's peer, by the start time of
    /// the process with that pid. False when it cannot be told.
    package func isAlive() -> Bool { process.isAlive() }

    /// What the kernel says of the process that connected.
    package var standing: ProcessStanding { process.standing }

    /// Reads the peer of a connected Unix socket.
    ///
    /// - Throws: `LocalPeerError` when the kernel does not name the peer.
    package init(ofSocket socket: Int32) throws(LocalPeerError) {
        let peer = clinux_peer_of(socket)
        guard peer.error == 0 else { throw .credentialsUnavailable(errno: peer.error) }
        self.pid = peer.pid
        self.uid = peer.uid
        self.gid = peer.gid
        if peer.pidfd >= 0 {
            self.process = ProcessHandle(.pidfd(peer.pidfd))
        } else if peer.pidfd_error == ENOPROTOOPT {
            let start = clinux_start_time_of(peer.pid)
            guard start.error == 0 else { throw .processGone(errno: start.error) }
            self.process = ProcessHandle(.startTime(pid: peer.pid, ticks: start.ticks))
        } else {
            throw .processGone(errno: peer.pidfd_error)
        }
        let executable = ExecutableAtConnect(of: peer.pid)
        // The pid may have come to name another process before its program was looked at.
        self.executable = process.isAlive() ? executable : .unreadable(errno: ESRCH)
    }
}

/// Which file: the same device and inode are the same file, whatever its path.
package struct FileIdentity: Hashable, Sendable {
    package let device: UInt64
    package let inode: UInt64

    package init(device: UInt64, inode: UInt64) {
        self.device = device
        self.inode = inode
    }

    /// What a process runs.
    ///
    /// A program that serves the file system of the executable cannot make the caller wait.
    ///
    /// - Throws: `FileIdentityError` when the kernel does not tell.
    package init(ofExecutable pid: Int32) throws(FileIdentityError) {
        let file = clinux_executable_of(pid)
        guard file.error == 0 else { throw FileIdentityError(errno: file.error) }
        self.init(device: file.device, inode: file.inode)
    }
}

/// Why the kernel does not say which file it is.
package struct FileIdentityError: Error, Hashable {
    package let errno: Int32
}

/// What a process ran when it connected.
package enum ExecutableAtConnect: Hashable, Sendable {
    case file(FileIdentity)
    /// The kernel did not tell: what the process runs later says nothing about the connection.
    case unreadable(errno: Int32)

    init(of pid: Int32) {
        do throws(FileIdentityError) {
            self = .file(try FileIdentity(ofExecutable: pid))
        } catch {
            self = .unreadable(errno: error.errno)
        }
    }
}

/// What the kernel says of a process.
package enum ProcessStanding: Hashable, Sendable {
    case exited
    case running
    /// It cannot be told, so it may be either.
    case unknown
}

/// Why the process behind a Unix socket connection could not be named.
package enum LocalPeerError: Error, Hashable {
    /// SO_PEERCRED failed, or the peer lives in a pid namespace that this one cannot see.
    case credentialsUnavailable(errno: Int32)
    /// The process had exited before its connection was accepted.
    case processGone(errno: Int32)
}

/// Owns what tells whether a process still runs; the descriptor is closed with the last reference,
/// so it can never come to mean another process or file.
final class ProcessHandle: Sendable {
    enum Evidence: Sendable {
        case pidfd(Int32)
        case startTime(pid: Int32, ticks: UInt64)
    }

    private let evidence: Evidence

    init(_ evidence: Evidence) {
        self.evidence = evidence
    }

    deinit {
        if case .pidfd(let descriptor) = evidence { clinux_close(descriptor) }
    }

    func isAlive() -> Bool { standing == .running }

    var standing: ProcessStanding {
        switch evidence {
        case .pidfd(let descriptor):
            switch clinux_pidfd_exited(descriptor) {
            case 0: return .running
            case 1: return .exited
            default: return .unknown
            }
        case .startTime(let pid, let ticks):
            let start = clinux_start_time_of(pid)
            switch start.error {
            case 0: return start.ticks == ticks ? .running : .exited
            case ENOENT, ESRCH: return .exited
            default: return .unknown
            }
        }
    }
}
