// SPDX-License-Identifier: Apache-2.0

/// What a certificate was approved to be; the lint rules compare it with the encoded bytes.
struct LintExpectation {
    let profile: CertificateProfile
    let id: String
    let dnsNames: [String]
    let publicKey: SubjectPublicKey
    let serial: SerialNumber
    let notBefore: CertificateTime
    let notAfter: CertificateTime
    /// The longest time from notBefore to notAfter, backdate included.
    let validityMax: Duration
    /// Encoded Name of the authority.
    let issuer: [UInt8]
    let authorityKeyIdentifier: KeyIdentifier
    let authorityNotBefore: CertificateTime
    let authorityNotAfter: CertificateTime
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
enum CertificateLint {
    static let rules = LintRule.certificateFields + LintRule.extensions + LintRule.svid

    /// The names of the broken rules; empty if the certificate may be signed.
    ///
    /// Bytes that do not read as a TBSCertificate break `rfc5280-4.1-structure` and are not
    /// examined further.
    static func findings(
        tbs: [UInt8],
        expectation: LintExpectation
    ) -> [String] {
        guard let reading = try? CertificateReading(tbs: tbs) else {
            return ["rfc5280-4.1-structure"]
        }
        return rules.filter { !$0.holds(reading, expectation) }.map(\.name)
    }
}
