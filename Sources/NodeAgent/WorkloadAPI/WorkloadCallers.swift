// SPDX-License-Identifier: Apache-2.0

internal import CLinux
internal import GRPCPeer
internal import Synchronization

/// Notes what each connected process runs when its connection opens, so that a program started
/// later in the same process cannot speak for itself on a connection opened by another.
final class WorkloadCallers: Sendable {
    private struct Caller {
        var connections = 0
        var executables: Set<FileIdentity?> = []
    }

    private let callers = Mutex<[Int32: Caller]>([:])

    /// A connection was opened; called before any of its requests.
    func opened(_ peer: LocalPeer) {
        let executable = (try? ExecutableFile(of: peer.pid))?.identity
        callers.withLock { callers in
            callers[peer.pid, default: Caller()].connections += 1
            callers[peer.pid]?.executables.insert(executable)
        }
    }

    /// A connection that was opened has ended.
    func closed(_ peer: LocalPeer) {
        callers.withLock { callers in
            guard let caller = callers[peer.pid] else { return }
            callers[peer.pid] = caller.connections > 1 ? caller : nil
            callers[peer.pid]?.connections -= 1
        }
    }

    /// The process to attest for a request.
    ///
    /// - Throws: `WorkloadAttestationError.executableReplaced` if the process has open connections
    ///   from before and after it started another program: which of them carries the request is
    ///   not known, so none of them counts.
    func process(_ peer: LocalPeer) throws(WorkloadAttestationError) -> AttestedProcess {
        let executables = callers.withLock { $0[peer.pid]?.executables } ?? []
        guard executables.count == 1, let executable = executables.first else {
            throw .executableReplaced
        }
        return AttestedProcess(
            pid: peer.pid,
            uid: peer.uid,
            gid: peer.gid,
            executableAtConnect: executable,
            isAlive: { peer.isAlive() }
        )
    }

    /// Whether the process runs what it ran when it was attested; asked again before each message
    /// of a long stream.
    static func stillRuns(_ executable: FileIdentity?, _ peer: LocalPeer) -> Bool {
        guard let executable else { return peer.isAlive() }
        let now = (try? ExecutableFile(of: peer.pid))?.identity
        return now == executable && peer.isAlive()
    }
}
