// SPDX-License-Identifier: Apache-2.0

internal import Glibc

/// The signals that tests send.
package enum SignalNumber: Sendable {
    case hangUp
    case interrupt
    case kill
    case pause
    case proceed
    case terminate

    /// As the kernel numbers it.
    var raw: Int32 {
        switch self {
        case .hangUp: SIGHUP
        case .interrupt: SIGINT
        case .kill: SIGKILL
        case .pause: SIGSTOP
        case .proceed: SIGCONT
        case .terminate: SIGTERM
        }
    }
}

/// Processes that a test did not start itself, by their ID.
package enum Signals {
    package static func send(_ number: SignalNumber, to pid: Int32) {
        _ = Glibc.kill(pid, number.raw)
    }

    /// Whether there is a process with this ID that has not ended.
    package static func isThere(_ pid: Int32) -> Bool {
        Glibc.kill(pid, 0) == 0
    }
}
