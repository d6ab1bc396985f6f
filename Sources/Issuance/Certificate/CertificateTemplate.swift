// SPDX-License-Identifier: Apache-2.0

internal import SPIFFE
internal import SwiftASN1

/// Everything that a TBSCertificate says (RFC 5280 section 4.1), before encoding.
struct CertificateTemplate {
    let serial: SerialNumber
    /// How the issuer signs.
    let signatureAlgorithm: SignatureAlgorithm
    /// DER of the issuer's Name, byte for byte as in the authority's certificate.
    let issuer: [UInt8]
    let notBefore: CertificateTime
    let notAfter: CertificateTime
    /// DER of the subject's Name.
    let subject: [UInt8]
    let publicKey: SubjectPublicKey
    let profile: CertificateProfile
    let authorityKeyIdentifier: KeyIdentifier
    /// The one URI name.
    let uri: String
    let dnsNames: [String]

    /// A Name without any attribute.
    static let emptyName: [UInt8] = [0x30, 0x00]

    /// DER of the TBSCertificate.
    func encoded() -> [UInt8] {
        var der = DER.Serializer()
        der.appendConstructedNode(identifier: .sequence) { der in
            // version [0] EXPLICIT INTEGER 2: v3.
            der.serializeRawBytes([0xA0, 0x03, 0x02, 0x01, 0x02])
            der.appendPrimitiveNode(identifier: .integer) { $0.append(contentsOf: serial.bytes) }
            der.serializeRawBytes(signatureAlgorithm.identifierDER)
            der.serializeRawBytes(issuer)
            der.appendConstructedNode(identifier: .sequence) { der in
                der.append(notBefore)
                der.append(notAfter)
            }
            der.serializeRawBytes(subject)
            der.serializeRawBytes(publicKey.subjectPublicKeyInfo)
            der.appendConstructedNode(
                identifier: ASN1Identifier(tagWithNumber: 3, tagClass: .contextSpecific)
            ) { der in
                der.appendConstructedNode(identifier: .sequence) { der in
                    appendExtensions(to: &der)
                }
            }
        }
        return der.serializedBytes
    }

    private func appendExtensions(to der: inout DER.Serializer) {
        der.serializeRawBytes(
            profile.isAuthority ? Self.encodedExtensions(of: profile) : Self.leafExtensions
        )
        der.appendExtension(.subjectKeyIdentifier, isCritical: false) { der in
            der.appendPrimitiveNode(identifier: .octetString) {
                $0.append(contentsOf: KeyIdentifier(of: publicKey).bytes)
            }
        }
        der.appendAuthorityKeyIdentifier(authorityKeyIdentifier)
        // RFC 5280 section 4.2.1.6: critical exactly if the subject is empty.
        der.appendExtension(.subjectAltName, isCritical: subject == Self.emptyName) { der in
            der.appendConstructedNode(identifier: .sequence) { der in
                der.appendPrimitiveNode(identifier: .uriNameTag) {
                    $0.append(contentsOf: uri.utf8)
                }
                for name in dnsNames {
                    der.appendPrimitiveNode(identifier: .dnsNameTag) {
                        $0.append(contentsOf: name.utf8)
                    }
                }
            }
        }
        if profile.limits.constrainsNames { appendNameConstraints(to: &der) }
    }

    /// Permits URIs of the subject's own trust domain alone (RFC 5280 section 4.2.1.10).
    private func appendNameConstraints(to der: inout DER.Serializer) {
        let host = uri.dropFirst("spiffe://".count)
        der.appendExtension(.nameConstraints, isCritical: true) { der in
            der.appendConstructedNode(identifier: .sequence) { der in
                der.appendConstructedNode(identifier: .permittedSubtreesTag) { der in
                    der.appendConstructedNode(identifier: .sequence) { der in
                        der.appendPrimitiveNode(identifier: .uriNameTag) {
                            $0.append(contentsOf: host.utf8)
                        }
                    }
                }
            }
        }
    }

    private static let leafExtensions = encodedExtensions(of: .leaf)

    /// The extensions that are the same in every certificate of a profile.
    static func encodedExtensions(of profile: CertificateProfile) -> [UInt8] {
        var der = DER.Serializer()
        der.appendExtension(.keyUsage, isCritical: true) { der in
            der.appendPrimitiveNode(identifier: .bitString) {
                // DER drops trailing zero bits of a named bit list (X.690 section 11.2.2).
                $0.append(UInt8(truncatingIfNeeded: profile.keyUsage.rawValue.trailingZeroBitCount))
                $0.append(profile.keyUsage.rawValue)
            }
        }
        if profile.isForTLSPeers {
            der.appendExtension(.extendedKeyUsage, isCritical: false) { der in
                der.appendConstructedNode(identifier: .sequence) { der in
                    der.append(.serverAuth)
                    der.append(.clientAuth)
                }
            }
        }
        der.appendExtension(.basicConstraints, isCritical: true) { der in
            der.appendConstructedNode(identifier: .sequence) { der in
                guard let pathLength = profile.pathLength else { return }
                // cA TRUE, pathLenConstraint.
                der.serializeRawBytes([0x01, 0x01, 0xFF, 0x02, 0x01, UInt8(clamping: pathLength)])
            }
        }
        return der.serializedBytes
    }
}

