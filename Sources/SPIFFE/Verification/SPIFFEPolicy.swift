// SPDX-License-Identifier: Apache-2.0

package import SwiftASN1
package import X509

/// X509-SVID's rules for a whole path, to be used together with `RFC5280Policy`.
///
/// `RFC5280Policy` accepts key usage without looking and ignores extended key usage; this policy
/// looks at both. Its rules for the leaf are those of `LeafCertificate.checkSVIDRules()`, written a
/// second time over another parser: a difference between the two readings refuses the peer.
package struct SPIFFEPolicy: VerifierPolicy {
    /// The identity that the other reading of the leaf found.
    private let id: SPIFFEID
    private var trustDomain: TrustDomain { id.trustDomain }

    /// - Parameter id: The leaf's identity as `LeafCertificate` read it; the path leads to the
    ///   bundle of its trust domain.
    package init(id: SPIFFEID) {
        self.id = id
    }

    package var verifyingCriticalExtensions: [ASN1ObjectIdentifier] {
        [.X509ExtensionID.subjectAlternativeName, .X509ExtensionID.extendedKeyUsage]
    }

    package func chainMeetsPolicyRequirements(
        chain: UnverifiedCertificateChain
    ) -> PolicyEvaluationResult {
        do throws(X509SVIDError) {
            guard try Self.check(leaf: chain.leaf) == id else { throw .idReadDifferently }
            let above = Array(chain.dropFirst())
            try Self.check(authorities: above, of: trustDomain)
            return .meetsPolicy
        } catch {
            return .failsToMeetPolicy(reason: "\(error)")
        }
    }

    /// Checks a leaf without regard to its issuer.
    ///
    /// - Returns: The identity, whose path is not empty.
    /// - Throws: The same `X509SVIDError` as `LeafCertificate.checkSVIDRules()`.
    @discardableResult
    package static func check(leaf: Certificate) throws(X509SVIDError) -> SPIFFEID {
        guard leaf.version == .v3 else { throw .versionNot3 }
        try check(signatureAlgorithm: leaf.signatureAlgorithm)
        try check(serial: leaf.serialNumber)
        let extensions = leaf.extensions
        guard extensions.allSatisfy({ !$0.critical || criticalInLeaf.contains($0.oid) }) else {
            throw .criticalExtensionUnknown
        }
        if case .isCertificateAuthority = try decoded({ try extensions.basicConstraints }) {
            throw .leafIsAuthority
        }
        guard let keyUsage = try decoded({ try extensions.keyUsage }) else {
            throw .keyUsageMissing
        }
        guard extensions[oid: .X509ExtensionID.keyUsage]?.critical == true else {
            throw .keyUsageNotCritical
        }
        guard !keyUsage.keyCertSign, !keyUsage.cRLSign else { throw .leafMaySign }
        guard keyUsage.digitalSignature else { throw .keyUsageHasNoDigitalSignature }
        if let usages = try decoded({ try extensions.extendedKeyUsage }) {
            guard usages.contains(.serverAuth), usages.contains(.clientAuth) else {
                throw .extendedKeyUsageIncomplete
            }
        }
        let uris = try uris(of: leaf)
        guard let uri = uris.first else { throw .uriMissing }
        guard uris.count == 1 else { throw .uriMany }
        let id: SPIFFEID
        do throws(SPIFFEIDError) { id = try SPIFFEID(uri) } catch { throw .idMalformed(error) }
        guard !id.path.isEmpty else { throw .idHasNoPath }
        let alternativeName = extensions[oid: .X509ExtensionID.subjectAlternativeName]
        guard !leaf.subject.isEmpty || alternativeName?.critical == true else {
            throw .sanNotCritical
        }
        return id
    }

    /// Checks everything above a leaf, the trusted authority last.
    static func check(
        authorities: [Certificate],
        of trustDomain: TrustDomain
    ) throws(X509SVIDError) {
        for certificate in authorities.dropLast() {
            try check(signatureAlgorithm: certificate.signatureAlgorithm)
        }
        for certificate in authorities { try check(authority: certificate, of: trustDomain) }
    }

    /// Checks an issuer in the path, the trusted authority included.
    private static func check(
        authority: Certificate,
        of trustDomain: TrustDomain
    ) throws(X509SVIDError) {
        let extensions = authority.extensions
        // swift-certificates lets any version 1 certificate issue; those have no cA to show here.
        guard
            case .isCertificateAuthority = try decoded({ try extensions.basicConstraints }),
            let keyUsage = try decoded({ try extensions.keyUsage }), keyUsage.keyCertSign
        else { throw .authorityMayNotSign }
        if let usages = try decoded({ try extensions.extendedKeyUsage }) {
            guard
                usages.contains(.any)
                    || usages.contains(.serverAuth) && usages.contains(.clientAuth)
            else { throw .authorityExtendedKeyUsage }
        }
        if let constraints = try decoded({ try extensions.nameConstraints }) {
            // swift-certificates reads them as DNS constraints: a permitted `td` admits what lies below
            // it too, an excluded `.td` leaves `td` itself, and a host that looks like an address is
            // excluded by nothing.
            let constraints = URIConstraints(
                permitted: Array(constraints.permittedURIDomains),
                excluded: Array(constraints.forbiddenURIDomains)
            )
            guard constraints.admit(trustDomain) else { throw .authorityConstrained }
        }
        let uris = try uris(of: authority)
        guard uris.count <= 1 else { throw .uriMany }
        // Without a SPIFFE ID it is no SVID, and X509-SVID asks nothing more of it.
        guard let uri = uris.first, uri.utf8.starts(with: "spiffe:".utf8) else { return }
        guard let id = try? SPIFFEID(uri), id.path.isEmpty else { throw .authorityIDMalformed }
        guard id.trustDomain == trustDomain else { throw .authorityForeign }
        guard extensions[oid: .X509ExtensionID.keyUsage]?.critical == true else {
            throw .keyUsageNotCritical
        }
    }

    /// Refuses SHA-1 and what swift-certificates does not know.
    private static func check(
        signatureAlgorithm: Certificate.SignatureAlgorithm
    ) throws(X509SVIDError) {
        guard signatureAlgorithmsAccepted.contains(signatureAlgorithm) else {
            throw .signatureAlgorithmRefused
        }
    }

    private static func check(serial: Certificate.SerialNumber) throws(X509SVIDError) {
        let magnitude = serial.bytes.drop { $0 == 0 }
        guard !magnitude.isEmpty, magnitude.count <= LeafCertificate.serialBytesMax else {
            throw .serialMalformed
        }
    }

    private static func uris(of certificate: Certificate) throws(X509SVIDError) -> [String] {
        guard let names = try decoded({ try certificate.extensions.subjectAlternativeNames }) else {
            return []
        }
        return names.compactMap { name in
            if case .uniformResourceIdentifier(let uri) = name { uri } else { nil }
        }
    }

    private static func decoded<Value>(
        _ extension: () throws -> Value?
    ) throws(X509SVIDError) -> Value? {
        do { return try `extension`() } catch { throw .extensionMalformed }
    }

    private static let criticalInLeaf: Set<ASN1ObjectIdentifier> = [
        .X509ExtensionID.basicConstraints, .X509ExtensionID.extendedKeyUsage,
        .X509ExtensionID.keyUsage, .X509ExtensionID.subjectAlternativeName,
    ]

    private static let signatureAlgorithmsAccepted: Set<Certificate.SignatureAlgorithm> = [
        .ecdsaWithSHA256, .ecdsaWithSHA384, .ecdsaWithSHA512, .ed25519, .sha256WithRSAEncryption,
        .sha384WithRSAEncryption, .sha512WithRSAEncryption,
    ]
}
