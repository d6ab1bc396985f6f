// SPDX-License-Identifier: Apache-2.0

import Crypto
import FoundationEssentials
import Issuance
import SPIFFE
import SwiftASN1
import TestSeeds
import Testing
import X509

/// Issued certificates as other readers see them.
struct CertificateContentTests {
    private func warrant(
        _ workshop: Workshop,
        key: UInt8 = 2,
        dnsNames: [String] = [],
        now: Date = Workshop.now
    ) throws -> IssuanceWarrant {
        try workshop.issuer.approve(
            Workshop.request(key),
            entry: Workshop.entry(dnsNames: dnsNames),
            claiming: SPIFFEID("spiffe://example.org/web"),
            node: workshop.node,
            now: now
        )
    }

    @Test func `the bytes to be signed are the golden ones`() throws {
        let workshop = try Workshop()
        let issued = try workshop.issue(warrant(workshop, dnsNames: ["web.example.org"]))
        let certificate = try Certificate(derEncoded: issued.der)
        let tbs = Array(certificate.tbsCertificateBytes)
        #expect(Golden.hexadecimal(tbs) == Golden.workloadTBS)
        #expect(Array(SHA256.hash(data: tbs)) == issued.prepared.tbsSHA256)
        let root = try Certificate(derEncoded: workshop.authority.certificateDER)
        #expect(Golden.hexadecimal(Array(root.tbsCertificateBytes)) == Golden.rootTBS)
    }

    @Test func `X-1 X-3 X-9 X-10 X-11 X-13 a leaf reads as an SVID with SPIFFE's own reader`()
        throws
    {
        let workshop = try Workshop()
        let issued = try workshop.issue(warrant(workshop, dnsNames: ["web.example.org"]))
        let leaf = try LeafCertificate(der: issued.der)
        #expect(try leaf.checkSVIDRules().description == "spiffe://example.org/web")
        #expect(leaf.serial == issued.prepared.serial.bytes)
        #expect(leaf.notBefore == Workshop.now.addingTimeInterval(-60))
        #expect(leaf.notAfter == Workshop.now.addingTimeInterval(3600))
        #expect(leaf.notAfter == issued.prepared.notAfter)
        #expect(leaf.notBefore == issued.prepared.notBefore)
        #expect(leaf.spkiSHA256 == issued.prepared.spkiSHA256)
        #expect(leaf.dnsNames == ["web.example.org"])
        #expect(leaf.authorityKeyID.map(Golden.hexadecimal) == workshop.authority.id)
    }

