// SPDX-License-Identifier: Apache-2.0

import Crypto
import CryptoExtras
import FoundationEssentials
import Issuance
import SPIFFE
import SwiftASN1
import TestSeeds
import Testing
import X509

/// Each kind of authority key, as swift-certificates and SPIFFE's own reader see what it signs.
struct AuthorityKeyTests {
    private static let rsa3072 = Result { try _RSA.Signing.PrivateKey(keySize: .bits3072) }

    private static func algorithm(_ type: AuthorityKeyType) -> Certificate.SignatureAlgorithm {
        switch type {
        case .p256: .ecdsaWithSHA256
        case .p384: .ecdsaWithSHA384
        case .rsa2048, .rsa4096: .sha256WithRSAEncryption
        }
    }

    private static func leaf(_ workshop: Workshop) throws -> IssuedCertificate {
        try workshop.issue(
            workshop.issuer.approveAgent(Workshop.request(), name: "web-1", now: Workshop.now)
        )
    }

    @Test(arguments: AuthorityKeyType.allCases)
    func `what an authority signs verifies elsewhere`(type: AuthorityKeyType) async throws {
        let signer = try Workshop.signer(of: type)
        #expect(signer.keyType == type)
        let workshop = try Workshop(signer: signer)
        let root = try Certificate(derEncoded: workshop.authority.certificateDER)
        let issued = try Self.leaf(workshop)
        let leaf = try Certificate(derEncoded: issued.der)
        for certificate in [root, leaf] {
            #expect(certificate.signatureAlgorithm == Self.algorithm(type))
            #expect(root.publicKey.isValidSignature(certificate.signature, for: certificate))
        }
        #expect(try LeafCertificate(der: issued.der).checkSVIDRules() == issued.prepared.id)
        let bundle = TrustBundle(
            trustDomain: workshop.trustDomain,
            x509Authorities: [workshop.authority.certificateDER],
            x509Intermediates: [],
            sequenceNumber: 1,
            refreshHintSeconds: 300
        )
        let verified = try await PeerVerifier(bundles: [workshop.trustDomain: bundle])
            .verify(chain: [issued.der], now: Workshop.now)
        #expect(verified.id == issued.prepared.id)
    }

    /// RFC 5280 section 4.1.1.2: both say the same; RFC 5758 section 3.2, RFC 4055 section 5.
    @Test(
        arguments: zip(
            AuthorityKeyType.allCases,
            [
                "300a06082a8648ce3d040302", "300a06082a8648ce3d040303",
                "300d06092a864886f70d01010b0500", "300d06092a864886f70d01010b0500",
            ]
        )
    )
    func `the algorithm stands in the certificate twice, encoded as it must be`(
        type: AuthorityKeyType,
        identifier: String
    ) throws {
        let workshop = try Workshop(signer: Workshop.signer(of: type))
        let der = Golden.hexadecimal(try Self.leaf(workshop).der)
        #expect(der.components(separatedBy: identifier).count == 3, "\(der)")
    }

    @Test(arguments: AuthorityKeyType.allCases)
    func `a key comes back as it was given`(type: AuthorityKeyType) throws {
        let signer = try Workshop.signer(of: type)
        let again = try MemorySigner(pkcs8DER: signer.pkcs8DER)
        #expect(again.subjectPublicKeyInfo == signer.subjectPublicKeyInfo)
        #expect("\(signer)" == "MemorySigner(\(type.rawValue))")
        #expect(Mirror(reflecting: signer).children.isEmpty)
        let key = try SubjectPublicKey(subjectPublicKeyInfo: signer.subjectPublicKeyInfo)
        #expect(AuthorityKeyType(key.algorithm) == type)
        #expect(key.algorithm.signatureAlgorithm == signer.signatureAlgorithm)
    }

    @Test func `keys that authorities are not made with are refused by name`() throws {
        let refused = [
            Array(P521.Signing.PrivateKey().derRepresentation),
            Array(try Self.rsa3072.get().pkcs8DERRepresentation),
        ]
        for key in refused {
            let error = #expect(throws: SignerError.self) { try MemorySigner(pkcs8DER: key) }
            #expect(error.map { "\($0)".contains("rsa-4096") } == true)
        }
    }

    /// A signer that says another algorithm than its kind of key signs with.
    private struct OtherAlgorithm: Signer {
        let signer: MemorySigner
        let signatureAlgorithm: SignatureAlgorithm
        var subjectPublicKeyInfo: [UInt8] { signer.subjectPublicKeyInfo }

        func signature(for bytes: [UInt8]) throws(SignerError) -> [UInt8] {
            try signer.signature(for: bytes)
        }
    }

    @Test(arguments: [SignatureAlgorithm.ecdsaWithSHA384, .sha256WithRSAEncryption])
    func `a signer of another algorithm signs nothing`(algorithm: SignatureAlgorithm) throws {
        let workshop = try Workshop()
        var batch = IssuanceBatch(issuer: workshop.issuer)
        var generator = SeededGenerator(seed: 2)
        try batch.prepare(
            workshop.issuer.approveAgent(Workshop.request(), name: "web-1", now: Workshop.now),
            using: &generator
        )
        let signer = OtherAlgorithm(signer: workshop.signer, signatureAlgorithm: algorithm)
        var refusal: IssuanceError?
        do throws(IssuanceError) {
            _ = try batch.sign(with: signer)
        } catch {
            refusal = error
        }
        #expect(refusal == .signerIsNotAuthority)
    }

    @Test(arguments: AuthorityKeyType.allCases)
    func `a signature of another key of the kind does not verify`(type: AuthorityKeyType) throws {
        let other =
            switch type {
            case .p256: try Workshop.signer(7)
            case .p384:
                try MemorySigner(pkcs8DER: Array(P384.Signing.PrivateKey().derRepresentation))
            case .rsa2048: try Workshop.signer(of: .rsa4096)
            case .rsa4096: try Workshop.signer(of: .rsa2048)
            }
        let signer = ForeignSigner(
            shown: try Workshop.signer(of: type),
            used: other
        )
        var generator = SeededGenerator(seed: 5)
        #expect(throws: AuthorityError.signatureDoesNotVerify) {
            try Authority.selfSigned(
                trustDomain: TrustDomain("example.org"),
                serverID: "server-1",
                lifetimes: .standard,
                signer: signer,
                now: Workshop.now,
                using: &generator
            )
        }
    }
}
