// SPDX-License-Identifier: Apache-2.0

internal import Crypto
package import FoundationEssentials
package import SPIFFE

/// A certificate that is complete and linted but not signed: the server commits this intent, with
/// the audit leaf, before the signature exists.
package struct PreparedCertificate: Hashable, Sendable {
    package let serial: SerialNumber
    package let role: SubjectRole
    package let id: SPIFFEID
    package let entry: EntryReference?
    package let authorityID: String
    package let notBefore: Date
    package let notAfter: Date
    package let dnsNames: [String]
    /// DER of the subject's SubjectPublicKeyInfo.
    package let spki: [UInt8]
    /// SHA-256 of the subject's SubjectPublicKeyInfo.
    package let spkiSHA256: [UInt8]
    /// SHA-256 of the TBSCertificate that will be signed.
    package let tbsSHA256: [UInt8]
    let tbs: [UInt8]
    let signatureAlgorithm: SignatureAlgorithm

    /// Encodes and lints the certificate of a warrant.
    ///
    /// - Throws: `IssuanceError.lint`: the fault is ours, never the requester's.
    init(
        _ warrant: consuming IssuanceWarrant,
        issuer: Issuer,
        serial: SerialNumber
    ) throws(IssuanceError) {
        guard warrant.authorityID == issuer.authority.id else { throw .authorityChanged }
        let profile = issuer.profiles[warrant.role]
        let template = CertificateTemplate(
            serial: serial,
            signatureAlgorithm: issuer.authorityKey.algorithm.signatureAlgorithm,
            issuer: issuer.authorityName,
            notBefore: warrant.notBefore,
            notAfter: warrant.notAfter,
            subject: CertificateTemplate.emptyName,
            publicKey: warrant.publicKey,
            profile: profile,
            authorityKeyIdentifier: issuer.authorityKeyIdentifier,
            uri: warrant.id.description,
            dnsNames: warrant.dnsNames
        )
        tbs = template.encoded()
        let findings = CertificateLint.findings(
            tbs: tbs,
            expectation: LintExpectation(
                template,
                validityMax: issuer.lifetimes.validityMax(within: profile),
                authorityNotBefore: issuer.authorityNotBefore,
                authorityNotAfter: issuer.authorityNotAfter
            )
        )
        guard findings.isEmpty else { throw .lint(findings) }
        self.serial = serial
        signatureAlgorithm = template.signatureAlgorithm
        role = warrant.role
        id = warrant.id
        entry = warrant.entry
        authorityID = warrant.authorityID
        notBefore = warrant.notBefore.date
        notAfter = warrant.notAfter.date
        dnsNames = warrant.dnsNames
        spki = warrant.publicKey.subjectPublicKeyInfo
        spkiSHA256 = warrant.publicKey.spkiSHA256
        tbsSHA256 = Array(SHA256.hash(data: tbs))
    }
}
