// SPDX-License-Identifier: Apache-2.0

internal import Glibc

/// Why a server cannot listen, with the place and what to do.
package struct ListenerError: Error, Hashable, Sendable, CustomStringConvertible {
    /// What the system or the file at the place refused.
    package enum Reason: Hashable, Sendable {
        case address(errno: Int32)
        case socket(UnixSocketError)
    }

    /// `host:port`, or the path of a Unix socket.
    package let place: String
    package let reason: Reason

    /// Joins the parts.
    package init(place: String, reason: Reason) {
        self.place = place
        self.reason = reason
    }

    package var description: String {
        switch reason {
        case .address(let number): "\(place) \(Self.sentence(address: number))"
        case .socket(let error): "\(place) \(Self.sentence(error))"
        }
    }

    private static func sentence(address number: Int32) -> String {
        switch number {
        case EACCES, EPERM: "may not be listened on by this user: set a port above 1023"
        case EADDRINUSE: "is in use by another process: end it, or set another port"
        case EADDRNOTAVAIL: "is no address of this machine: set one of its own, or ::"
        default: "cannot be listened on: \(text(ofErrno: number))"
        }
    }

    private static func sentence(_ error: UnixSocketError) -> String {
        switch error {
        case .alreadyServed: "is in use by another process: end it, or set another path"
        case .notASocket: "is there and is no socket: move it away, or set another path"
        case .pathNotAbsolute: "is no absolute path: begin the socket's path with /"
        case .pathTooLong: "is longer than the path of a socket may be: set a shorter one"
        case .systemCall(let call, let number):
            "cannot be listened on (\(call): \(text(ofErrno: number))): its directory must exist "
                + "and be writable for this user"
        }
    }

    private static func text(ofErrno number: Int32) -> String {
        unsafe strerror(number).map { unsafe String(cString: $0) } ?? "error \(number)"
    }
}
