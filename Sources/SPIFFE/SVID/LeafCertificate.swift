// SPDX-License-Identifier: Apache-2.0

package import FoundationEssentials

/// What an X.509 certificate says, read strictly from its DER, and the X509-SVID rules for leaves.
///
/// The reader verifies no signature: what it returns counts only once a path to a trusted
/// authority is verified (`PeerVerifier`, or a TLS library followed by `checkSVIDRules()`).
/// It reads signing certificates too, so that their key can be named by its hash.
/// No input makes it trap, and what it accepts has one reading only.
package struct LeafCertificate: Hashable, Sendable {
    /// Largest certificate read; an SVID with a 2,048-byte ID and an RSA-4096 key needs 4 KiB.
    package static let bytesMax = 16 * 1024
    /// Most extensions read; SVIDs carry about seven, and swift-certificates stops at the same 32.
    package static let extensionsMax = 32
    /// Longest serial number in bytes (RFC 5280 section 4.1.2.2).
    package static let serialBytesMax = 20

    /// The serial number, big-endian, without the leading zero that DER adds to keep it positive.
    package let serial: [UInt8]
    package let notBefore: Date
    /// The last instant of validity, itself included (RFC 5280 section 4.1.2.5).
    package let notAfter: Date
    /// DER of the whole SubjectPublicKeyInfo.
    package let spkiBytes: [UInt8]
    package let spkiSHA256: [UInt8]
    /// DER of the TBSCertificate: all that the signature covers.
    package let tbsBytes: [UInt8]
    package let authorityKeyID: [UInt8]?
    package let subjectKeyID: [UInt8]?
    /// Whether basicConstraints says cA=true.
    package let isCA: Bool
    /// nil if there is no key usage extension.
    package let keyUsage: KeyUsageBits?
    /// The object identifiers' content bytes, in order; nil if there is no such extension.
    package let extendedKeyUsages: [[UInt8]]?
    package let dnsNames: [String]
    /// Every URI of the alternative name, in order, as written.
    package let uriNames: [String]

    /// How many authorities may stand between this one and a leaf; nil if that is not limited.
    let pathLength: Int?
    /// Whether issuer and subject are the same name.
    let isSelfIssued: Bool
    let hasEmptySubject: Bool
    let serialIsNegative: Bool
    let signatureAlgorithm: [UInt8]
    let keyUsageIsCritical: Bool
    let subjectAlternativeNameIsCritical: Bool
    let hasUnknownCriticalExtension: Bool
    let hasUnknownCriticalExtensionForAuthority: Bool
    /// What a signing certificate's name constraints say of URIs; nil if it has none at all.
    let uriConstraints: URIConstraints?
    private let identity: Result<SPIFFEID, X509SVIDError>
    /// How many of the last bytes of `spkiBytes` are the key itself.
    private let publicKeyBytesCount: Int

    /// Reads one certificate; bytes after it are an error.
    ///
    /// - Parameter der: The certificate in DER.
    /// - Throws: `LeafCertificateError` naming what is wrong with the encoding.
    package init(der: [UInt8]) throws(LeafCertificateError) {
        let fields = try CertificateFields(der: der)
        let extensions = fields.extensions
        serial = fields.serialIsNegative ? fields.serial : Array(fields.serial.drop { $0 == 0 })
        serialIsNegative = fields.serialIsNegative
        notBefore = fields.notBefore
        notAfter = fields.notAfter
        spkiBytes = fields.spki
        spkiSHA256 = sha256(fields.spki)
        publicKeyBytesCount = fields.publicKeyBytesCount
        tbsBytes = fields.tbs
        pathLength = extensions.pathLength
        isSelfIssued = fields.isSelfIssued
        hasEmptySubject = fields.hasEmptySubject
        signatureAlgorithm = fields.signatureAlgorithm
        authorityKeyID = extensions.authorityKeyID
        subjectKeyID = extensions.subjectKeyID
        isCA = extensions.isCA
        keyUsage = extensions.keyUsage
        keyUsageIsCritical = extensions.keyUsageIsCritical
        extendedKeyUsages = extensions.extendedKeyUsages
        dnsNames = extensions.dnsNames
        uriNames = extensions.uriNames
        subjectAlternativeNameIsCritical = extensions.subjectAlternativeNameIsCritical
        hasUnknownCriticalExtension = extensions.hasUnknownCritical
        hasUnknownCriticalExtensionForAuthority = extensions.hasUnknownCriticalForAuthority
        uriConstraints = extensions.uriConstraints
        identity = Self.identity(uriNames: extensions.uriNames)
    }

    /// The identifier of the certificate's own key, computed from it: `subjectKeyID` is what the
    /// certificate says.
    package var keyIdentifier: KeyIdentifier {
        KeyIdentifier(hashing: spkiBytes.suffix(publicKeyBytesCount))
    }

    /// The SPIFFE ID, with or without a path; nil unless the only URI is one.
    package var spiffeID: SPIFFEID? {
        switch identity {
        case .success(let id): id
        case .failure: nil
        }
    }

    /// Whether name constraints are there that say something of other names than URIs.
    package var constrainsOtherNames: Bool { uriConstraints?.constrainsOthers ?? false }

    /// Whether `now` lies in the certificate's own validity, both ends included.
    package func isValid(at now: Date) -> Bool {
        notBefore <= now && now <= notAfter
    }

    /// Checks that the certificate may authenticate a peer as an X509-SVID leaf.
    ///
    /// - Returns: The identity, whose path is not empty.
    /// - Throws: `X509SVIDError` naming the first rule broken.
    /// - SeeAlso: X509-SVID sections 2 to 5; docs/conformance.md rows.
    @discardableResult
    package func checkSVIDRules() throws(X509SVIDError) -> SPIFFEID {
        guard Self.signatureAlgorithmsAccepted.contains(signatureAlgorithm) else {
            throw .signatureAlgorithmRefused
        }
        guard !serialIsNegative, !serial.isEmpty, serial.count <= Self.serialBytesMax else {
            throw .serialMalformed
        }
        guard !hasUnknownCriticalExtension else { throw .criticalExtensionUnknown }
        guard !isCA else { throw .leafIsAuthority }
        guard let keyUsage else { throw .keyUsageMissing }
        guard keyUsageIsCritical else { throw .keyUsageNotCritical }
        guard keyUsage.isDisjoint(with: [.keyCertSign, .cRLSign]) else { throw .leafMaySign }
        guard keyUsage.contains(.digitalSignature) else { throw .keyUsageHasNoDigitalSignature }
        if let extendedKeyUsages {
            guard extendedKeyUsages.contains(Self.serverAuth),
                extendedKeyUsages.contains(Self.clientAuth)
            else { throw .extendedKeyUsageIncomplete }
        }
        let id = try identity.get()
        guard !id.path.isEmpty else { throw .idHasNoPath }
        guard !hasEmptySubject || subjectAlternativeNameIsCritical else { throw .sanNotCritical }
        return id
    }

    private static func identity(uriNames: [String]) -> Result<SPIFFEID, X509SVIDError> {
        guard let uri = uriNames.first else { return .failure(.uriMissing) }
        guard uriNames.count == 1 else { return .failure(.uriMany) }
        do throws(SPIFFEIDError) {
            return .success(try SPIFFEID(uri))
        } catch {
            return .failure(.idMalformed(error))
        }
    }

    /// id-kp-serverAuth, 1.3.6.1.5.5.7.3.1.
    package static let serverAuth: [UInt8] = [0x2B, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x01]
    /// id-kp-clientAuth, 1.3.6.1.5.5.7.3.2.
    package static let clientAuth: [UInt8] = [0x2B, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x02]

    /// ECDSA and RSA PKCS#1 with SHA-2, and Ed25519: what swift-certificates verifies, less SHA-1.
    static let signatureAlgorithmsAccepted: Set<[UInt8]> = [
        [0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x04, 0x03, 0x02],
        [0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x04, 0x03, 0x03],
        [0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x04, 0x03, 0x04],
        [0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x0B],
        [0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x0C],
        [0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x0D],
        [0x2B, 0x65, 0x70],
    ]
}

