// SPDX-License-Identifier: Apache-2.0

package import FoundationEssentials
package import SPIFFE

/// A key with its certificate, by which this process certifies authorities: a server's upstream
/// authority on disk, or an offline root in the ceremony.
package struct AuthorityCertifier: Sendable {
    /// DER of its own certificate.
    package let certificate: [UInt8]
    package let notAfter: Date
    private let trustDomain: TrustDomain
    private let signer: any Signer
    private let key: SubjectPublicKey
    /// DER of its subject.
    private let name: [UInt8]
    private let keyIdentifier: KeyIdentifier
    private let validFrom: CertificateTime
    private let validUntil: CertificateTime

    /// Reads the certificate and compares it with the key.
    ///
    /// - Parameters:
    ///   - certificate: DER.
    ///   - signer: The key in it.
    ///   - trustDomain: The trust domain that it speaks for.
    /// - Throws: `AuthorityError`: `.certificateUnreadable`, `.keyUnsupported`, `.recordDiffers` if
    ///   the key is another one, `.trustDomainDiffers`.
    package init(
        certificate: [UInt8],
        signer: any Signer,
        trustDomain: TrustDomain
    ) throws(AuthorityError) {
        let reading: CertificateReading
        do {
            reading = try CertificateReading(certificate: certificate)
        } catch { throw .certificateUnreadable }
        // Repeated as it stands: whoever certified it may compute it otherwise.
        guard let stated = (try? LeafCertificate(der: certificate))?.subjectKeyID,
            let keyIdentifier = KeyIdentifier(stated: stated)
        else { throw .certificateUnreadable }
        do {
            key = try SubjectPublicKey(
                subjectPublicKeyInfo: Array(reading.subjectPublicKeyInfo)
            )
        } catch { throw .keyUnsupported(error) }
        guard signer.subjectPublicKeyInfo == key.subjectPublicKeyInfo else { throw .recordDiffers }
        guard reading.subjectAltNames?.uris == [trustDomain.id.description] else {
            throw .trustDomainDiffers
        }
        self.certificate = certificate
        self.signer = signer
        self.trustDomain = trustDomain
        self.keyIdentifier = keyIdentifier
        name = Array(reading.subject)
        validFrom = reading.notBefore
        validUntil = reading.notAfter
        notAfter = reading.notAfter.date
    }

    /// Certifies a key.
    ///
    /// - Parameters:
    ///   - publicKey: The subject's, whose holder proved that it is his.
    ///   - serverID: Part of the subject's distinguished name.
    ///   - profile: `authority` or `intermediate`, which a file may have narrowed.
    ///   - lifetime: How long it lives after `now`, if its issuer does.
    ///   - backdate: How far its validity begins before `now`.
    ///   - now: The wall clock.
    ///   - generator: The system's random numbers in production; they make the serial.
    /// - Returns: DER of the certificate.
    /// - Throws: `AuthorityError` naming what is wrong.
    package func certify(
        _ publicKey: SubjectPublicKey,
        serverID: String,
        profile: CertificateProfile,
        lifetime: Duration,
        backdate: Duration,
        now: Date,
        using generator: inout some RandomNumberGenerator
    ) throws(AuthorityError) -> [UInt8] {
        guard let instant = CertificateTime(now), let wished = instant.adding(lifetime) else {
            throw .clockOutOfRange
        }
        guard instant < validUntil else { throw .issuerEnded(notAfter) }
        let begin = instant.adding(.zero - backdate) ?? instant
        let serial = SerialNumber(using: &generator)
        let template = CertificateTemplate(
            serial: serial,
            signatureAlgorithm: key.algorithm.signatureAlgorithm,
            issuer: name,
            notBefore: max(begin, validFrom),
            notAfter: min(wished, validUntil),
            subject: try RootSubject(
                trustDomain: trustDomain,
                serverID: serverID,
                serial: serial
            ).encoded(),
            publicKey: publicKey,
            profile: profile,
            authorityKeyIdentifier: keyIdentifier,
            uri: trustDomain.id.description,
            dnsNames: []
        )
        return try template.signed(
            by: signer,
            verifying: key,
            validityMax: min(lifetime, profile.limits.lifetimeMax ?? lifetime) + backdate,
            within: (validFrom, validUntil)
        )
    }
}

extension CertificateTemplate {
    /// Lints, signs and verifies the certificate of an authority.
    ///
    /// - Parameters:
    ///   - signer: The issuer's key.
    ///   - issuerKey: Its public half.
    ///   - validityMax: The longest from notBefore to notAfter.
    ///   - validity: The issuer's own.
    /// - Returns: DER of the certificate.
    /// - Throws: `AuthorityError`: `.lint`, `.signer` or `.signatureDoesNotVerify`.
    func signed(
        by signer: any Signer,
        verifying issuerKey: SubjectPublicKey,
        validityMax: Duration,
        within validity: (from: CertificateTime, until: CertificateTime)
    ) throws(AuthorityError) -> [UInt8] {
        let tbs = encoded()
        let findings = CertificateLint.findings(
            tbs: tbs,
            expectation: LintExpectation(
                self,
                validityMax: validityMax,
                authorityNotBefore: validity.from,
                authorityNotAfter: validity.until
            )
        )
        guard findings.isEmpty else { throw .lint(findings) }
        let signature: [UInt8]
        do { signature = try signer.signature(for: tbs) } catch { throw .signer(error) }
        let certificate = SignedCertificate(
            tbs: tbs,
            algorithm: signatureAlgorithm,
            signature: signature
        )
        guard certificate.verifies(with: issuerKey) else { throw .signatureDoesNotVerify }
        return certificate.encoded()
    }
}

extension TrustDomain {
    /// Whether a name constraint of URIs can stand for the trust domain: it is a DNS name with a dot
    /// and no address (RFC 5280 section 4.2.1.10), of at most 121 bytes.
    package var fitsNameConstraints: Bool {
        DNSName.isWellFormed(name) && name.utf8.contains(UInt8(ascii: "."))
            && name.utf8.count < 0x7A
    }
}
