// SPDX-License-Identifier: Apache-2.0

/// An `https` URL to be fetched (RFC 9110 section 4.2.2), read strictly: what two readers could take
/// for two hosts or two targets is refused, never repaired.
package struct HTTPSURL: Hashable, Sendable, CustomStringConvertible {
    /// Longest URL in bytes, with the slash of an empty path: what is configured by hand, or a
    /// redirect asks for, is a tenth of it.
    package static let bytesMax = 2048
    /// Longest host name in bytes (RFC 1035 section 2.3.4).
    package static let hostBytesMax = 253
    /// Longest label of a host name in bytes.
    package static let labelBytesMax = 63
    /// The port of a URL that names none.
    package static let standardPort: UInt16 = 443

    /// Whom the URL asks.
    package enum Host: Hashable, Sendable {
        case address(IPAddress)
        /// A DNS name in lower case, which no resolver takes for an address.
        case name(String)
    }

    /// The URL as it was written.
    package let description: String
    package let host: Host
    package let port: UInt16
    /// Host and port as they were written, for the field `Host`.
    package let authority: String
    /// Path and query in origin form (RFC 9112 section 3.2.1): it begins with a slash.
    package let target: String

    /// Parses `https://host[:port][/path][?query]`.
    ///
    /// - Parameter text: The whole URL. A host name is in lower case and has no dot at its end; an
    ///   IPv6 address stands in brackets.
    /// - Throws: `HTTPSURLError` naming what is wrong.
    package init(parsing text: String) throws(HTTPSURLError) {
        let scheme = "https://"
        let bytes = Array(text.utf8)
        guard bytes.count <= Self.bytesMax else { throw .tooLong }
        guard bytes.starts(with: scheme.utf8) else { throw .scheme }
        let rest = bytes[scheme.utf8.count...]
        let end = rest.firstIndex { "/?#".utf8.contains($0) } ?? rest.endIndex
        let authority = rest[..<end]
        guard !authority.contains(UInt8(ascii: "@")) else { throw .user }
        let hostEnd = try Self.hostEnd(authority)
        host = try Self.host(authority[..<hostEnd])
        port = try Self.port(authority[hostEnd...])
        target = try Self.target(rest[end...])
        // What is put together again from its parts is a URL.
        guard scheme.utf8.count + authority.count + target.utf8.count <= Self.bytesMax else {
            throw .tooLong
        }
        description = text
        self.authority = String(decoding: authority, as: UTF8.self)
    }

    private static func hostEnd(_ authority: ArraySlice<UInt8>) throws(HTTPSURLError) -> Int {
        guard authority.first == UInt8(ascii: "[") else {
            return authority.firstIndex(of: UInt8(ascii: ":")) ?? authority.endIndex
        }
        guard let close = authority.firstIndex(of: UInt8(ascii: "]")) else { throw .host }
        return close + 1
    }

    private static func host(_ text: ArraySlice<UInt8>) throws(HTTPSURLError) -> Host {
        if text.first == UInt8(ascii: "[") {
            guard let address = IPAddress(ipv6: Array(text.dropFirst().dropLast())) else {
                throw .host
            }
            return .address(address)
        }
        let labels = text.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
        guard text.count <= hostBytesMax, labels.allSatisfy(isLabel), let last = labels.last else {
            throw .host
        }
        let name = String(decoding: text, as: UTF8.self)
        // Resolvers read `127.1` and `0x7f000001` as addresses, each in a way of its own.
        guard last.allSatisfy(Octet.isDigit) || isHexadecimal(last) else { return .name(name) }
        guard let address = IPAddress(name) else { throw .host }
        return .address(address)
    }

    private static func isLabel(_ label: ArraySlice<UInt8>) -> Bool {
        let hyphen = UInt8(ascii: "-")
        guard (1...labelBytesMax).contains(label.count), label.first != hyphen,
            label.last != hyphen
        else { return false }
        return label.allSatisfy { Octet.isFieldName($0) && !Octet.isUppercaseLetter($0) }
    }

    private static func isHexadecimal(_ label: ArraySlice<UInt8>) -> Bool {
        label.starts(with: "0x".utf8) && label.dropFirst(2).allSatisfy { Octet.hexDigit($0) != nil }
    }

    private static func port(_ text: ArraySlice<UInt8>) throws(HTTPSURLError) -> UInt16 {
        guard let first = text.first else { return standardPort }
        let digits = String(decoding: text.dropFirst(), as: UTF8.self)
        // One number has one spelling.
        guard first == UInt8(ascii: ":"), let port = UInt16(digits), port > 0, "\(port)" == digits
        else { throw .port }
        return port
    }

    private static func target(_ text: ArraySlice<UInt8>) throws(HTTPSURLError) -> String {
        guard !text.contains(UInt8(ascii: "#")) else { throw .fragment }
        let pathEnd = text.firstIndex(of: UInt8(ascii: "?")) ?? text.endIndex
        guard isEscaped(text[..<pathEnd], Octet.isPath), hasNoDotSegment(text[..<pathEnd]),
            isEscaped(text[pathEnd...], Octet.isQuery)
        else { throw .target }
        let target = String(decoding: text, as: UTF8.self)
        return pathEnd == text.startIndex ? "/" + target : target
    }

    /// Whether each byte may stand for itself, or is an escape of two digits.
    private static func isEscaped(_ text: ArraySlice<UInt8>, _ allows: (UInt8) -> Bool) -> Bool {
        var index = text.startIndex
        while index < text.endIndex {
            if text[index] == UInt8(ascii: "%") {
                guard index + 2 < text.endIndex, Octet.hexDigit(text[index + 1]) != nil,
                    Octet.hexDigit(text[index + 2]) != nil
                else { return false }
                index += 3
            } else {
                guard allows(text[index]) else { return false }
                index += 1
            }
        }
        return true
    }

    /// Some servers take `/a/../b` for `/b`, others for what it says.
    private static func hasNoDotSegment(_ path: ArraySlice<UInt8>) -> Bool {
        path.split(separator: UInt8(ascii: "/")).allSatisfy { segment in
            segment.count > 2 || !segment.allSatisfy { $0 == UInt8(ascii: ".") }
        }
    }
}

/// What is wrong with a URL, and what to write.
package enum HTTPSURLError: Error, Hashable, Sendable, CustomStringConvertible {
    case fragment
    case host
    case port
    case scheme
    case target
    case tooLong
    case user

    package var description: String {
        switch self {
        case .fragment: "leave out the fragment (\"#\"), which no server is sent"
        case .host:
            "the host is neither a DNS name in lower case without dot at its end nor an IP address "
                + "(IPv6 in brackets)"
        case .port: "the port is not a number from 1 to 65535"
        case .scheme: "write https://host, with a port, a path or a query if need be"
        case .target:
            "path and query are ASCII characters of a URL, others escaped (\"%\" and two digits), "
                + "and no segment is \".\" or \"..\""
        case .tooLong: "the URL has more than \(HTTPSURL.bytesMax) bytes"
        case .user: "leave out the user (\"@\"): nobody is told a password"
        }
    }
}
