// SPDX-License-Identifier: Apache-2.0

import Crypto
import FoundationEssentials
import Issuance
import SwiftASN1
import Testing
import X509

/// One defect of a certificate and the rules that it breaks.
struct LintCase: Sendable, CustomTestStringConvertible {
    let testDescription: String
    let findings: [String]
    let spoil: @Sendable (inout LintTests.Draft, inout LintExpectation) throws -> Void

    init(
        _ testDescription: String,
        _ findings: [String],
        spoil: @escaping @Sendable (inout LintTests.Draft, inout LintExpectation) throws -> Void
    ) {
        self.testDescription = testDescription
        self.findings = findings
        self.spoil = spoil
    }

    static let all = fields + extensions + names + profiles

    private static let fields: [Self] = [
        Self("a byte too many", ["rfc5280-4.1-structure"]) { draft, _ in
            draft.patch = { $0.append(0) }
        },
        Self("version 1 with extensions", ["rfc5280-4.1.2.1-version"]) { draft, _ in
            draft.patch = { tbs in
                guard let version = tbs.firstRange(of: [0xA0, 0x03, 0x02, 0x01, 0x02]) else {
                    return
                }
                tbs[version.upperBound - 1] = 1
            }
        },
        Self("another serial", ["rfc5280-4.1.2.2-serial"]) { draft, _ in
            draft.serial[16] = 0
        },
        Self("a serial of 21 bytes", ["rfc5280-4.1.2.2-serial"]) { draft, expected in
            draft.serial = [0x01] + [UInt8](repeating: 0xAB, count: 20)
            expected.serial = draft.serial
        },
        Self("a signature with SHA-384", ["rfc5280-4.1.2.3-signature-algorithm"]) { draft, _ in
            draft.algorithm = .ecdsaWithSHA384
        },
        Self("a signature that an RSA authority makes", ["rfc5280-4.1.2.3-signature-algorithm"]) {
            _,
            expected in
            expected.signatureAlgorithm = .sha256WithRSAEncryption
        },
        Self("another issuer", ["rfc5280-4.1.2.4-issuer"]) { draft, _ in
            draft.issuer = try DistinguishedName { CommonName("other") }
        },
        Self("an empty issuer", ["rfc5280-4.1.2.4-issuer"]) { draft, expected in
            draft.issuer = DistinguishedName()
            expected.issuer = [0x30, 0x00]
        },
        Self(
            "a year in place of an hour",
            [
                "rfc5280-4.1.2.5-validity", "signet-validity-within-authority",
                "signet-validity-within-limit",
            ]
        ) { draft, _ in draft.notAfter = Workshop.now.addingTimeInterval(365 * 86_400) },
        Self("a validity that ends before it begins", ["rfc5280-4.1.2.5-validity"]) {
            draft,
            expected in
            draft.notBefore = Workshop.now.addingTimeInterval(10)
            draft.notAfter = Workshop.now
            expected.notBefore = draft.notBefore
            expected.notAfter = draft.notAfter
        },
        Self("a beginning before the authority's", ["signet-validity-within-authority"]) {
            _,
            expected in
            expected.authorityNotBefore = Workshop.now
        },
        Self("an end after the authority's", ["signet-validity-within-authority"]) {
            _,
            expected in
            expected.authorityNotAfter = Workshop.now.addingTimeInterval(3599)
        },
        Self("a second above the limit", ["signet-validity-within-limit"]) { _, expected in
            expected.validityMax = .seconds(3659)
        },
        Self("a subject", ["rfc5280-4.1.2.6-subject", "x509svid-3.1-critical-without-subject"]) {
            draft,
            _ in
            draft.subject = try DistinguishedName { CommonName("web") }
        },
        Self(
            "another public key",
            ["rfc5280-4.1.2.7-public-key", "rfc5280-4.2.1.2-subject-key-identifier"]
        ) { draft, _ in draft.key = try Workshop.key(3).publicKey },
    ]

