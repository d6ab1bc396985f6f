// SPDX-License-Identifier: Apache-2.0

import Crypto
import FoundationEssentials
import Issuance
import SPIFFE
import SwiftASN1
import TestSeeds
import Testing
import X509

struct AuthorityTests {
    private func root(
        trustDomain: String = "example.org",
        serverID: String = "server-1",
        signer: some Signer,
        now: Date = Workshop.now
    ) throws -> Authority {
        var generator = SeededGenerator(seed: 5)
        return try Authority.selfSigned(
            trustDomain: TrustDomain(trustDomain),
            serverID: serverID,
            lifetimes: .standard,
            signer: signer,
            now: now,
            using: &generator
        )
    }

    @Test func `ID-10 X-5 X-7 a root names its trust domain and signs leaves only`() throws {
        let authority = try root(signer: Workshop.signer(1))
        let certificate = try Certificate(derEncoded: authority.certificateDER)
        let extensions = certificate.extensions
        #expect(
            try extensions.subjectAlternativeNames.map { Array($0) }
                == [.uniformResourceIdentifier("spiffe://example.org")]
        )
        #expect(try extensions.basicConstraints == .isCertificateAuthority(maxPathLength: 0))
        #expect(try extensions.keyUsage == KeyUsage(keyCertSign: true, cRLSign: true))
        #expect(extensions[oid: .X509ExtensionID.keyUsage]?.critical == true)
        #expect(extensions[oid: .X509ExtensionID.basicConstraints]?.critical == true)
        #expect(certificate.issuer == certificate.subject)
        #expect(certificate.publicKey.isValidSignature(certificate.signature, for: certificate))
        #expect(authority.state == .prepared)
        #expect(authority.publishedAt == nil && authority.activatedAt == nil)
        #expect(authority.notBefore == certificate.notValidBefore)
        #expect(authority.notAfter == certificate.notValidAfter)
        #expect(authority.notAfter == Workshop.now.addingTimeInterval(86_400))
    }

    @Test func `two authorities of one server have different names`() throws {
        var generator = SeededGenerator(seed: 6)
        let subjects = try ([1, 2] as [UInt8]).map { number in
            let authority = try Authority.selfSigned(
                trustDomain: TrustDomain("example.org"),
                serverID: "server-1",
                lifetimes: .standard,
                signer: Workshop.signer(number),
                now: Workshop.now,
                using: &generator
            )
            return try Certificate(derEncoded: authority.certificateDER).subject
        }
        #expect(subjects[0] != subjects[1])
        #expect("\(subjects[0])".contains("server-1-"))
    }

    @Test func `the longest trust domain and server ID still make a root`() throws {
        let name = String(repeating: "a", count: 255)
        let authority = try root(
            trustDomain: name,
            serverID: String(repeating: "b", count: 40),
            signer: Workshop.signer(1)
        )
        let certificate = try Certificate(derEncoded: authority.certificateDER)
        #expect(
            try certificate.extensions.subjectAlternativeNames.map { Array($0) }
                == [.uniformResourceIdentifier("spiffe://\(name)")]
        )
        var active = authority
        active.state = .active
        _ = try Issuer(
            trustDomain: TrustDomain(name),
            lifetimes: .standard,
            authority: active
        )
    }

    @Test(arguments: ["", "a b", "a_b", "ä", "a/b", String(repeating: "b", count: 41)])
    func `a server ID that no distinguished name can hold is refused`(serverID: String) throws {
        let signer = try Workshop.signer(1)
        #expect(throws: AuthorityError.serverIDMalformed) {
            try root(serverID: serverID, signer: signer)
        }
    }

    @Test func `a signer that signs with another key than it shows makes no root`() throws {
        let signer = try ForeignSigner(shown: Workshop.signer(1), used: Workshop.signer(2))
        #expect(throws: AuthorityError.signatureDoesNotVerify) { try root(signer: signer) }
    }

    @Test func `a clock outside the years of X.509 makes no root`() throws {
        let signer = try Workshop.signer(1)
        for seconds in [-1, 253_402_300_799, .infinity, .nan] {
            #expect(throws: AuthorityError.clockOutOfRange) {
                try root(signer: signer, now: Date(timeIntervalSince1970: seconds))
            }
        }
    }

    @Test func `a memory signer gives its key back and shows it to nobody else`() throws {
        let key = Array(try Workshop.key(4).derRepresentation)
        let signer = try MemorySigner(pkcs8DER: key)
        #expect(signer.pkcs8DER == key)
        #expect("\(signer)" == "MemorySigner(ec-p256)")
        #expect(String(reflecting: signer) == "MemorySigner(ec-p256)")
        #expect(Mirror(reflecting: signer).children.isEmpty)
        #expect(throws: SignerError.self) { try MemorySigner(pkcs8DER: key.dropLast()) }
        let p521 = Array(P521.Signing.PrivateKey().derRepresentation)
        #expect(throws: SignerError.self) { try MemorySigner(pkcs8DER: p521) }
    }
}

/// A signer that shows one key and signs with another.
struct ForeignSigner: Signer {
    let shown: MemorySigner
    let used: MemorySigner

    var subjectPublicKeyInfo: [UInt8] { shown.subjectPublicKeyInfo }
    var signatureAlgorithm: SignatureAlgorithm { used.signatureAlgorithm }

    func signature(for bytes: [UInt8]) throws(SignerError) -> [UInt8] {
        try used.signature(for: bytes)
    }
}
