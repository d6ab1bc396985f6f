// SPDX-License-Identifier: Apache-2.0

package import FoundationEssentials

/// What a certificate was approved to be; the lint rules compare it with the encoded bytes.
package struct LintExpectation: Hashable, Sendable {
    package var profile: CertificateProfile
    /// The SPIFFE ID, as text.
    package var id: String
    package var dnsNames: [String]
    /// DER of the subject's SubjectPublicKeyInfo.
    package var subjectPublicKeyInfo: [UInt8]
    package var serial: [UInt8]
    /// How the authority signs, by the kind of its key.
    package var signatureAlgorithm: SignatureAlgorithm
    package var notBefore: Date
    package var notAfter: Date
    /// The longest time from notBefore to notAfter, backdate included.
    package var validityMax: Duration
    /// DER of the authority's Name.
    package var issuer: [UInt8]
    package var authorityKeyIdentifier: [UInt8]
    package var authorityNotBefore: Date
    package var authorityNotAfter: Date

    package init(
        profile: CertificateProfile,
        id: String,
        dnsNames: [String],
        subjectPublicKeyInfo: [UInt8],
        serial: [UInt8],
        signatureAlgorithm: SignatureAlgorithm,
        notBefore: Date,
        notAfter: Date,
        validityMax: Duration,
        issuer: [UInt8],
        authorityKeyIdentifier: [UInt8],
        authorityNotBefore: Date,
        authorityNotAfter: Date
    ) {
        self.profile = profile
        self.id = id
        self.dnsNames = dnsNames
        self.subjectPublicKeyInfo = subjectPublicKeyInfo
        self.serial = serial
        self.signatureAlgorithm = signatureAlgorithm
        self.notBefore = notBefore
        self.notAfter = notAfter
        self.validityMax = validityMax
        self.issuer = issuer
        self.authorityKeyIdentifier = authorityKeyIdentifier
        self.authorityNotBefore = authorityNotBefore
        self.authorityNotAfter = authorityNotAfter
    }
}

/// One rule, named after the clause that demands it.
struct LintRule: Sendable {
    /// For example `rfc5280-4.1.2.2-serial`.
    let name: String
    let holds: @Sendable (CertificateReading, LintExpectation) -> Bool

    init(
        _ name: String,
        holds: @escaping @Sendable (CertificateReading, LintExpectation) -> Bool
    ) {
        self.name = name
        self.holds = holds
    }
}

/// Reads certificates before they are signed and names every rule that they break.
package enum CertificateLint {
    /// What bytes break that do not read as a TBSCertificate.
    private static let structure = "rfc5280-4.1-structure"
    private static let rules =
        LintRule.certificateFields + LintRule.extensions + LintRule.svid
        + LintRule.profile

    /// The names of all rules.
    package static var ruleNames: [String] { [structure] + rules.map(\.name) }

    /// Examines an encoded TBSCertificate.
    ///
    /// - Returns: The names of the broken rules; empty if the certificate may be signed.
    package static func findings(tbs: [UInt8], expectation: LintExpectation) -> [String] {
        guard let reading = try? CertificateReading(tbs: tbs) else { return [structure] }
        var findings: [String] = []
        for rule in rules where !rule.holds(reading, expectation) { findings.append(rule.name) }
        return findings
    }
}
