// SPDX-License-Identifier: Apache-2.0

internal import CLinux

extension Socket {
    /// Silence, in seconds, after which the kernel asks a TCP peer whether it is still there (RFC
    /// 9293 section 3.8.4): a machine that is gone says no goodbye, and a stream may wait for hours.
    package static let keepaliveIdleSeconds: Int32 = 15
    /// Seconds between two questions.
    package static let keepaliveIntervalSeconds: Int32 = 5
    /// Unanswered questions that end the connection: with the times above after 30 s.
    package static let keepaliveProbesMax: Int32 = 3

    /// Makes the kernel look after a peer that is silent; what a listener accepts inherits it.
    ///
    /// Not TCP_USER_TIMEOUT (RFC 5482), which would also end the stream of a peer that is there and
    /// does not read for a while.
    ///
    /// - Throws: What the kernel says.
    borrowing func keepAlive() throws(SystemError) {
        let error = clinux_keep_alive(
            descriptor,
            Self.keepaliveIdleSeconds,
            Self.keepaliveIntervalSeconds,
            Self.keepaliveProbesMax
        )
        guard error == 0 else { throw SystemError(errorNumber: error) }
    }
}
