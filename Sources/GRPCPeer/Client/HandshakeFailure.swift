// SPDX-License-Identifier: Apache-2.0

internal import GRPCCore
internal import Synchronization

/// Remembers why a handshake failed; the calls themselves only say that nobody is there.
package final class HandshakeFailure: Sendable {
    private let last = Mutex<(any Error)?>(nil)

    package init() {}

    /// For `onHandshakeFailure` of a transport.
    package func record(_ error: any Error) {
        last.withLock { $0 = error }
    }

    /// The handshake's own reason if there is one and the call merely found nobody.
    package func explained(_ error: any Error) -> any Error {
        guard let call = error as? RPCError, call.code == .unavailable,
            let reason = last.withLock({ $0 })
        else { return error }
        return reason
    }
}
