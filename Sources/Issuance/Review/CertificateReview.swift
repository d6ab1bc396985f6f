// SPDX-License-Identifier: Apache-2.0

internal import Crypto
package import FoundationEssentials
internal import SPIFFE

/// A certificate as a server's records have it: enough to make its TBSCertificate again.
package struct RecordedCertificate: Hashable, Sendable {
    package var serial: [UInt8]
    package var role: SubjectRole
    /// The SPIFFE ID, as text.
    package var id: String
    package var dnsNames: [String]
    /// DER of the subject's SubjectPublicKeyInfo.
    package var spki: [UInt8]
    package var notBefore: Date
    package var notAfter: Date
    /// SHA-256 of the TBSCertificate that was meant to be signed.
    package var tbsSHA256: [UInt8]

    package init(
        serial: [UInt8],
        role: SubjectRole,
        id: String,
        dnsNames: [String],
        spki: [UInt8],
        notBefore: Date,
        notAfter: Date,
        tbsSHA256: [UInt8]
    ) {
        self.serial = serial
        self.role = role
        self.id = id
        self.dnsNames = dnsNames
        self.spki = spki
        self.notBefore = notBefore
        self.notAfter = notAfter
        self.tbsSHA256 = tbsSHA256
    }
}

/// What is wrong with a certificate that was made again from its record.
package enum CertificateDefect: Hashable, Sendable {
    /// The record says something else than what was signed.
    case digest
    /// The names of the lint rules that it breaks by today's lifetimes and profile.
    case lint([String])
    /// No certificate can be made of the record; the field.
    case record(String)
}

/// Makes what one authority signed again, and reads it by today's rules.
package struct CertificateReview: Sendable {
    /// The lint rule that depends on the server's lifetimes, which no record of a start has.
    package static let lifetimeRule = "signet-validity-within-limit"

    private let authority: AuthorityCertificate
    private let lifetimes: SVIDLifetimes
    private let profiles: CertificateProfiles

    /// Reads an authority's certificate, in whichever state the authority is.
    ///
    /// - Throws: `AuthorityError`: `.certificateUnreadable`, `.keyUnsupported` or `.recordDiffers`.
    package init(
        authority: Authority,
        lifetimes: SVIDLifetimes,
        profiles: CertificateProfiles
    ) throws(AuthorityError) {
        self.authority = try AuthorityCertificate(of: authority)
        self.lifetimes = lifetimes
        self.profiles = profiles
    }

    /// What is wrong with a certificate; empty if it is what was signed and may be signed today.
    package func defects(of certificate: RecordedCertificate) -> [CertificateDefect] {
        guard let serial = SerialNumber(bytes: certificate.serial) else {
            return [.record("serial")]
        }
        guard let key = try? SubjectPublicKey(subjectPublicKeyInfo: certificate.spki) else {
            return [.record("key")]
        }
        guard let notBefore = CertificateTime(certificate.notBefore),
            let notAfter = CertificateTime(certificate.notAfter)
        else { return [.record("validity")] }
        let profile = profiles[certificate.role]
        let template = CertificateTemplate(
            serial: serial,
            signatureAlgorithm: authority.key.algorithm.signatureAlgorithm,
            issuer: authority.name,
            notBefore: notBefore,
            notAfter: notAfter,
            subject: CertificateTemplate.emptyName,
            publicKey: key,
            profile: profile,
            authorityKeyIdentifier: authority.keyIdentifier,
            uri: certificate.id,
            dnsNames: certificate.dnsNames
        )
        let tbs = template.encoded()
        var defects: [CertificateDefect] = []
        if !SHA256.hash(data: tbs).elementsEqual(certificate.tbsSHA256) { defects.append(.digest) }
        let rules = CertificateLint.findings(
            tbs: tbs,
            expectation: LintExpectation(
                template,
                validityMax: lifetimes.validityMax(of: certificate.role, within: profile),
                authorityNotBefore: authority.notBefore,
                authorityNotAfter: authority.notAfter
            )
        )
        if !rules.isEmpty { defects.append(.lint(rules)) }
        return defects
    }
}
