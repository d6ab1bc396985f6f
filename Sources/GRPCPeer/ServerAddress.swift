// SPDX-License-Identifier: Apache-2.0

/// A host and a port as people write them: `host:8081`, `192.0.2.1:8081`, `[2001:db8::1]:8081`.
package struct ServerAddress: Hashable, Sendable, CustomStringConvertible {
    /// Longest host name (RFC 1035 section 2.3.4), and more than any address.
    package static let hostBytesMax = 253

    /// A DNS name or an IP address, without brackets.
    package let host: String
    /// 0 asks a listener to pick a free port.
    package let port: UInt16

    package init(host: String, port: UInt16) {
        self.host = host
        self.port = port
    }

    /// Parses `host:port`; an IPv6 address is in brackets.
    ///
    /// - Throws: `ServerAddressError` naming what is wrong.
    package init(parsing text: String) throws(ServerAddressError) {
        guard let colon = text.utf8.lastIndex(of: UInt8(ascii: ":")) else { throw .portMissing }
        let digits = text.utf8[text.utf8.index(after: colon)...]
        guard !digits.isEmpty, digits.allSatisfy({ (0x30...0x39).contains($0) }),
            let port = UInt16(String(Substring(digits)))
        else { throw .portNotANumber }

        var host = text.utf8[..<colon]
        if host.first == UInt8(ascii: "[") {
            guard host.last == UInt8(ascii: "]"), host.count > 2 else { throw .hostNotAName }
            host = host.dropFirst().dropLast()
            guard host.allSatisfy(Self.allowedInIPv6) else { throw .hostNotAName }
        } else {
            guard host.allSatisfy(Self.allowedInName) else { throw .hostNotAName }
        }
        guard !host.isEmpty else { throw .hostMissing }
        guard host.count <= Self.hostBytesMax else { throw .hostTooLong }
        self.host = String(Substring(host))
        self.port = port
    }

    package var description: String {
        host.utf8.contains(UInt8(ascii: ":")) ? "[\(host)]:\(port)" : "\(host):\(port)"
    }

    private static func allowedInName(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "."), UInt8(ascii: "-"),
            UInt8(ascii: "_"):
            true
        default: false
        }
    }

    private static func allowedInIPv6(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "f"), UInt8(ascii: "A")...UInt8(ascii: "F"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "."), UInt8(ascii: ":"):
            true
        default: false
        }
    }
}

/// What is wrong with the text of a server address.
package enum ServerAddressError: Error, Hashable, CustomStringConvertible {
    case hostMissing
    /// The host holds a byte that no name or address has, or an IPv6 address without brackets.
    case hostNotAName
    case hostTooLong
    case portMissing
    case portNotANumber

    package var description: String {
        switch self {
        case .hostMissing: "there is no host before the colon; write host:port"
        case .hostNotAName:
            "the host is neither a DNS name nor an IP address; an IPv6 address is in brackets"
        case .hostTooLong: "the host has more than \(ServerAddress.hostBytesMax) bytes"
        case .portMissing: "there is no port; write host:port, for example 0.0.0.0:8081"
        case .portNotANumber: "the port is not a number from 0 to 65535"
        }
    }
}
