// SPDX-License-Identifier: Apache-2.0

/// A SPIFFE ID: `spiffe://<trust domain>[/<path>]` (SPIFFE-ID section 2).
///
/// Two IDs are equal only if their bytes are: nothing is folded, decoded or normalised
/// (SPIFFE-ID section 2.1, 2.2 and the reading of section 2.4 stated in docs/conformance.md).
package struct SPIFFEID: Hashable, Sendable, Comparable, CustomStringConvertible {
    /// Longest whole ID in bytes (SPIFFE-ID section 2.3).
    package static let bytesMax = 2048
    /// Everything below this path belongs to Signet itself; no registration may reach it.
    package static let reservedPathPrefix = "/signet/"

    package let trustDomain: TrustDomain
    /// Empty for the trust domain's own ID, else `/segment[/segment...]`.
    package let path: String

    /// Parses a whole ID.
    ///
    /// - Throws: `SPIFFEIDError` naming the rule that the text breaks.
    package init(_ string: String) throws(SPIFFEIDError) {
        let scheme = "spiffe://"
        guard string.utf8.count <= Self.bytesMax else { throw .tooLong }
        guard string.utf8.starts(with: scheme.utf8) else { throw .schemeNotSPIFFE }
        let rest = string.utf8.dropFirst(scheme.utf8.count)
        let slash = rest.firstIndex(of: UInt8(ascii: "/")) ?? rest.endIndex
        let authority = String(Substring(rest[..<slash]))
        if authority.utf8.contains(UInt8(ascii: "?")) { throw .hasQuery }
        if authority.utf8.contains(UInt8(ascii: "#")) { throw .hasFragment }
        let trustDomain = try TrustDomain(authority)
        try self.init(trustDomain: trustDomain, path: String(Substring(rest[slash...])))
    }

    /// Joins a trust domain and a path, which is empty or starts with `/`.
    ///
    /// - Throws: `SPIFFEIDError` naming the rule that the path or the whole ID breaks.
    package init(trustDomain: TrustDomain, path: String) throws(SPIFFEIDError) {
        try Self.check(path: path)
        guard
            "spiffe://".utf8.count + trustDomain.name.utf8.count + path.utf8.count <= Self.bytesMax
        else { throw .tooLong }
        self.trustDomain = trustDomain
        self.path = path
    }

    init(trustDomain: TrustDomain) {
        self.trustDomain = trustDomain
        self.path = ""
    }

    package var description: String { "spiffe://\(trustDomain.name)\(path)" }

    /// Whether the ID lies in the part of the trust domain that Signet keeps for itself.
    package var isReserved: Bool {
        path == "/signet" || path.utf8.starts(with: Self.reservedPathPrefix.utf8)
    }

    package static func < (lhs: Self, rhs: Self) -> Bool {
        (lhs.trustDomain, lhs.path) < (rhs.trustDomain, rhs.path)
    }

    /// Checks one path segment: `[a-zA-Z0-9._-]+`, neither `.` nor `..` (SPIFFE-ID section 2.2).
    package static func check(segment: some Collection<UInt8>) throws(SPIFFEIDError) {
        if segment.isEmpty { throw .pathEmptySegment }
        for byte in segment where !allows(byte) {
            switch byte {
            case UInt8(ascii: "?"): throw .hasQuery
            case UInt8(ascii: "#"): throw .hasFragment
            default: throw .pathCharacter(byte)
            }
        }
        if segment.count <= 2, segment.allSatisfy({ $0 == UInt8(ascii: ".") }) {
            throw .pathDotSegment
        }
    }

    private static func check(path: String) throws(SPIFFEIDError) {
        guard !path.isEmpty else { return }
        let bytes = path.utf8
        guard bytes.first == UInt8(ascii: "/") else { throw .pathNotAbsolute }
        guard bytes.last != UInt8(ascii: "/") else { throw .pathTrailingSlash }
        for segment in bytes.dropFirst().split(
            separator: UInt8(ascii: "/"),
            omittingEmptySubsequences: false
        ) {
            try check(segment: segment)
        }
    }

    private static func allows(_ byte: UInt8) -> Bool {
        TrustDomain.allows(byte) || (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(byte)
    }
}

/// The rule of SPIFFE-ID section 2 that a text breaks.
package enum SPIFFEIDError: Error, Hashable, Sendable, CustomStringConvertible {
    case hasFragment
    case hasQuery
    case pathCharacter(UInt8)
    case pathDotSegment
    case pathEmptySegment
    case pathNotAbsolute
    case pathTrailingSlash
    case schemeNotSPIFFE
    case tooLong
    case trustDomainCharacter(UInt8)
    case trustDomainEmpty
    case trustDomainHasPort
    case trustDomainHasUserinfo
    case trustDomainTooLong

    package var description: String {
        switch self {
        case .hasFragment: "a SPIFFE ID has no fragment (\"#\")"
        case .hasQuery: "a SPIFFE ID has no query (\"?\")"
        case .pathCharacter(let byte):
            "\(Self.shown(byte)) in the path: a segment holds only letters, digits, \".\", \"-\" and \"_\""
        case .pathDotSegment: "a path segment is neither \".\" nor \"..\""
        case .pathEmptySegment: "a path has no empty segment (\"//\")"
        case .pathNotAbsolute: "a path starts with \"/\""
        case .pathTrailingSlash: "a path does not end with \"/\""
        case .schemeNotSPIFFE: "a SPIFFE ID starts with \"spiffe://\" in lower case"
        case .tooLong: "a SPIFFE ID has at most \(SPIFFEID.bytesMax) bytes"
        case .trustDomainCharacter(let byte):
            "\(Self.shown(byte)) in the trust domain: only a-z, 0-9, \".\", \"-\" and \"_\" are allowed"
        case .trustDomainEmpty: "the trust domain is empty"
        case .trustDomainHasPort: "a trust domain has no port"
        case .trustDomainHasUserinfo: "a trust domain has no user information (\"@\")"
        case .trustDomainTooLong:
            "a trust domain has at most \(TrustDomain.nameBytesMax) bytes"
        }
    }

    /// A byte as the character that it is, or by its number where it is none that can be seen.
    private static func shown(_ byte: UInt8) -> String {
        // A quotation mark between two of its kind would be read as an empty text.
        if (0x20...0x7E).contains(byte), byte != UInt8(ascii: "\"") {
            return "\"\(Unicode.Scalar(byte))\""
        }
        return "byte 0x\(byte < 0x10 ? "0" : "")\(String(byte, radix: 16, uppercase: true))"
    }
}
