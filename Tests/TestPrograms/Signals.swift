// SPDX-License-Identifier: Apache-2.0

internal import Glibc

/// The signals that tests send.
package enum SignalNumber: Sendable {
    case hangUp
    case kill
    case pause
    case proceed
    case terminate

    /// As the kernel numbers it.
    var raw: Int32 {
        switch self {
        case .hangUp: SIGHUP
        case .kill: SIGKILL
        case .pause: SIGSTOP
        case .proceed: SIGCONT
        case .terminate: SIGTERM
        }
    }
}
