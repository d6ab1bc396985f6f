// SPDX-License-Identifier: Apache-2.0

import CAServer
import Foundation
import GRPCCore
import GRPCPeer
import Issuance
import NIOCore
import NIOPosix
import Synchronization
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
        Lie(.signsOneTooMany, "4 signatures for 3 messages"), Lie(.answersTooMuch, "payload size"),
        Lie(.refuses(.permissionDenied), "refused Sign for the owner 0a0b0c0d"),
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
            #expect(said.contains(lie.words), "\(said)")
            // What it says itself moves no cursor, ends no line and turns nothing around.
            #expect(isPlain(said), "\(said)")
            world.bridge.fail(.none)
            #expect(try await batch() == 3)
        }
    }

    @Test(arguments: [
        Lie(.givesKeyAgain, "it was there before"), Lie(.givesOtherType, "it is ec-p384"),
        Lie(.givesKeyOfOthers, "has no key"), Lie(.signsWithOtherKey, "does not verify"),
        Lie(.refuses(.resourceExhausted), "refused List"),
        Lie(.answersTooMuch, "payload size"),
    ])
    func `a key that is not new, of its type and there is not taken`(lie: Lie) async throws {
        let world = try KeyServiceWorld()
        try await world.serving {
            let vault = try world.vault()
            _ = try await vault.apart { try $0.makeAuthorityKey() }
            world.bridge.fail(lie.fault)
            let said = await words { try await vault.apart { try $0.makeAuthorityKey() } }
            #expect(said.contains(lie.words), "\(said)")
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
                times: KeyServiceTimes(call: .seconds(2), batch: .seconds(60))
            )
            let signer = try await vault.apart { try $0.makeAuthorityKey() }
            world.bridge.fail(.holds)
            let said = await words { try await vault.signature(by: signer) }
            #expect(said.contains("has not answered Sign within"), "\(said)")
            #expect(world.reports.all.last == "Sign timedOut")
            // A batch has more time: it waits on when a call that came later is given up.
            let held = world.bridge.heldCount
            async let batch = vault.apart { _ in try signer.signatures(for: [[1], [2]]).count }
            try await eventually("the batch has come") { world.bridge.heldCount > held }
            let later = await words { try await vault.signature(by: signer) }
            #expect(later.contains("has not answered Sign within"), "\(later)")
            world.bridge.fail(.none)
            #expect(try await batch == 2)
            _ = try await vault.signature(by: signer)
        }
    }

    /// Also one that is ending, or that its backend has not answered in the backend's time: neither
    /// has taken the time that it has here.
    @Test(arguments: [RPCError.Code.unavailable, .cancelled, .deadlineExceeded])
    func `a service whose backend is away is asked twice and not believed`(
        code: RPCError.Code
    )
        async throws
    {
        let world = try KeyServiceWorld()
        try await world.serving {
            let vault = try world.vault()
            let (id, _) = try await vault.authority()
            world.bridge.fail(.refuses(code))
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

    @Test func `what listens and never speaks is given up, and its connection with it`()
        async throws
    {
        let world = try KeyServiceWorld()
        let connections = Connections()
        let silent = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .childChannelInitializer { connections.count($0) }
            .bind(unixDomainSocketPath: world.socket).get()
        let vault = try world.vault(
            times: KeyServiceTimes(call: .milliseconds(300), batch: .milliseconds(300))
        )
        let said = await words { try await vault.apart { try $0.signer(authorityID: "0a") } }
        #expect(said.contains("has not answered List within"), "\(said)")
        try await eventually("it has had a connection, and has none now") {
            connections.made > 0 && connections.open == 0
        }
        try await silent.close()
        withExtendedLifetime(vault) {}
    }

    /// The connections of a listener.
    private final class Connections: Sendable {
        private let counts = Mutex((made: 0, open: 0))

        var made: Int { counts.withLock { $0.made } }
        var open: Int { counts.withLock { $0.open } }

        func count(_ channel: any Channel) -> EventLoopFuture<Void> {
            counts.withLock { $0 = ($0.made + 1, $0.open + 1) }
            channel.closeFuture.whenComplete { [self] _ in counts.withLock { $0.open -= 1 } }
            return channel.eventLoop.makeSucceededVoidFuture()
        }
    }
}
