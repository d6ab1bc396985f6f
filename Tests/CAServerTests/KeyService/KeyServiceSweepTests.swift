// SPDX-License-Identifier: Apache-2.0

import CAServer
import Crypto
import Foundation
import Issuance
import TestBridge
import Testing

/// What is destroyed in a key service, for good, and on whose word.
@Suite(.timeLimit(.minutes(2)))
struct KeyServiceSweepTests {
    @Test func `a key that cannot be destroyed saves no other, and is tried again`() async throws {
        let world = try KeyServiceWorld()
        try await world.serving {
            let vault = try world.vault()
            for _ in 0..<3 { _ = try await vault.apart { try $0.makeAuthorityKey() } }
            world.bridge.fail(.destroysNothing)
            let calls = world.bridge.calls
            let said = await words { try await vault.apart { try $0.sweep(keeping: []) } }
            #expect(said.contains("refused Destroy"), "\(said)")
            #expect(world.bridge.calls == calls + 4)
            world.bridge.fail(.none)
            try await vault.apart { try $0.sweep(keeping: []) }
            #expect(world.bridge.count(of: "0a0b0c0d") == 0)
        }
    }

    @Test func `what is too much for one sweep goes with the next`() async throws {
        let world = try KeyServiceWorld()
        try await world.serving {
            let vault = try world.vault()
            for _ in 0..<40 { _ = try await vault.apart { try $0.makeAuthorityKey() } }
            try await vault.apart { try $0.sweep(keeping: []) }
            #expect(world.bridge.count(of: "0a0b0c0d") == 8)
            try await vault.apart { try $0.sweep(keeping: []) }
            #expect(world.bridge.count(of: "0a0b0c0d") == 0)
        }
    }

    @Test func `a sweep ends after its time, and goes on with the next`() async throws {
        let clock = ShiftedClock()
        let world = try KeyServiceWorld(clock: clock)
        try await world.serving {
            let vault = try world.vault()
            world.bridge.add(9, of: "0a0b0c0d")
            world.reports.onEach { if $0.call == .destroy { clock.pass(.seconds(6)) } }
            try await vault.apart { try $0.sweep(keeping: []) }
            #expect(world.bridge.count(of: "0a0b0c0d") == 7)
            try await vault.apart { try $0.sweep(keeping: []) }
            #expect(world.bridge.count(of: "0a0b0c0d") == 5)
        }
    }

    @Test func `no key that cannot be read is destroyed, or taken for one that is lost`()
        async throws
    {
        let world = try KeyServiceWorld()
        try await world.serving {
            let vault = try world.vault()
            let (id, signer) = try await vault.authority()
            _ = try await vault.apart { try $0.makeAuthorityKey() }
            // As after an upgrade of the service: the same keys, by other names.
            world.bridge.fail(.listsOtherForm)
            for kept: Set<AuthorityKey> in [[AuthorityKey(id)], []] {
                let said = await words { try await vault.apart { try $0.sweep(keeping: kept) } }
                #expect(said.contains("2 of the keys in it cannot be read"), "\(said)")
                #expect(world.bridge.count(of: "0a0b0c0d") == 2)
            }
            let other = try world.vault()
            let said = await words { try await other.apart { try $0.signer(authorityID: id) } }
            #expect(said.contains("cannot be read"), "\(said)")
            world.bridge.fail(.none)
            _ = try await vault.signature(by: signer)
            try await vault.apart { try $0.sweep(keeping: [AuthorityKey(id)]) }
            #expect(world.bridge.count(of: "0a0b0c0d") == 1)
        }
    }

    @Test(arguments: AuthorityKey.Purpose.allCases)
    func `a list that lacks a key of use destroys none`(
        purpose: AuthorityKey.Purpose
    )
        async throws
    {
        let world = try KeyServiceWorld()
        try await world.serving {
            let vault = try world.vault()
            let (id, own) = try await vault.authority()
            let tokens = try await vault.apart { try $0.makeAuthorityKey(for: .tokens) }
            _ = try await vault.apart { try $0.makeAuthorityKey() }
            let kept: Set = [
                AuthorityKey(id),
                AuthorityKey(id, for: .tokens, publicKey: tokens.subjectPublicKeyInfo),
            ]
            let lacking = purpose == .tokens ? tokens : own
            world.bridge.fail(.omits(Data(SHA256.hash(data: lacking.subjectPublicKeyInfo))))
            let said = await words { try await vault.apart { try $0.sweep(keeping: kept) } }
            #expect(said.contains("of authority \(id) is not in it"), "\(said)")
            #expect(world.bridge.count(of: "0a0b0c0d") == 3)
            world.bridge.fail(.none)
            try await vault.apart { try $0.sweep(keeping: kept) }
            #expect(world.bridge.count(of: "0a0b0c0d") == 2)
        }
    }

    @Test func `no key is made where so many are destroyed by nobody`() async throws {
        let world = try KeyServiceWorld()
        try await world.serving {
            let vault = try world.vault()
            world.bridge.add(1_024, of: "0a0b0c0d")
            let said = await words { try await vault.apart { try $0.makeAuthorityKey() } }
            #expect(said.contains("1024 keys of the owner 0a0b0c0d"), "\(said)")
            #expect(said.contains("(Destroy)"), "\(said)")
            try await vault.apart { try $0.sweep(keeping: []) }
            _ = try await vault.apart { try $0.makeAuthorityKey() }
        }
    }
}
