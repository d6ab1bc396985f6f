// SPDX-License-Identifier: Apache-2.0

import CAServer
import Foundation
import GRPCCore
import GRPCPeer
import Issuance
import NIOCore
import NIOPosix
import TestBridge
import Testing

/// A key service that is away, slow, somebody else's, or lies.
@Suite(.timeLimit(.minutes(2)))
struct KeyServiceFaultTests {
    struct Lie: Sendable, CustomTestStringConvertible {
        let fault: KeyBridge.Fault
        /// What the error says.
        let words: String
        var testDescription: String { "\(fault)" }

        init(_ fault: KeyBridge.Fault, _ words: String) {
            self.fault = fault
            self.words = words
        }
    }

    @Test(arguments: [
        Lie(.signsOtherBytes, "does not verify"), Lie(.signsWithOtherKey, "does not verify"),
        Lie(.swaps, "does not verify"), Lie(.leavesOneOut, "2 signatures for 3 messages"),
        Lie(.signsOneTooMany, "4 signatures for 3 messages"), Lie(.answersTooMuch, ""),
        Lie(.refuses(.permissionDenied), "refused Sign"),
        Lie(.refuses(.notFound), "has no key"),
    ])
    func `no signature that is not the key's over the message gets out`(lie: Lie) async throws {
        let world = try KeyServiceWorld()
        try await world.serving {
            let vault = try world.vault()
            let signer = try await vault.apart { try $0.makeAuthorityKey() }
            func batch() async throws -> Int {
                try await vault.apart { _ in
                    try signer.signatures(for: [[1], [2], [3]]).count
                }
            }
            #expect(try await batch() == 3)
            world.bridge.fail(lie.fault)
            let said = await words(batch)
            #expect(!said.isEmpty && said.contains(lie.words), "\(said)")
            // What it says itself moves no cursor and ends no line.
            #expect(said.unicodeScalars.allSatisfy { $0.value >= 0x20 }, "\(said)")
            world.bridge.fail(.none)
            #expect(try await batch() == 3)
        }
    }

    @Test(arguments: [
        Lie(.givesKeyAgain, "it was there before"), Lie(.givesOtherType, "it is ec-p384"),
        Lie(.givesKeyOfOthers, "has no key"), Lie(.signsWithOtherKey, "does not verify"),
        Lie(.refuses(.resourceExhausted), "refused List"), Lie(.answersTooMuch, ""),
    ])
    func `a key that is not new, of its type and there is not taken`(lie: Lie) async throws {
        let world = try KeyServiceWorld()
        try await world.serving {
            let vault = try world.vault()
            _ = try await vault.apart { try $0.makeAuthorityKey() }
            world.bridge.fail(lie.fault)
            let said = await words { try await vault.apart { try $0.makeAuthorityKey() } }
            #expect(!said.isEmpty && said.contains(lie.words), "\(said)")
            world.bridge.fail(.none)
            _ = try await vault.apart { try $0.makeAuthorityKey() }
        }
    }

    @Test func `a service that is gone is no key that is gone, and is found when it is back`()
        async throws
    {
        let world = try KeyServiceWorld()
        let vault = try world.vault()
        let before = await words { try await vault.apart { try $0.signer(authorityID: "0a") } }
        #expect(before.contains("key service at \(world.socket) is not available"), "\(before)")
        #expect(before.contains("No such file"), "\(before)")
        let (_, signer) = try await world.serving { try await vault.authority() }
        let gone = await words { try await vault.signature(by: signer) }
        #expect(gone.contains("serviceSocket"), "\(gone)")
        #expect(world.reports.all.last == "Sign unavailable")
        try await world.serving {
            // The first call finds it: there is nothing to wait for.
            _ = try await vault.signature(by: signer)
        }
        // A restart between two calls is not even noticed.
        try await world.serving { _ = try await vault.signature(by: signer) }
        #expect(world.reports.all.suffix(2) == ["Sign ok", "Sign ok"])
    }

    @Test func `a service that does not answer is given up, and asked again`() async throws {
        let world = try KeyServiceWorld()
        try await world.serving {
            let vault = try world.vault(
                times: KeyServiceTimes(call: .milliseconds(300), batch: .seconds(30))
            )
            let signer = try await vault.apart { try $0.makeAuthorityKey() }
            world.bridge.fail(.holds)
            let said = await words { try await vault.signature(by: signer) }
            #expect(said.contains("has not answered Sign within"), "\(said)")
            #expect(world.reports.all.last == "Sign timedOut")
            // A batch has more time.
            async let batch = vault.apart { _ in try signer.signatures(for: [[1], [2]]).count }
            try await eventually("the batch has come") { world.bridge.heldCount > 0 }
            world.bridge.fail(.none)
            #expect(try await batch == 2)
            _ = try await vault.signature(by: signer)
        }
    }

    @Test func `a service whose backend is away is asked twice and not believed`() async throws {
        let world = try KeyServiceWorld()
        try await world.serving {
            let vault = try world.vault()
            let (id, _) = try await vault.authority()
            world.bridge.fail(.refuses(.unavailable))
            let calls = world.bridge.calls
            let other = try world.vault()
            let said = await words { try await other.apart { try $0.signer(authorityID: id) } }
            #expect(said.contains("not available: told"), "\(said)")
            #expect(world.bridge.calls == calls + 2)
            // Nor is anything destroyed on its word.
            let swept = await words { try await vault.apart { try $0.sweep(keeping: []) } }
            #expect(swept.contains("not available"), "\(swept)")
            world.bridge.fail(.none)
            #expect(world.bridge.count(of: "0a0b0c0d") == 1)
        }
    }

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

    @Test func `a key that the service has lost is named`() async throws {
        let world = try KeyServiceWorld()
        try await world.serving {
            let vault = try world.vault()
            let (id, signer) = try await vault.authority()
            world.bridge.lose("0a0b0c0d")
            let said = await words { try await vault.signature(by: signer) }
            #expect(said.contains("has no key"), "\(said)")
            let found = try await world.vault().apart { try $0.signer(authorityID: id) }
            #expect(found == nil)
        }
    }

    @Test func `another user's process is told nothing`() async throws {
        let world = try KeyServiceWorld()
        try await world.serving {
            let other = try world.vault(owners: SocketOwners(only: [geteuid() + 1]))
            let said = await words { try await other.apart { try $0.makeAuthorityKey() } }
            #expect(said.contains("user \(geteuid()) listens there"), "\(said)")
            #expect(world.bridge.calls == 0)
            _ = try await world.vault().apart { try $0.makeAuthorityKey() }
            #expect(world.bridge.calls > 0)
        }
    }

    @Test func `what listens and never speaks is given up`() async throws {
        let world = try KeyServiceWorld()
        let silent = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .bind(unixDomainSocketPath: world.socket).get()
        let vault = try world.vault(
            times: KeyServiceTimes(call: .milliseconds(300), batch: .milliseconds(300))
        )
        let said = await words { try await vault.apart { try $0.signer(authorityID: "0a") } }
        #expect(said.contains("has not answered List within"), "\(said)")
        try await silent.close()
    }
}