/// The bits of the key usage extension (RFC 5280 section 4.2.1.3), first bit highest.
package struct KeyUsageBits: OptionSet, Hashable, Sendable {
    package static let digitalSignature = Self(rawValue: 1 << 15)
    package static let nonRepudiation = Self(rawValue: 1 << 14)
    package static let keyEncipherment = Self(rawValue: 1 << 13)
    package static let dataEncipherment = Self(rawValue: 1 << 12)
    package static let keyAgreement = Self(rawValue: 1 << 11)
    package static let keyCertSign = Self(rawValue: 1 << 10)
    package static let cRLSign = Self(rawValue: 1 << 9)
    package static let encipherOnly = Self(rawValue: 1 << 8)
    package static let decipherOnly = Self(rawValue: 1 << 7)

    package let rawValue: UInt16

    package init(rawValue: UInt16) {
        self.rawValue = rawValue
    }
}

/// What is wrong with the encoding of a certificate.
package enum LeafCertificateError: Error, Hashable, Sendable, CustomStringConvertible {
    case bitStringMalformed
    case booleanMalformed
    /// A value equal to its default is encoded, which DER forbids (X.690 section 11.5).
    case defaultEncoded
    case extensionRepeated
    case extensionsTooMany
    case integerMalformed
    case lengthNotMinimal
    case nameNotIA5
    case objectIdentifierMalformed
    /// A SEQUENCE OF or SET OF that needs an element has none.
    case sequenceEmpty
    /// The signed and the outer algorithm differ (RFC 5280 section 4.1.1.2).
    case signatureAlgorithmsDiffer
    case tagMultibyte
    case tagUnexpected(UInt8)
    case timeMalformed
    case tooLong
    case trailingBytes
    case truncated
    case versionNot3

    package var description: String {
        switch self {
        case .bitStringMalformed: "malformed BIT STRING"
        case .booleanMalformed: "malformed BOOLEAN"
        case .defaultEncoded: "a default value is encoded"
        case .extensionRepeated: "an extension occurs twice"
        case .extensionsTooMany: "more than \(LeafCertificate.extensionsMax) extensions"
        case .integerMalformed: "malformed INTEGER"
        case .lengthNotMinimal: "a length is not in its shortest definite form"
        case .nameNotIA5: "a name holds bytes above 127"
        case .objectIdentifierMalformed: "malformed OBJECT IDENTIFIER"
        case .sequenceEmpty: "a list that needs an element is empty"
        case .signatureAlgorithmsDiffer: "the signed and the outer signature algorithm differ"
        case .tagMultibyte: "a tag of more than one byte"
        case .tagUnexpected(let tag): "unexpected tag \(tag)"
        case .timeMalformed: "malformed UTCTime or GeneralizedTime"
        case .tooLong: "more than \(LeafCertificate.bytesMax) bytes"
        case .trailingBytes: "bytes after the end of a value"
        case .truncated: "the bytes end too early"
        case .versionNot3: "not a version 3 certificate"
        }
    }
}
