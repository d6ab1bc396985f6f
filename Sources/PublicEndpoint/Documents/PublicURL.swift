// SPDX-License-Identifier: Apache-2.0

/// The `https` URL by which verifiers outside come, and the issuer of tokens.
///
/// Verifiers compare it byte by byte (OpenID Connect Discovery 1.0 section 4.3), so it has one
/// spelling.
package struct PublicURL: Hashable, Sendable, CustomStringConvertible {
    /// Longest URL in bytes: what verifiers keep as the name of an issuer is 255 at most.
    package static let bytesMax = 255
    /// Longest host in bytes (RFC 1035 section 2.3.4).
    package static let hostBytesMax = 253
    /// Longest label of a host in bytes.
    package static let labelBytesMax = 63

    /// What the issuer of tokens "A, through B" has more than that of JWT-SVIDs.
    package static let delegatedPath = "/delegated"

    /// The URL as it was written.
    package let description: String
    /// A DNS name in lower case.
    package let host: String
    /// Nil for 443, which is never written.
    package let port: UInt16?
    /// Nothing, or what begins with a slash and does not end with one.
    package let path: String

    /// The issuer of tokens "A, through B": another one, so that who is set up for JWT-SVIDs takes
    /// none of them (docs/decisions/0024-token-exchange.md).
    package var delegatedIssuer: String { description + Self.delegatedPath }

    /// Parses the one spelling of a URL.
    ///
    /// - Parameter text: `https://host[:port][/path]`.
    /// - Throws: `PublicURLError` naming what is wrong.
    package init(parsing text: String) throws(PublicURLError) {
        let scheme = "https://"
        guard text.utf8.count <= Self.bytesMax else { throw .tooLong }
        guard text.hasPrefix(scheme) else { throw .scheme }
        let rest = text.dropFirst(scheme.count)
        let pathStart = rest.firstIndex(of: "/") ?? rest.endIndex
        let (authority, path) = (rest[..<pathStart], rest[pathStart...])
        let colon = authority.firstIndex(of: ":")
        let host = authority[..<(colon ?? authority.endIndex)]
        guard Self.isName(host) else { throw .host }
        if let colon {
            let digits = authority[authority.index(after: colon)...]
            guard let port = UInt16(digits), port > 0, String(port) == digits else {
                throw .port
            }
            guard port != 443 else { throw .portStandard }
            self.port = port
        } else {
            port = nil
        }
        guard Self.isPath(path) else { throw .path }
        description = text
        self.host = String(host)
        self.path = String(path)
    }

    /// A DNS name in lower case; the last label of an address is a number.
    private static func isName(_ host: Substring) -> Bool {
        let labels = host.split(separator: ".", omittingEmptySubsequences: false)
        guard host.utf8.count <= hostBytesMax, labels.allSatisfy(isLabel) else { return false }
        return labels.last?.utf8.allSatisfy { (0x30...0x39).contains($0) } == false
    }

    private static func isLabel(_ label: Substring) -> Bool {
        guard (1...labelBytesMax).contains(label.utf8.count), label.first != "-", label.last != "-"
        else { return false }
        return label.utf8.allSatisfy { byte in
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "0")...UInt8(ascii: "9"),
                UInt8(ascii: "-"):
                true
            default: false
            }
        }
    }

    /// Nothing, or segments of unreserved characters (RFC 3986 section 2.3).
    private static func isPath(_ path: Substring) -> Bool {
        guard !path.isEmpty else { return true }
        let segments = path.dropFirst().split(separator: "/", omittingEmptySubsequences: false)
        return segments.allSatisfy { segment in
            !segment.isEmpty && segment != "." && segment != ".."
                && segment.utf8.allSatisfy(isUnreserved)
        }
    }

    private static func isUnreserved(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "."),
            UInt8(ascii: "_"), UInt8(ascii: "~"):
            true
        default: false
        }
    }
}

/// What is wrong with a public URL, and what to write.
package enum PublicURLError: Error, Hashable, Sendable, CustomStringConvertible {
    case host
    case path
    case port
    case portStandard
    case scheme
    case tooLong

    package var description: String {
        switch self {
        case .host:
            "the host is no DNS name in lower case, without user and without dot at the end; "
                + "verifiers compare the URL byte by byte"
        case .path:
            "write a path of letters, digits and -._~ between single slashes, without slash at the "
                + "end, query or fragment"
        case .port: "the port is not a number from 1 to 65535"
        case .portStandard: "leave :443 out; verifiers compare the URL byte by byte"
        case .scheme: "write https://host, with a port or a path if need be"
        case .tooLong: "the URL has more than \(PublicURL.bytesMax) bytes"
        }
    }
}
