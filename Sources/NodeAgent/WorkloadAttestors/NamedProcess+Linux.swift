// SPDX-License-Identifier: Apache-2.0

internal import CLinux
internal import Glibc

/// A process that somebody asks about by its number, held so that the number cannot come to mean
/// another one unnoticed.
final class NamedProcess: Sendable {
    let pid: Int32
    private let pidfd: Int32
    private let credentials: ProcessCredentials

    /// - Throws: `WorkloadAttestationError.processUnknown` if there is no such process.
    init(pid: Int32) throws(WorkloadAttestationError) {
        guard pid > 0 else { throw .processUnknown }
        let pidfd = clinux_pidfd_open(pid)
        guard pidfd >= 0 else {
            guard pidfd != -ESRCH else { throw .processUnknown }
            let isTemporary = pidfd == -EMFILE || pidfd == -ENFILE
            throw .unreadable("pidfd_open: error \(-pidfd)", isTemporary: isTemporary)
        }
        do throws(ReadingFailure) {
            credentials = try ProcessReading.credentials(of: pid)
        } catch {
            clinux_close(pidfd)
            throw .unreadable("\(error)", isTemporary: error.isTemporary)
        }
        self.pid = pid
        self.pidfd = pidfd
    }

    deinit { clinux_close(pidfd) }

    var process: AttestedProcess {
        AttestedProcess(
            pid: pid,
            uid: credentials.uid,
            gid: credentials.gid,
            executableAtConnect: nil,
            isAlive: { clinux_pidfd_exited(self.pidfd) == 0 }
        )
    }
}