    private static let extensions: [Self] = [
        Self("an extension twice", ["rfc5280-4.2-once-each"]) { draft, _ in
            // swift-certificates refuses to encode it: the bytes of one extension become those of
            // another of the same length.
            draft.patch = { tbs in
                let identifier: [UInt8] = [
                    0x30, 0x1F, 0x06, 0x03, 0x55, 0x1D, 0x23, 0x04, 0x18, 0x30, 0x16, 0x80, 0x14,
                ]
                let length = identifier.count + 20
                guard let first = tbs.firstRange(of: identifier)?.lowerBound,
                    let outer = tbs.firstRange(of: [0xA3, 0x81])?.lowerBound
                else { return }
                let copy = tbs[first..<first + length]
                tbs.insert(contentsOf: copy, at: first)
                tbs[outer + 2] += UInt8(length)
                tbs[outer + 5] += UInt8(length)
                let whole = Int(tbs[2]) << 8 + Int(tbs[3]) + length
                tbs[2] = UInt8(whole >> 8)
                tbs[3] = UInt8(whole & 0xFF)
            }
        },
        Self("an extension that no profile has", ["rfc5280-4.2-no-other"]) { draft, _ in
            draft.extensions.append(
                .init(oid: [1, 3, 6, 1, 4, 1, 99_999, 1], critical: false, value: [0x05, 0x00])
            )
        },
        Self("no authority key identifier", ["rfc5280-4.2.1.1-authority-key-identifier"]) {
            draft,
            _ in
            draft.remove(.X509ExtensionID.authorityKeyIdentifier)
        },
        Self("another authority's key identifier", ["rfc5280-4.2.1.1-authority-key-identifier"]) {
            _,
            expected in
            expected.authorityKeyIdentifier[0] ^= 1
        },
        Self("no name constraints", ["rfc5280-4.2.1.10-name-constraints"]) { _, expected in
            expected.profile = CertificateProfile.leaf.narrowed(
                by: ProfileLimits(constrainsNames: true)
            )
        },
        Self(
            "name constraints that nobody asked for",
            ["rfc5280-4.2-no-other", "rfc5280-4.2.1.10-name-constraints"]
        ) { draft, _ in
            draft.extensions.append(
                try .init(NameConstraints(permittedURIDomains: ["example.org"]), critical: true)
            )
        },
        Self("no subject key identifier", ["rfc5280-4.2.1.2-subject-key-identifier"]) { draft, _ in
            draft.remove(.X509ExtensionID.subjectKeyIdentifier)
        },
        Self("a SHA-1 key identifier", ["rfc5280-4.2.1.2-subject-key-identifier"]) { draft, _ in
            let identifier = SubjectKeyIdentifier(hash: Certificate.PublicKey(draft.key))
            try draft.replace(.init(identifier, critical: false))
        },
        Self("a leaf that is an authority", ["rfc5280-4.2.1.9-basic-constraints"]) { draft, _ in
            let constraints = BasicConstraints.isCertificateAuthority(maxPathLength: nil)
            try draft.replace(.init(constraints, critical: true))
        },
        Self("basic constraints that are not critical", ["rfc5280-4.2.1.9-basic-constraints"]) {
            draft,
            _ in
            let constraints = BasicConstraints.notCertificateAuthority
            try draft.replace(.init(constraints, critical: false))
        },
        Self("no key usage", ["x509svid-4.3-key-usage"]) { draft, _ in
            draft.remove(.X509ExtensionID.keyUsage)
        },
        Self("key usage that is not critical", ["x509svid-4.3-key-usage"]) { draft, _ in
            try draft.replace(.init(KeyUsage(digitalSignature: true), critical: false))
        },
        Self("a leaf that may sign certificates", ["x509svid-4.3-key-usage"]) { draft, _ in
            let usage = KeyUsage(digitalSignature: true, keyCertSign: true)
            try draft.replace(.init(usage, critical: true))
        },
        Self("no extended key usage", ["x509svid-4.4-extended-key-usage"]) { draft, _ in
            draft.remove(.X509ExtensionID.extendedKeyUsage)
        },
        Self("extended key usage for servers only", ["x509svid-4.4-extended-key-usage"]) {
            draft,
            _ in
            try draft.replace(.init(ExtendedKeyUsage([.serverAuth]), critical: false))
        },
        Self("extended key usage for code too", ["x509svid-4.4-extended-key-usage"]) { draft, _ in
            let usages = try ExtendedKeyUsage([.serverAuth, .clientAuth, .codeSigning])
            try draft.replace(.init(usages, critical: false))
        },
    ]

