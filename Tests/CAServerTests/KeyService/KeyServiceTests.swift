// SPDX-License-Identifier: Apache-2.0

import CAServer
import Foundation
import GRPCPeer
import Issuance
import SPIFFE
import TestBridge
import Testing
import X509

/// Authorities whose keys are in a key service, over a real socket.
@Suite(.timeLimit(.minutes(2)))
struct KeyServiceTests {
    @Test(arguments: [AuthorityKeyType.p256, .p384, .rsa2048])
    func `a key signs, is found again and is destroyed`(type: AuthorityKeyType) async throws {
        let world = try KeyServiceWorld()
        try await world.serving {
            let first = try world.vault(type)
            let (id, made) = try await first.authority()
            let (_, certificate) = try await first.apart { _ in try root(made) }
            #expect(certificate.publicKey.isValidSignature(certificate.signature, for: certificate))
            let key = try SubjectPublicKey(subjectPublicKeyInfo: made.subjectPublicKeyInfo)
            #expect(AuthorityKeyType(key.algorithm) == type)
            let second = try world.vault()
            let found = try #require(try await second.apart { try $0.signer(authorityID: id) })
            #expect(found.subjectPublicKeyInfo == made.subjectPublicKeyInfo)
            let (again, other) = try await second.apart { _ in try root(found) }
            #expect(again.id == id)
            #expect(other.publicKey.isValidSignature(other.signature, for: other))
            #expect(try await second.apart { try $0.signer(authorityID: "0a") } == nil)
            try await second.apart { try $0.sweep(keeping: []) }
            #expect(world.bridge.count(of: "0a0b0c0d") == 0)
            let third = try world.vault()
            #expect(try await third.apart { try $0.signer(authorityID: id) } == nil)
            let gone = await words { try await first.signature(by: made) }
            #expect(gone.contains("has no key \(hexadecimal(key.spkiSHA256))"), "\(gone)")
            let files = try FileManager.default.contentsOfDirectory(
                atPath: "\(world.directory.path)/keys"
            )
            #expect(files == [])
        }
    }

    @Test func `a key for tokens is found by its record, and kept by it`() async throws {
        let world = try KeyServiceWorld()
        try await world.serving {
            let vault = try world.vault()
            let (id, own) = try await vault.authority()
            let tokens = try await vault.apart { vault in
                let signer = try vault.makeAuthorityKey(for: .tokens)
                try vault.keep(signer, authorityID: id, for: .tokens)
                return signer
            }
            let spki = tokens.subjectPublicKeyInfo
            #expect(spki != own.subjectPublicKeyInfo)
            func find(_ publicKey: [UInt8]?) async throws -> [UInt8]? {
                try await world.vault().apart {
                    try $0.signer(authorityID: id, for: .tokens, publicKey: publicKey)?
                        .subjectPublicKeyInfo
                }
            }
            #expect(try await find(spki) == spki)
            // Neither is any other key taken for it, nor the authority's own.
            #expect(try await find(nil) == nil)
            let other = Array(spki.dropLast()) + [(spki.last ?? 0) ^ 1]
            #expect(try await find(other) == nil)
            let both: Set = [
                AuthorityKey(id), AuthorityKey(id, for: .tokens, publicKey: spki),
            ]
            try await world.vault().apart { try $0.sweep(keeping: both) }
            #expect(world.bridge.count(of: "0a0b0c0d") == 2)
            try await world.vault().apart { try $0.sweep(keeping: [AuthorityKey(id)]) }
            #expect(world.bridge.count(of: "0a0b0c0d") == 1)
            _ = try await vault.signature(by: own)
            let gone = await words { try await vault.signature(by: tokens) }
            #expect(gone.contains("has no key"), "\(gone)")
        }
    }

    /// A backend that makes 20 signatures in a second has its time for each part.
    @Test func `a batch is signed in parts that a slow backend has time for`() async throws {
        let world = try KeyServiceWorld()
        try await world.serving {
            let vault = try world.vault()
            let signer = try await vault.apart { try $0.makeAuthorityKey() }
            // Making it has been the first.
            #expect(world.bridge.signed == [1])
            func sign(_ count: Int, bytes: Int) async throws -> Int {
                try await vault.apart { _ in
                    try signer.signatures(
                        for: (0..<count).map { [UInt8](repeating: UInt8($0 & 255), count: bytes) }
                    ).count
                }
            }
            #expect(try await sign(25, bytes: 800) == 25)
            #expect(try await sign(51, bytes: 1) == 51)
            #expect(try await sign(5, bytes: 1 << 20) == 5)
            #expect(try await sign(0, bytes: 1) == 0)
            #expect(world.bridge.signed == [1, 25, 25, 25, 1, 3, 2])
        }
    }

    @Test func `servers that share a service touch their own keys alone`() async throws {
        let world = try KeyServiceWorld()
        try await world.serving {
            let (one, two) = (try world.vault(owner: "01"), try world.vault(owner: "02"))
            let (id, _) = try await one.authority()
            // As a crash leaves it: a key whose authority was never published.
            _ = try await one.apart { try $0.makeAuthorityKey() }
            let (other, _) = try await two.authority()
            #expect(world.bridge.count(of: "01") == 2)
            try await one.apart { try $0.sweep(keeping: [AuthorityKey(id)]) }
            #expect(world.bridge.count(of: "01") == 1 && world.bridge.count(of: "02") == 1)
            let reader = try world.vault(owner: "01")
            #expect(try await reader.apart { try $0.signer(authorityID: id) } != nil)
            #expect(try await reader.apart { try $0.signer(authorityID: other) } == nil)
        }
    }

    @Test func `more threads than places sign at once`() async throws {
        let world = try KeyServiceWorld()
        try await world.serving {
            let vault = try world.vault()
            let signer = try await vault.apart { try $0.makeAuthorityKey() }
            try await withThrowingTaskGroup(of: Bool.self) { group in
                for _ in 0..<40 {
                    group.addTask {
                        let (_, made) = try await vault.apart { _ in try root(signer) }
                        return made.publicKey.isValidSignature(made.signature, for: made)
                    }
                }
                for try await isValid in group { #expect(isValid) }
            }
        }
    }

    @Test func `keys in files sign on until their authorities are retired`() async throws {
        let world = try KeyServiceWorld()
        let files = try KeyVault(
            directory: "\(world.directory.path)/keys",
            form: .plain,
            place: .files,
            keyType: .p256
        )
        let old = try files.makeAuthorityKey()
        try files.keep(old, authorityID: "0d")
        try await world.serving {
            let vault = try world.vault()
            let found = try await vault.apart { try $0.signer(authorityID: "0d") }
            #expect(found?.subjectPublicKeyInfo == old.subjectPublicKeyInfo)
            let (id, _) = try await vault.authority()
            try await vault.apart { try $0.sweep(keeping: [AuthorityKey(id)]) }
            #expect(try await world.vault().apart { try $0.signer(authorityID: "0d") } == nil)
            #expect(try await world.vault().apart { try $0.signer(authorityID: id) } != nil)
        }
    }
}
