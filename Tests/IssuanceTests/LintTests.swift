// SPDX-License-Identifier: Apache-2.0

import Crypto
import FoundationEssentials
import Issuance
import SwiftASN1
import TestSeeds
import Testing
import X509

/// The rules against certificates that swift-certificates encoded.
struct LintTests {
    /// A leaf as it should be; a case changes what it is about.
    struct Draft {
        var version = Certificate.Version.v3
        var serial: [UInt8] = [0x01] + [UInt8](repeating: 0xAB, count: 16)
        var notBefore = Workshop.now.addingTimeInterval(-60)
        var notAfter = Workshop.now.addingTimeInterval(3600)
        var issuer: DistinguishedName
        var subject = DistinguishedName()
        var key: P256.Signing.PublicKey
        var algorithm = Certificate.SignatureAlgorithm.ecdsaWithSHA256
        var extensions: [Certificate.Extension]
        /// Applied to the encoded TBSCertificate, for what swift-certificates refuses to encode.
        var patch: (inout [UInt8]) -> Void = { _ in }

        init() throws {
            issuer = try DistinguishedName { CommonName("authority") }
            key = try Workshop.key(2).publicKey
            let identifier = SHA256.hash(data: key.x963Representation).prefix(20)
            extensions = [
                try .init(KeyUsage(digitalSignature: true), critical: true),
                try .init(ExtendedKeyUsage([.serverAuth, .clientAuth]), critical: false),
                try .init(BasicConstraints.notCertificateAuthority, critical: true),
                try .init(
                    SubjectKeyIdentifier(keyIdentifier: ArraySlice(identifier)),
                    critical: false
                ),
                try .init(
                    AuthorityKeyIdentifier(keyIdentifier: LintTests.authorityKeyIdentifier[...]),
                    critical: false
                ),
                try .init(
                    SubjectAlternativeNames([
                        .uniformResourceIdentifier("spiffe://example.org/web"),
                        .dnsName("web.example.org"),
                    ]),
                    critical: true
                ),
            ]
        }

        mutating func replace(_ replacement: Certificate.Extension) throws {
            let index = try #require(extensions.firstIndex { $0.oid == replacement.oid })
            extensions[index] = replacement
        }

        mutating func remove(_ identifier: ASN1ObjectIdentifier) {
            extensions.removeAll { $0.oid == identifier }
        }

        func tbs() throws -> [UInt8] {
            let certificate = try Certificate(
                version: version,
                serialNumber: .init(bytes: serial),
                publicKey: .init(key),
                notValidBefore: notBefore,
                notValidAfter: notAfter,
                issuer: issuer,
                subject: subject,
                signatureAlgorithm: algorithm,
                extensions: .init(extensions),
                issuerPrivateKey: .init(Workshop.key(1))
            )
            var bytes = Array(certificate.tbsCertificateBytes)
            patch(&bytes)
            return bytes
        }
    }

    static let authorityKeyIdentifier = [UInt8](repeating: 0xC5, count: 20)

    static func expectation() throws -> LintExpectation {
        var issuer = DER.Serializer()
        try issuer.serialize(DistinguishedName { CommonName("authority") })
        return LintExpectation(
            profile: .leaf,
            id: "spiffe://example.org/web",
            dnsNames: ["web.example.org"],
            subjectPublicKeyInfo: Array(try Workshop.key(2).publicKey.derRepresentation),
            serial: [0x01] + [UInt8](repeating: 0xAB, count: 16),
            signatureAlgorithm: .ecdsaWithSHA256,
            notBefore: Workshop.now.addingTimeInterval(-60),
            notAfter: Workshop.now.addingTimeInterval(3600),
            validityMax: .seconds(3660),
            issuer: issuer.serializedBytes,
            authorityKeyIdentifier: authorityKeyIdentifier,
            authorityNotBefore: Workshop.now.addingTimeInterval(-60),
            authorityNotAfter: Workshop.now.addingTimeInterval(3600)
        )
    }

    @Test func `a certificate that another library encoded as expected breaks no rule`() throws {
        #expect(
            try CertificateLint.findings(tbs: Draft().tbs(), expectation: Self.expectation()) == []
        )
    }

    @Test(arguments: LintCase.all)
    func `a defect is found and named after its clause`(_ lint: LintCase) throws {
        var draft = try Draft()
        var expectation = try Self.expectation()
        try lint.spoil(&draft, &expectation)
        #expect(
            try CertificateLint.findings(tbs: draft.tbs(), expectation: expectation)
                == lint.findings
        )
    }

    @Test func `every rule has a case that breaks it`() {
        let broken = Set(LintCase.all.flatMap(\.findings))
        #expect(broken == Set(CertificateLint.ruleNames))
    }

    @Test(arguments: 0..<20 as Range<UInt64>)
    func `no changed byte of a certificate passes the rules`(seed: UInt64) throws {
        var generator = SeededGenerator(seed: seed)
        let tbs = try Draft().tbs()
        let expectation = try Self.expectation()
        for _ in 0..<100 {
            var changed = tbs
            let index = Int.random(in: 0..<tbs.count, using: &generator)
            changed[index] ^= UInt8.random(in: 1...255, using: &generator)
            #expect(
                CertificateLint.findings(tbs: changed, expectation: expectation) != [],
                "byte \(index)"
            )
        }
    }
}
