// SPDX-License-Identifier: Apache-2.0

package import Crypto
package import FoundationEssentials
package import SPIFFE
internal import SwiftASN1
package import X509

/// An authority that signs certificates for tests: `try TestAuthority.root("example.org")`.
package struct TestAuthority: Sendable {
    package let trustDomain: TrustDomain
    package let der: [UInt8]
    package let certificate: Certificate
    package let key: P256.Signing.PrivateKey
    /// DER of the certificates from this authority up to the root, the root left out.
    package let intermediates: [[UInt8]]
    private let now: Date

    /// A self-signed authority with the trust domain's ID.
    ///
    /// - Parameters:
    ///   - trustDomain: A bare name.
    ///   - now: The middle of the certificate's life; leaves are dated by it too.
    ///   - change: What is different about it.
    /// - Returns: The authority with its key.
    /// - Throws: If the name is no trust domain or the profile cannot be encoded.
    package static func root(
        _ trustDomain: String,
        now: Date = testNow,
        _ change: (inout TestProfile) -> Void = { _ in }
    ) throws -> TestAuthority {
        let key = P256.Signing.PrivateKey()
        var profile = try TestProfile.authority(
            "spiffe://\(trustDomain)",
            name: trustDomain,
            now: now
        )
        change(&profile)
        let certificate = try issue(
            profile,
            key: key,
            issuerSubject: profile.subject,
            issuerKey: key,
            issuerKeyID: nil
        )
        return TestAuthority(
            trustDomain: try TrustDomain(trustDomain),
            der: try encoded(certificate),
            certificate: certificate,
            key: key,
            intermediates: [],
            now: now
        )
    }

    /// An authority whose key somebody else has.
    ///
    /// - Parameters:
    ///   - trustDomain: A bare name.
    ///   - pem: Its certificate.
    ///   - pkcs8: Its key.
    ///   - now: By what its leaves are dated.
    /// - Returns: The authority with its key.
    /// - Throws: If one of them cannot be read.
    package static func stolen(
        _ trustDomain: String,
        pem: String,
        pkcs8: [UInt8],
        now: Date
    ) throws -> TestAuthority {
        let certificate = try Certificate(pemEncoded: pem)
        return TestAuthority(
            trustDomain: try TrustDomain(trustDomain),
            der: try encoded(certificate),
            certificate: certificate,
            key: try P256.Signing.PrivateKey(derRepresentation: pkcs8),
            intermediates: [],
            now: now
        )
    }

    /// An authority under this one.
    package func intermediate(
        _ change: (inout TestProfile) -> Void = { _ in }
    ) throws -> TestAuthority {
        let key = P256.Signing.PrivateKey()
        var profile = try TestProfile.authority(
            "spiffe://\(trustDomain)",
            name: "intermediate of \(trustDomain)",
            now: now
        )
        change(&profile)
        let certificate = try issue(profile, key: key)
        let der = try Self.encoded(certificate)
        return TestAuthority(
            trustDomain: trustDomain,
            der: der,
            certificate: certificate,
            key: key,
            intermediates: [der] + intermediates,
            now: now
        )
    }

    /// What certifies a key of somebody else as an authority's: DER of its certificate and of those
    /// above it, without the root.
    ///
    /// - Parameters:
    ///   - key: The key.
    ///   - change: What is different about the certificate.
    /// - Returns: The chain.
    /// - Throws: If the profile cannot be encoded.
    package func certified(
        _ key: P256.Signing.PublicKey,
        _ change: (inout TestProfile) -> Void = { _ in }
    ) throws -> [[UInt8]] {
        try intermediate { profile in
            profile.publicKey = Certificate.PublicKey(key)
            change(&profile)
        }.intermediates
    }

    /// A leaf with the given URI, which need not be a SPIFFE ID, and one defect if named.
    package func leaf(_ uri: String, _ defect: TestDefect? = nil) throws -> TestLeaf {
        try leaf(uri) { profile in defect?.spoil(&profile, now: now) }
    }

    /// A leaf with the given URI, changed by the test.
    package func leaf(_ uri: String, _ change: (inout TestProfile) -> Void) throws -> TestLeaf {
        let key = P256.Signing.PrivateKey()
        var profile = try TestProfile.leaf(uri, now: now)
        change(&profile)
        let certificate = try issue(profile, key: key)
        return TestLeaf(
            uri: uri,
            certificate: certificate,
            chain: [try Self.encoded(certificate)] + intermediates,
            key: key,
            issuedAt: now
        )
    }

    /// A bundle that holds only this authority.
    package var bundle: TrustBundle {
        TrustBundle(
            trustDomain: trustDomain,
            x509Authorities: [der],
            x509Intermediates: [],
            sequenceNumber: 1,
            refreshHintSeconds: 300
        )
    }

    private func issue(_ profile: TestProfile, key: P256.Signing.PrivateKey) throws -> Certificate {
        try Self.issue(
            profile,
            key: key,
            issuerSubject: certificate.subject,
            issuerKey: self.key,
            issuerKeyID: try certificate.extensions.subjectKeyIdentifier?.keyIdentifier
        )
    }

    private static func issue(
        _ profile: TestProfile,
        key: P256.Signing.PrivateKey,
        issuerSubject: DistinguishedName,
        issuerKey: P256.Signing.PrivateKey,
        issuerKeyID: ArraySlice<UInt8>?
    ) throws -> Certificate {
        let publicKey = profile.publicKey ?? Certificate.PublicKey(key.publicKey)
        let signer = profile.signer ?? Certificate.PrivateKey(issuerKey)
        let extensions = try profile.extensions(subjectKey: publicKey, issuerKeyID: issuerKeyID)
        guard let algorithm = profile.signatureAlgorithm else {
            return try Certificate(
                version: profile.version,
                serialNumber: .init(bytes: profile.serial),
                publicKey: publicKey,
                notValidBefore: profile.notBefore,
                notValidAfter: profile.notAfter,
                issuer: profile.issuer ?? issuerSubject,
                subject: profile.subject,
                extensions: extensions,
                issuerPrivateKey: signer
            )
        }
        return try Certificate(
            version: profile.version,
            serialNumber: .init(bytes: profile.serial),
            publicKey: publicKey,
            notValidBefore: profile.notBefore,
            notValidAfter: profile.notAfter,
            issuer: profile.issuer ?? issuerSubject,
            subject: profile.subject,
            signatureAlgorithm: algorithm,
            extensions: extensions,
            issuerPrivateKey: signer
        )
    }

    private static func encoded(_ certificate: Certificate) throws -> [UInt8] {
        var serializer = DER.Serializer()
        try serializer.serialize(certificate)
        return serializer.serializedBytes
    }
}

