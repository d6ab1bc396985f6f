// SPDX-License-Identifier: Apache-2.0

internal import Glibc

/// The signals that tests send.
package enum SignalNumber: Sendable {
    case hangUp
    case kill
    case pause
    case proceed
    case terminate
}

/// Signals to one process, by its ID.
package enum Signals {
    package static func send(_ number: SignalNumber, to pid: Int32) {
        let raw =
            switch number {
            case .hangUp: SIGHUP
            case .kill: SIGKILL
            case .pause: SIGSTOP
            case .proceed: SIGCONT
            case .terminate: SIGTERM
            }
        _ = Glibc.kill(pid, raw)
    }
}
