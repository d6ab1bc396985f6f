// SPDX-License-Identifier: Apache-2.0

/// The rule of X509-SVID (or of RFC 5280, where X509-SVID refers to it) that a certificate breaks.
///
/// `LeafCertificate` and `SPIFFEPolicy` name the same rule for the same certificate.
package enum X509SVIDError: Error, Hashable, Sendable, CustomStringConvertible {
    /// A signing certificate's name constraints do not admit the leaf's trust domain.
    case authorityConstrained
    /// A signing certificate does not allow both TLS roles although it restricts them.
    case authorityExtendedKeyUsage
    /// A signing certificate names another trust domain than the leaf (section 3.1).
    case authorityForeign
    /// A signing certificate's SPIFFE ID has a path or is malformed (section 3.1).
    case authorityIDMalformed
    /// A signing certificate lacks cA or keyCertSign (sections 4.1, 4.3).
    case authorityMayNotSign
    /// An extension is critical and means nothing to a leaf (RFC 5280 section 4.2).
    case criticalExtensionUnknown
    /// Extended key usage is there without both serverAuth and clientAuth (section 4.4).
    case extendedKeyUsageIncomplete
    /// An extension that the rules depend on does not parse.
    case extensionMalformed
    /// The leaf's ID has no path (section 3.2).
    case idHasNoPath
    /// The URI is not a SPIFFE ID (section 2).
    case idMalformed(SPIFFEIDError)
    /// Two parsers find different identities in the leaf.
    case idReadDifferently
    /// The leaf has cA=true (section 5.2).
    case leafIsAuthority
    /// The leaf may sign certificates or CRLs (section 5.2).
    case leafMaySign
    /// The leaf's key usage lacks digitalSignature (section 4.3).
    case keyUsageHasNoDigitalSignature
    /// There is no key usage (section 4.3).
    case keyUsageMissing
    /// Key usage is not critical (section 4.3).
    case keyUsageNotCritical
    /// There are more authorities in the path than one of them allows (RFC 5280 section 4.2.1.9).
    case pathTooLong
    /// The subject is empty and the alternative name is not critical (RFC 5280 section 4.2.1.6).
    case sanNotCritical
    /// The serial number is zero, negative or longer than 20 bytes (RFC 5280 section 4.1.2.2).
    case serialMalformed
    /// The certificate is signed by an algorithm that is not accepted, such as SHA-1.
    case signatureAlgorithmRefused
    /// There is more than one URI (section 2).
    case uriMany
    /// There is no URI (section 2).
    case uriMissing
    /// The certificate is not of version 3 and so can hold no ID.
    case versionNot3

    package var description: String {
        switch self {
        case .authorityConstrained: "name constraints do not admit the trust domain"
        case .authorityExtendedKeyUsage:
            "a signing certificate does not allow both serverAuth and clientAuth"
        case .authorityForeign: "a signing certificate belongs to another trust domain"
        case .authorityIDMalformed: "a signing certificate's SPIFFE ID is malformed or has a path"
        case .authorityMayNotSign: "an issuer lacks cA or keyCertSign"
        case .criticalExtensionUnknown: "the leaf has an unknown critical extension"
        case .extendedKeyUsageIncomplete: "extended key usage lacks serverAuth or clientAuth"
        case .extensionMalformed: "an extension does not parse"
        case .idHasNoPath: "the leaf's SPIFFE ID has no path"
        case .idMalformed(let error): "the URI is no SPIFFE ID: \(error)"
        case .idReadDifferently: "the leaf's identity can be read in two ways"
        case .leafIsAuthority: "a signing certificate never authenticates (cA is true)"
        case .leafMaySign: "the leaf's key usage has keyCertSign or cRLSign"
        case .keyUsageHasNoDigitalSignature: "key usage lacks digitalSignature"
        case .keyUsageMissing: "key usage is missing"
        case .keyUsageNotCritical: "key usage is not critical"
        case .pathTooLong: "the path is longer than an authority in it allows"
        case .sanNotCritical: "the subject is empty and the alternative name is not critical"
        case .serialMalformed: "the serial number is not positive or longer than 20 bytes"
        case .signatureAlgorithmRefused: "the signature algorithm is not accepted"
        case .uriMany: "the certificate has more than one URI name"
        case .uriMissing: "the certificate has no URI name"
        case .versionNot3: "the certificate is not of version 3"
        }
    }
}