/// A leaf with its key and the chain to present.
package struct TestLeaf: Sendable {
    /// The URI it was made for.
    package let uri: String
    package let certificate: Certificate
    /// DER of each certificate to present, leaf first, the root left out.
    package let chain: [[UInt8]]
    package let key: P256.Signing.PrivateKey
    let issuedAt: Date

    /// DER of the leaf.
    package var der: [UInt8] { chain[0] }

    /// The certificates to present as PEM.
    package var chainPEM: String {
        chain.map { PEMDocument(type: "CERTIFICATE", derBytes: $0).pemString + "\n" }.joined()
    }

    /// The key as PEM.
    package var keyPEM: String { key.pemRepresentation }

    /// The leaf as a workload receives it.
    ///
    /// - Parameters:
    ///   - entryID: The registration entry it is said to come from.
    ///   - hint: Its hint.
    /// - Returns: The SVID with its private key.
    /// - Throws: If the URI is not a SPIFFE ID or the certificate does not parse.
    package func svid(entryID: String = "entry", hint: String = "") throws -> X509SVID {
        X509SVID(
            id: try SPIFFEID(uri),
            certificateChain: chain,
            privateKeyPKCS8: Array(key.derRepresentation),
            issuedAt: issuedAt,
            notAfter: certificate.notValidAfter,
            hint: hint,
            entryID: entryID,
            serial: try LeafCertificate(der: der).serial
        )
    }
}
