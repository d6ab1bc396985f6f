// SPDX-License-Identifier: Apache-2.0

import Crypto
import Issuance
import SPIFFE
import TestSeeds
import Testing

/// What is believed of a signature that another process made.
struct AuthorityPublicKeyTests {
    private static let message = Array("what was to be signed".utf8)

    private func key(_ signer: MemorySigner) throws -> AuthorityPublicKey {
        try #require(AuthorityPublicKey(subjectPublicKeyInfo: signer.subjectPublicKeyInfo))
    }

    @Test(arguments: AuthorityKeyType.allCases)
    func `a signature counts for its key and message alone`(type: AuthorityKeyType) throws {
        let signer = try Workshop.signer(of: type)
        let key = try key(signer)
        #expect(key.keyType == type && key.signatureAlgorithm == signer.signatureAlgorithm)
        #expect(key.subjectPublicKeyInfo == signer.subjectPublicKeyInfo)
        let signature = try signer.signature(for: Self.message)
        #expect(key.verified(signature, of: Self.message) == signature)
        #expect(key.verified(signature, of: Self.message + [0]) == nil)
        #expect(key.verified(signature + [0], of: Self.message) == nil)
        #expect(key.verified(Array(signature.dropLast()), of: Self.message) == nil)
        #expect(key.verified([], of: Self.message) == nil)
        for other in AuthorityKeyType.allCases where other != type {
            let foreign = try Workshop.signer(of: other).signature(for: Self.message)
            #expect(key.verified(foreign, of: Self.message) == nil)
        }
    }

    @Test(arguments: AuthorityKeyType.allCases)
    func `it knows the ID of its authority`(type: AuthorityKeyType) throws {
        let signer = try Workshop.signer(of: type)
        var generator = SeededGenerator(seed: 1)
        let authority = try Authority.selfSigned(
            trustDomain: TrustDomain("example.org"),
            serverID: "server-1",
            lifetimes: .standard,
            signer: signer,
            now: Workshop.now,
            using: &generator
        )
        #expect(try key(signer).authorityID == authority.id)
    }

    @Test func `keys that authorities are not made with are none`() throws {
        let refused = [
            Array(P521.Signing.PrivateKey().publicKey.derRepresentation),
            Array(try key(Workshop.signer(of: .p256)).subjectPublicKeyInfo.dropLast()),
            try key(Workshop.signer(of: .p256)).subjectPublicKeyInfo + [0],
            [],
        ]
        for spki in refused { #expect(AuthorityPublicKey(subjectPublicKeyInfo: spki) == nil) }
    }

    @Test func `many messages are signed in their order, by default one by one`() throws {
        let signer = try Workshop.signer(of: .p256)
        let key = try key(signer)
        let messages: [[UInt8]] = [[1], [], [2, 3]]
        let signatures = try signer.signatures(for: messages)
        #expect(signatures.count == 3)
        for (message, signature) in zip(messages, signatures) {
            #expect(key.verified(signature, of: message) == signature)
        }
        #expect(try signer.signatures(for: []) == [])
    }
}