    private static let names: [Self] = [
        Self("two URIs", ["x509svid-2-one-uri"]) { draft, _ in
            try draft.name([
                .uniformResourceIdentifier("spiffe://example.org/web"),
                .uniformResourceIdentifier("spiffe://example.org/db"),
                .dnsName("web.example.org"),
            ])
        },
        Self(
            "no names at all",
            [
                "x509svid-2-one-uri", "x509svid-2-other-names",
                "x509svid-3.1-critical-without-subject", "x509svid-3-path",
            ]
        ) { draft, _ in draft.remove(.X509ExtensionID.subjectAlternativeName) },
        Self("another ID", ["x509svid-2-one-uri"]) { draft, _ in
            try draft.name([
                .uniformResourceIdentifier("spiffe://example.org/db"),
                .dnsName("web.example.org"),
            ])
        },
        Self("an expected ID that is none", ["x509svid-2-one-uri", "x509svid-3-path"]) {
            draft,
            expected in
            expected.id = "https://example.org/web"
            try draft.name([.uniformResourceIdentifier(expected.id), .dnsName("web.example.org")])
        },
        Self("a leaf with the trust domain's own ID", ["x509svid-3-path"]) { draft, expected in
            expected.id = "spiffe://example.org"
            try draft.name([.uniformResourceIdentifier(expected.id), .dnsName("web.example.org")])
        },
        Self("a DNS name that was not approved", ["x509svid-2-other-names"]) { draft, _ in
            try draft.name([
                .uniformResourceIdentifier("spiffe://example.org/web"),
                .dnsName("web.example.org"), .dnsName("evil.example.org"),
            ])
        },
        Self("a mail address", ["x509svid-2-other-names"]) { draft, _ in
            try draft.name([
                .uniformResourceIdentifier("spiffe://example.org/web"),
                .dnsName("web.example.org"), .rfc822Name("a@example.org"),
            ])
        },
        Self("names that are not critical", ["x509svid-3.1-critical-without-subject"]) {
            draft,
            _ in
            try draft.name(
                [
                    .uniformResourceIdentifier("spiffe://example.org/web"),
                    .dnsName("web.example.org"),
                ],
                critical: false
            )
        },
    ]
}

/// What is within the code's profile and outside the file's.
extension LintCase {
    private static let profiles: [Self] = [
        Self("a DNS name outside the suffixes", ["signet-profile-dns-names"]) { _, expected in
            let limits = ProfileLimits(dnsSuffixes: ["example.net"])
            expected.profile = CertificateProfile.leaf.narrowed(by: limits)
        },
        Self("a DNS name too many", ["signet-profile-dns-names"]) { _, expected in
            expected.profile = CertificateProfile.leaf.narrowed(by: ProfileLimits(dnsNamesMax: 0))
        },
        Self("a key of another kind", ["signet-profile-key"]) { _, expected in
            expected.profile = CertificateProfile.leaf.narrowed(by: ProfileLimits(keys: [.p384]))
        },
    ]
}

extension LintTests.Draft {
    fileprivate mutating func name(_ names: [GeneralName], critical: Bool = true) throws {
        try replace(.init(SubjectAlternativeNames(names), critical: critical))
    }
}