extension LintExpectation {
    /// What the template says, within the given limits.
    init(
        _ template: CertificateTemplate,
        validityMax: Duration,
        authorityNotBefore: CertificateTime,
        authorityNotAfter: CertificateTime
    ) {
        self.init(
            profile: template.profile,
            id: template.uri,
            dnsNames: template.dnsNames,
            subjectPublicKeyInfo: template.publicKey.subjectPublicKeyInfo,
            serial: template.serial.bytes,
            signatureAlgorithm: template.signatureAlgorithm,
            notBefore: template.notBefore.date,
            notAfter: template.notAfter.date,
            validityMax: validityMax,
            issuer: template.issuer,
            authorityKeyIdentifier: template.authorityKeyIdentifier.bytes,
            authorityNotBefore: authorityNotBefore.date,
            authorityNotAfter: authorityNotAfter.date
        )
    }
}

/// An object identifier by the content of its DER encoding.
struct EncodedIdentifier {
    let bytes: [UInt8]

    static let authorityKeyIdentifier = Self(bytes: [0x55, 0x1D, 0x23])
    static let basicConstraints = Self(bytes: [0x55, 0x1D, 0x13])
    static let cRLNumber = Self(bytes: [0x55, 0x1D, 0x14])
    static let clientAuth = Self(bytes: [0x2B, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x02])
    static let extendedKeyUsage = Self(bytes: [0x55, 0x1D, 0x25])
    static let extensionRequest = Self(
        bytes: [0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x09, 0x0E]
    )
    static let keyUsage = Self(bytes: [0x55, 0x1D, 0x0F])
    static let nameConstraints = Self(bytes: [0x55, 0x1D, 0x1E])
    static let serverAuth = Self(bytes: [0x2B, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x01])
    static let subjectAltName = Self(bytes: [0x55, 0x1D, 0x11])
    static let subjectKeyIdentifier = Self(bytes: [0x55, 0x1D, 0x0E])
    static let commonName = Self(bytes: [0x55, 0x04, 0x03])
    static let organization = Self(bytes: [0x55, 0x04, 0x0A])
    static let serialNumber = Self(bytes: [0x55, 0x04, 0x05])
}

extension ASN1Identifier {
    /// GeneralName dNSName [2] (RFC 5280 section 4.2.1.6).
    static let dnsNameTag = Self(tagWithNumber: 2, tagClass: .contextSpecific)
    /// AuthorityKeyIdentifier keyIdentifier [0] (RFC 5280 section 4.2.1.1).
    static let keyIdentifierTag = Self(tagWithNumber: 0, tagClass: .contextSpecific)
    /// NameConstraints permittedSubtrees [0] (RFC 5280 section 4.2.1.10).
    static let permittedSubtreesTag = Self(tagWithNumber: 0, tagClass: .contextSpecific)
    /// GeneralName uniformResourceIdentifier [6].
    static let uriNameTag = Self(tagWithNumber: 6, tagClass: .contextSpecific)
}

extension DER.Serializer {
    mutating func append(_ identifier: EncodedIdentifier) {
        appendPrimitiveNode(identifier: .objectIdentifier) {
            $0.append(contentsOf: identifier.bytes)
        }
    }

    /// UTCTime until 2049, GeneralizedTime from 2050 (RFC 5280 section 4.1.2.5).
    mutating func append(_ time: CertificateTime) {
        let civil = time.civil
        let isGeneralized = time.secondsSince1970 >= CertificateTime.generalizedTimeStart
        appendPrimitiveNode(identifier: isGeneralized ? .generalizedTime : .utcTime) { bytes in
            if isGeneralized { bytes.appendTwoDigits(civil.year / 100) }
            for field in [
                civil.year % 100, civil.month, civil.day, civil.hour, civil.minute, civil.second,
            ] {
                bytes.appendTwoDigits(field)
            }
            bytes.append(UInt8(ascii: "Z"))
        }
    }

    /// The extension that names the signing key, with nothing but its identifier.
    mutating func appendAuthorityKeyIdentifier(_ keyIdentifier: KeyIdentifier) {
        appendExtension(.authorityKeyIdentifier, isCritical: false) { der in
            der.appendConstructedNode(identifier: .sequence) { der in
                der.appendPrimitiveNode(identifier: .keyIdentifierTag) {
                    $0.append(contentsOf: keyIdentifier.bytes)
                }
            }
        }
    }

    /// One Extension; `value` writes what the OCTET STRING holds.
    mutating func appendExtension(
        _ identifier: EncodedIdentifier,
        isCritical: Bool,
        _ value: (inout DER.Serializer) -> Void
    ) {
        appendConstructedNode(identifier: .sequence) { der in
            der.append(identifier)
            if isCritical { der.serializeRawBytes([0x01, 0x01, 0xFF]) }
            var inner = DER.Serializer()
            value(&inner)
            der.appendPrimitiveNode(identifier: .octetString) {
                $0.append(contentsOf: inner.serializedBytes)
            }
        }
    }
}

extension [UInt8] {
    fileprivate mutating func appendTwoDigits(_ number: Int) {
        append(UInt8(ascii: "0") + UInt8(truncatingIfNeeded: number / 10 % 10))
        append(UInt8(ascii: "0") + UInt8(truncatingIfNeeded: number % 10))
    }
}