    @Test func `X-12 X-14 a leaf verifies with its authority and with no other`() async throws {
        let workshop = try Workshop()
        let issued = try workshop.issue(warrant(workshop))
        let verified = try await verify(issued.der, authority: workshop.authority)
        #expect(verified.id == issued.prepared.id)
        var generator = SeededGenerator(seed: 9)
        let other = try Authority.selfSigned(
            trustDomain: workshop.trustDomain,
            serverID: "server-1",
            lifetimes: .standard,
            signer: Workshop.signer(9),
            now: Workshop.now,
            using: &generator
        )
        await #expect(throws: PeerVerificationError.self) {
            try await verify(issued.der, authority: other)
        }
    }

    private func verify(_ der: [UInt8], authority: Authority) async throws -> VerifiedPeer {
        let trustDomain = try TrustDomain("example.org")
        let bundle = TrustBundle(
            trustDomain: trustDomain,
            x509Authorities: [authority.certificateDER],
            x509Intermediates: [],
            sequenceNumber: 1,
            refreshHintSeconds: 300
        )
        return try await PeerVerifier(bundles: [trustDomain: bundle])
            .verify(chain: [der], now: Workshop.now)
    }

    @Test func `X-4 the subject is empty and the alternative name critical`() throws {
        let workshop = try Workshop()
        let certificate = try Certificate(derEncoded: workshop.issue(warrant(workshop)).der)
        #expect(certificate.subject.isEmpty)
        #expect(
            certificate.extensions[oid: .X509ExtensionID.subjectAlternativeName]?.critical == true
        )
    }

    @Test func `the requester's subject and extensions are taken from nowhere`() throws {
        let vector = try #require(
            RequestVector.all.first { $0.testDescription.contains("claim another identity") }
        )
        let der = try #require(
            Data(base64Encoded: vector.base64, options: .ignoreUnknownCharacters)
        )
        let workshop = try Workshop()
        let issued = try workshop.issue(
            workshop.issuer.approveAgent(
                CertificateRequest(der: Array(der)),
                name: "web-1",
                now: Workshop.now
            )
        )
        let leaf = try LeafCertificate(der: issued.der)
        #expect(leaf.uriNames == ["spiffe://example.org/signet/agent/web-1"])
        #expect(leaf.dnsNames.isEmpty)
        #expect(!leaf.isCA)
        #expect(issued.der.firstRange(of: Array("evil".utf8)) == nil)
        #expect(issued.der.firstRange(of: Array("admin".utf8)) == nil)
    }

    @Test(
        arguments: RequestVector.all.filter {
            if case .accepted = $0.outcome { true } else { false }
        }
    )
    func `the key in the certificate is the key in the request`(_ vector: RequestVector) throws {
        let der = try #require(
            Data(base64Encoded: vector.base64, options: .ignoreUnknownCharacters)
        )
        let workshop = try Workshop()
        let issued = try workshop.issue(
            workshop.issuer.approveAgent(
                CertificateRequest(der: Array(der)),
                name: "web-1",
                now: Workshop.now
            )
        )
        let request = try CertificateSigningRequest(derEncoded: Array(der))
        let certificate = try Certificate(derEncoded: issued.der)
        #expect(certificate.publicKey == request.publicKey)
        let rootKey = try Certificate(derEncoded: workshop.authority.certificateDER).publicKey
        #expect(rootKey.isValidSignature(certificate.signature, for: certificate))
    }

    @Test(arguments: [
        0, 951_782_399, 951_782_400, 951_868_800, 1_582_934_400, 1_709_164_800, 2_524_604_398,
        2_524_604_399, 2_524_604_400, 2_524_608_000, 4_107_542_400, 4_133_980_800, 253_402_297_199,
    ])
    func `rfc5280-4.1.2.5 every moment reads back as it was meant`(second: Int) throws {
        let now = Date(timeIntervalSince1970: Double(second) + 0.75)
        let workshop = try Workshop(
            lifetimes: SVIDLifetimes(
                workload: .seconds(10),
                agent: .seconds(10),
                server: .seconds(10),
                authority: .seconds(3600)
            ),
            now: now
        )
        let issued = try workshop.issue(
            workshop.issuer.approveAgent(Workshop.request(), name: "a", now: now)
        )
        let certificate = try Certificate(derEncoded: issued.der)
        let whole = Date(timeIntervalSince1970: Double(second))
        #expect(certificate.notValidAfter == whole.addingTimeInterval(10))
        #expect(
            certificate.notValidBefore
                == max(whole.addingTimeInterval(-60), Date(timeIntervalSince1970: 0))
        )
        let root = try Certificate(derEncoded: workshop.authority.certificateDER)
        #expect(root.notValidAfter == whole.addingTimeInterval(3600))
        let year2050 = Date(timeIntervalSince1970: 2_524_608_000)
        let hasGeneralizedTime =
            certificate.tbsCertificateBytes
            .firstRange(of: [0x18, 0x0F]) != nil
        #expect(hasGeneralizedTime == (certificate.notValidAfter >= year2050))
    }

    @Test func `serial numbers are 17 positive bytes and differ`() throws {
        var generator = SeededGenerator(seed: 3)
        var seen: Set<SerialNumber> = []
        for _ in 0..<10_000 {
            let serial = SerialNumber(using: &generator)
            #expect(serial.bytes.count == 17 && serial.bytes[0] == 1)
            #expect(seen.insert(serial).inserted)
        }
    }
}
