// SPDX-License-Identifier: Apache-2.0

internal import Glibc

/// Why health and metrics cannot be served at an address, and what to do.
package struct TelemetryBindError: Error, Hashable, Sendable, CustomStringConvertible {
    package let host: String
    package let port: UInt16
    /// One of those for which there is a sentence.
    package let number: Int32

    /// Nil when the system's own words say as much.
    package init?(host: String, port: UInt16, errno number: Int32) {
        guard [EACCES, EADDRINUSE, EADDRNOTAVAIL].contains(number) else { return nil }
        self.host = host
        self.port = port
        self.number = number
    }

    package var description: String {
        let place = "\(host):\(port) (telemetryPort)"
        return switch number {
        case EADDRINUSE: "\(place) is in use by another process; set another port, or 0 for any"
        case EADDRNOTAVAIL: "\(place) is no address of this machine; bring its interface up"
        default: "\(place) may not be used by this user; set a port above 1023, or 0 for any"
        }
    }
}
