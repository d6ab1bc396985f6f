// SPDX-License-Identifier: Apache-2.0

package import SPIFFE

/// The rule that a request for a certificate breaks.
package enum IssuanceRefusal: Error, Hashable, Sendable, CustomStringConvertible {
    /// The authority has less time left than the certificate needs; a new one must be activated.
    case authorityExpiresTooSoon
    case authorityNotYetValid
    /// The wall clock is outside the years that certificates can express.
    case clockOutOfRange
    case dnsNameMalformed(String)
    /// The profile's file does not allow the name, or not so many.
    case dnsNameOutsideProfile(String)
    case dnsNameTwice(String)
    case dnsNamesTooMany(Int)
    case entryExpired
    /// The ID that the agent asked for is not what the entry gives this workload on this node.
    case idDiffersFromEntry(resolved: SPIFFEID)
    case idReserved
    case idTemplate(IDTemplateError)
    case idWithoutPath
    /// The request carries the public key of the authority itself.
    case keyOfAuthority
    /// The profile's file does not allow keys of this kind.
    case keyOutsideProfile(SubjectPublicKey.Algorithm)
    /// The certificate would live longer than the profile's file allows.
    case lifetimeExceedsProfile(max: Duration)
    case lifetimeTooLong
    case lifetimeTooShort
    /// The agent name or server ID is not one valid path segment.
    case nameMalformed
    case nodeOutsideEntry
    case trustDomainDiffers

    package var description: String {
        switch self {
        case .authorityExpiresTooSoon:
            "the authority expires before the certificate would; rotate the authority"
        case .authorityNotYetValid: "the authority is not valid yet; check the server's clock"
        case .clockOutOfRange: "the wall clock is outside the years 1970 to 9999"
        case .dnsNameMalformed(let name): "\"\(name)\" is not a DNS name in lower case"
        case .dnsNameOutsideProfile(let name):
            """
            DNS name "\(name)" is outside the profile's dnsNames; change the entry or the file in \
            the server's profileDirectory
            """
        case .dnsNameTwice(let name): "DNS name \"\(name)\" is listed twice"
        case .dnsNamesTooMany(let count):
            "\(count) DNS names; a certificate has at most \(Issuer.dnsNamesMax)"
        case .entryExpired: "the registration entry has expired"
        case .idDiffersFromEntry(let resolved): "the entry gives \(resolved), not the ID asked for"
        case .idReserved: "IDs under \(SPIFFEID.reservedPathPrefix) belong to Signet itself"
        case .idTemplate(let error): error.description
        case .idWithoutPath: "the ID of a workload has a path"
        case .keyOfAuthority: "the key in the request is the authority's own"
        case .keyOutsideProfile(let algorithm):
            """
            the profile certifies no \(algorithm) keys; make another key, or change subjectKeys of \
            the file in the server's profileDirectory
            """
        case .lifetimeExceedsProfile(let max):
            """
            the profile allows at most \(SVIDLifetimes.text(max)); shorten the lifetime, or change \
            lifetimeSecondsMax of the file in the server's profileDirectory
            """
        case .lifetimeTooLong: "the entry's lifetime exceeds the longest that the server allows"
        case .lifetimeTooShort:
            "the certificate would live less than \(SVIDLifetimes.svidMin)"
        case .nameMalformed:
            """
            the name is not one path segment of at most \(Issuer.nodeNameBytesMax) bytes \
            (SPIFFE-ID section 2.2)
            """
        case .nodeOutsideEntry: "the node does not show all node selectors of the entry"
        case .trustDomainDiffers: "the ID is in another trust domain"
        }
    }
}
