// SPDX-License-Identifier: Apache-2.0

/// The name of a trust domain, for example `example.org` (SPIFFE-ID section 2.1).
///
/// The name is stored exactly as given: names are refused, never folded or repaired. A name that
/// looks like an IP address or a DNS name gets no special treatment.
package struct TrustDomain: Hashable, Sendable, Comparable, CustomStringConvertible {
    /// Longest name in bytes (the host limit of RFC 3986 that SPIFFE-ID section 2.3 refers to).
    package static let nameBytesMax = 255

    /// The bare name, without scheme.
    package let name: String

    /// Parses a bare trust domain name.
    ///
    /// - Throws: `SPIFFEIDError` naming the rule that the name breaks.
    package init(_ name: String) throws(SPIFFEIDError) {
        guard !name.isEmpty else { throw .trustDomainEmpty }
        guard name.utf8.count <= Self.nameBytesMax else { throw .trustDomainTooLong }
        for byte in name.utf8 where !Self.allows(byte) {
            switch byte {
            case UInt8(ascii: "@"): throw .trustDomainHasUserinfo
            case UInt8(ascii: ":"): throw .trustDomainHasPort
            default: throw .trustDomainCharacter(byte)
            }
        }
        self.name = name
    }

    /// The SPIFFE ID of the trust domain itself, which has no path: `spiffe://example.org`.
    package var id: SPIFFEID { SPIFFEID(trustDomain: self) }

    package var description: String { name }

    package static func < (lhs: Self, rhs: Self) -> Bool { lhs.name < rhs.name }

    static func allows(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "0")...UInt8(ascii: "9"),
            UInt8(ascii: "."), UInt8(ascii: "-"), UInt8(ascii: "_"):
            true
        default: false
        }
    }
}
