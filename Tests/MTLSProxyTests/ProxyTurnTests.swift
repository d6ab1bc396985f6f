// SPDX-License-Identifier: Apache-2.0

import Authorization
import ControlAPIProtos
import Crypto
import Foundation
import HTTPSemantics
import MTLSProxy
import Reactor
import Routing
import TestPKI
import Testing

/// What a loop does in one turn, with many at a time and at its end.
@Suite(.timeLimit(.minutes(2)), .serialized) struct ProxyTurnTests {
    private func get(_ path: String) -> String { "GET \(path) HTTP/1.1\r\nhost: backend\r\n\r\n" }

    private func world(
        _ provider: TLSProvider,
        _ kind: Application.Kind = .mirror
    ) async throws -> World {
        let application = try Application(kind)
        let world = try World(provider, .http, application: application.address)
        try await world.applyServer([World.allow()])
        try await world.applyClient()
        return world
    }

    @Test(arguments: TLSProvider.allCases)
    func `handshakes that come all at once are spread over turns`(
        _ provider: TLSProvider
    ) async throws {
        let world = try await world(provider)
        let hello = try world.clientHello()
        let wires = try (0..<20).map { _ in try Wire.connect(world.inboundAddress) }
        while await world.server.sum().handshakes < 20 { await Task.yield() }
        let held = await world.server.hold()
        for wire in wires { wire.send(hello) }
        held.letGo()
        for wire in wires { #expect(wire.read(1).count == 1) }
        let turns = await world.server.sum().turns - held.turn
        #expect(turns >= UInt64(wires.count / ProxyLimits.handshakesPerTurnMax))
    }

    @Test(arguments: TLSProvider.allCases)
    func `failed handshakes are all counted, and a few are told of`(
        _ provider: TLSProvider
    ) async throws {
        let world = try await world(provider)
        let wires = try (0..<100).map { _ in try Wire.connect(world.inboundAddress) }
        for wire in wires { wire.send(get("/")) }
        func failures() async -> UInt64 {
            await world.server.sum().handshakeFailures.values.reduce(0, +)
        }
        while await failures() < 100 { await Task.yield() }
        #expect(await world.server.sum().reasons[.handshake] == 100)
        let told = world.server.takeRecords().records.filter { $0.reason == .handshake }
        // Some, for each second that it took.
        #expect(told.count >= ProxyLimits.handshakeRecordsMax)
        #expect(told.count < 100)
        withExtendedLifetime(wires) {}
    }

    @Test(arguments: TLSProvider.allCases)
    func `whom the kernel has accepted when the proxy ends is answered`(
        _ provider: TLSProvider
    ) async throws {
        let world = try await world(provider)
        let held = await world.client.hold()
        let wire = try Wire.connect(world.outboundAddress)
        wire.send(get("/"))
        let (drained, outlet) = AsyncStream.makeStream(of: Void.self)
        world.client.drain { outlet.finish() }
        held.letGo()
        let answer = try #require(wire.readAnswer())
        #expect(answer.status == 200)
        #expect(answer.head.contains("connection: close"))
        for await _ in drained {}
    }

    @Test(arguments: TLSProvider.allCases)
    func `a client whose answer had begun before the end holds it up no longer than others`(
        _ provider: TLSProvider
    ) async throws {
        let body = String(repeating: "b", count: 24 << 20)
        let world = try await world(
            provider,
            .fixed("HTTP/1.1 200 OK\r\ncontent-length: \(body.utf8.count)\r\n\r\n" + body)
        )
        // Longer than a test may take.
        var limits = ProxyLimits()
        (limits.idle, limits.drain) = (600_000, 600_000)
        try await world.applyClient(limits: limits)
        let wire = try Wire.connect(world.outboundAddress)
        wire.send(get("/"))
        // More than all sockets on the way hold: the head is out, and the rest is not.
        #expect(wire.read(1) == [UInt8(ascii: "H")])
        let (drained, outlet) = AsyncStream.makeStream(of: Void.self)
        world.client.drain { outlet.finish() }
        while !wire.isPast(body.utf8.count) {}
        for await _ in drained {}
        #expect(wire.readToEnd().count >= body.utf8.count)
        #expect(wire.failure == nil)
    }

    @Test(arguments: TLSProvider.allCases)
    func `a method without a number is explained as it was decided`(
        _ provider: TLSProvider
    ) async throws {
        let world = try await world(provider)
        let methods = try #require(AccessField(anyOf: ["PURGE"]))
        let denies = AccessPolicy(
            namespace: "default",
            name: "no-purge",
            action: .deny,
            rules: [try #require(AccessRule(to: [AccessOperation(methods: methods)]))]
        )
        try await world.applyServer([denies, World.allow()])
        let wire = try Wire.connect(world.outboundAddress)
        wire.send("PURGE /x HTTP/1.1\r\nhost: backend\r\n\r\n")
        #expect(wire.readAnswer()?.status == 403)
        // Records are handed over at the end of the turn that has answered.
        _ = await world.server.sum()
        let records = world.server.takeRecords().records
        let record = try #require(records.first { $0.reason == .denied })
        #expect(record.methodName == "PURGE")
        world.decisions.add(records)
        let id = try #require(record.decisionID?.description)
        let explanation = try #require(world.decisions.explanation(of: id))
        #expect(!explanation.allowed)
        #expect(explanation.policy == "no-purge")
        #expect(explanation.method == "PURGE")
    }
}
