// SPDX-License-Identifier: Apache-2.0

internal import Glibc
internal import NIOCore
internal import NIOPosix

/// Why there is no connection, in the system's words.
package enum ConnectionReason {
    /// What the system says of an error that a connection ended with.
    ///
    /// - Parameter error: The cause of an `RPCError`. The library's own text names the system call,
    ///   and closes a parenthesis that it has not opened.
    /// - Returns: nil if it is none of the system's.
    package static func text(of error: any Error) -> String? {
        switch error {
        case let error as IOError:
            unsafe strerror(error.errnoCode).map { unsafe String(cString: $0) }
                ?? "error \(error.errnoCode)"
        case let error as NIOConnectionError:
            error.connectionErrors.last.flatMap { text(of: $0.error) }
        default: nil
        }
    }
}
