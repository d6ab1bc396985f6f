// SPDX-License-Identifier: Apache-2.0

package import HTTPSemantics

/// An IP address and a port, written `192.0.2.1:443` or `[2001:db8::1]:443`; no names, which
/// somebody would have to resolve (docs/decisions/0009).
package struct SocketAddress: Hashable, Sendable, CustomStringConvertible {
    package let address: IPAddress
    package let port: UInt16
    /// As it was written.
    package let description: String

    /// Parses an address and a port from 1 to 65535.
    ///
    /// - Returns: nil for anything else, and for IPv4 in its IPv6 form, which has another spelling.
    package init?(_ text: String) {
        guard let colon = text.utf8.lastIndex(of: UInt8(ascii: ":")),
            let port = Self.port(text[text.utf8.index(after: colon)...])
        else { return nil }
        let host = text[..<colon]
        let isBracketed = host.utf8.first == UInt8(ascii: "[")
        guard isBracketed == (host.utf8.last == UInt8(ascii: "]")) else { return nil }
        let literal = isBracketed ? String(host.dropFirst().dropLast()) : String(host)
        guard literal.utf8.contains(UInt8(ascii: ":")) == isBracketed,
            let address = IPAddress(literal), address.isIPv4 != isBracketed
        else { return nil }
        self.address = address
        self.port = port
        description = text
    }

    /// Whether only this machine reaches it: 127.0.0.0/8 or ::1.
    package var isLoopback: Bool {
        address.isIPv4
            ? UInt32(truncatingIfNeeded: address.low) >> 24 == 127
            : address.high == 0 && address.low == 1
    }

    private static func port(_ text: Substring) -> UInt16? {
        guard (1...5).contains(text.utf8.count), text.utf8.first != UInt8(ascii: "0"),
            text.utf8.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) })
        else { return nil }
        return UInt16(text)
    }
}
