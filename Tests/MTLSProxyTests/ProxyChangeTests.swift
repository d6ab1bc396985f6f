// SPDX-License-Identifier: Apache-2.0

import Authorization
import ControlAPIProtos
import Foundation
import Glibc
import HTTPSemantics
import MTLSProxy
import Reactor
import Routing
import SPIFFE
import Testing

/// What becomes of connections when policies, revocations, certificates or limits change.
@Suite(.timeLimit(.minutes(2)), .serialized) struct ProxyChangeTests {
    private func get(_ path: String) -> String { "GET \(path) HTTP/1.1\r\nhost: backend\r\n\r\n" }

    private func world(_ provider: TLSProvider) async throws -> World {
        let application = try Application(.mirror)
        let world = try World(provider, .http, application: application.address)
        try await world.applyServer([World.allow()])
        try await world.applyClient()
        return world
    }

    @Test(arguments: TLSProvider.allCases)
    func `a revoked peer is cut off although its connection lives`(
        _ provider: TLSProvider
    ) async throws {
        let world = try await world(provider)
        let wire = try Wire.connect(world.outboundAddress)
        wire.send(get("/"))
        #expect(wire.readAnswer()?.status == 200)
        let revocations = PeerRevocations(identities: [try SPIFFEID(World.webID): Date()])
        try await world.applyServer([World.allow()], revocations: revocations)
        wire.send(get("/again"))
        #expect(wire.readAnswer()?.status != 200)
        let sum = await world.server.sum()
        #expect(sum.reasons[.revoked] == 1)
    }

    @Test(arguments: TLSProvider.allCases)
    func `a request that takes long is denied when policies change`(
        _ provider: TLSProvider
    ) async throws {
        let application = try Application(.silent)
        let world = try World(provider, .http, application: application.address)
        try await world.applyServer([World.allow()])
        try await world.applyClient()
        let wire = try Wire.connect(world.outboundAddress)
        wire.send(get("/slow"))
        while await world.server.sum().connected == 0 { await Task.yield() }
        try await world.applyServer([World.allow(["/other"])])
        let answer = try #require(wire.readAnswer())
        #expect(answer.status == 403)
        #expect(await world.server.sum().reasons[.deniedLater] == 1)
        // The decision that it names is the later one.
        let record = try #require(
            world.server.takeRecords().records.first { $0.reason == .deniedLater }
        )
        #expect(record.decision?.isAllowed == false)
        let id = try #require(record.decisionID?.description)
        #expect(answer.body.contains(id) || answer.head.contains(id), "\(answer)")
    }

    @Test(arguments: TLSProvider.allCases)
    func `a peer that lost its right is told on the connection that it has`(
        _ provider: TLSProvider
    ) async throws {
        let world = try await world(provider)
        let wire = try Wire.connect(world.outboundAddress)
        wire.send(get("/"))
        #expect(wire.readAnswer()?.status == 200)
        try await world.applyServer([World.allow(nil, "spiffe://example.org/another")])
        wire.send(get("/"))
        #expect(wire.readAnswer()?.status == 403)
        try await world.applyServer([World.allow()])
        wire.send(get("/"))
        #expect(wire.readAnswer()?.status == 200)
        #expect(await world.server.sum().handshakes == 1)
    }

    @Test(arguments: TLSProvider.allCases)
    func `no request is lost to policies that change about others`(
        _ provider: TLSProvider
    ) async throws {
        let world = try await world(provider)
        let wires = try (0..<4).map { _ in try Wire.connect(world.outboundAddress) }
        for number in 0..<100 {
            // On their way while the policies change.
            for wire in wires { wire.send(get("/")) }
            let other = try World.allow(nil, "spiffe://example.org/another-\(number)", name: "o")
            try await world.applyServer([World.allow(), other])
            for wire in wires { try #require(wire.readAnswer()?.status == 200) }
        }
        #expect(await world.server.sum().handshakes == 4)
    }

    @Test(arguments: TLSProvider.allCases)
    func `whoever says nothing leaves room for those who are known`(
        _ provider: TLSProvider
    ) async throws {
        let world = try await world(provider)
        let wire = try Wire.connect(world.outboundAddress)
        wire.send(get("/"))
        #expect(wire.readAnswer()?.status == 200)
        var limits = ProxyLimits()
        limits.strangers = 2
        try await world.applyServer([World.allow()], limits: limits)
        let silent = try (0..<3).map { _ in try Wire.connect(world.inboundAddress) }
        // The third one ends the first.
        #expect(silent[0].readToEnd().isEmpty)
        #expect(silent[0].failure?.errorNumber == ECONNRESET)
        #expect(await world.server.sum().turnedAway == 1)
        #expect(await world.server.sum().reasons[.overloaded] == 1)
        wire.send(get("/"))
        #expect(wire.readAnswer()?.status == 200)
        // Who comes now gets in, however many say nothing.
        try await world.applyClient()
        wire.send(get("/"))
        #expect(wire.readAnswer()?.status == 200)
        #expect(await world.server.sum().turnedAway == 2)
        for other in silent { other.close() }
        while await world.server.sum().reasons[.handshake] != 1 { await Task.yield() }
    }

    @Test(arguments: TLSProvider.allCases)
    func `a proxy that ends still cuts off whom a newer snapshot revokes`(
        _ provider: TLSProvider
    ) async throws {
        let application = try Application(.silent)
        let world = try World(provider, .http, application: application.address)
        try await world.applyServer([World.allow()])
        try await world.applyClient()
        let wire = try Wire.connect(world.outboundAddress)
        wire.send(get("/slow"))
        while await world.server.sum().connected == 0 { await Task.yield() }
        let server = world.server
        async let drained: Void = server.drained()
        let revocations = PeerRevocations(identities: [try SPIFFEID(World.webID): Date()])
        try await world.applyServer([World.allow()], revocations: revocations)
        #expect(wire.readAnswer()?.status == 502)
        await drained
        #expect(world.server.takeRecords().records.map(\.reason).contains(.revoked))
    }

    @Test(arguments: TLSProvider.allCases)
    func `a listener that is renamed tells each decision under the name of its time`(
        _ provider: TLSProvider
    ) async throws {
        let application = try Application(.silent)
        let world = try World(provider, .http, application: application.address)
        try await world.applyServer([World.allow(["/slow"])])
        try await world.applyClient()
        let slow = try Wire.connect(world.outboundAddress)
        slow.send(get("/slow"))
        while await world.server.sum().connected == 0 { await Task.yield() }
        try await world.applyServer([World.allow(["/slow"])], name: "renamed")
        let other = try Wire.connect(world.outboundAddress)
        other.send(get("/secret"))
        #expect(other.readAnswer()?.status == 403)
        world.server.stop()
        let records = world.server.takeRecords().records
        world.decisions.add(records)
        #expect(records.map(\.listener) == ["renamed", "in"])
        #expect(records.map(\.revision) == [3, 1])
        let id = try #require(records.first?.decisionID?.description)
        #expect(world.decisions.explanation(of: id)?.listener == "renamed")
        let named = await world.server.sum().aggregates.keys.map { ($0.listener, $0.revision) }
        #expect(Set(named.map { "\($0) \($1)" }) == ["renamed 3", "in 1"])
        #expect(await world.server.sum().handshakes == 2)
    }

    @Test(arguments: TLSProvider.allCases)
    func `a stream does not go on to another Service`(_ provider: TLSProvider) async throws {
        let application = try Application(.echo)
        let world = try World(provider, .tcp, application: application.address)
        try await world.applyServer([World.allow()])
        try await world.applyClient()
        // Places of listeners that are gone are used again; nothing of the old ones shows.
        for number in 0..<20 {
            let wire = try Wire.connect(world.outboundAddress)
            wire.send("hello")
            #expect(wire.read(5) == Array("hello".utf8))
            try await world.applyClient(service: "another-\(number)")
            #expect(wire.readToEnd().isEmpty)
        }
        #expect(await world.client.sum().reasons[.draining] == 20)
    }

    @Test(arguments: TLSProvider.allCases)
    func `TLS contexts change for new connections and live ones stay`(
        _ provider: TLSProvider
    ) async throws {
        let world = try await world(provider)
        let wire = try Wire.connect(world.outboundAddress)
        for _ in 0..<3 {
            wire.send(get("/"))
            #expect(wire.readAnswer()?.status == 200)
            // The same with new contexts, as after a rotation.
            try await world.applyServer([World.allow()])
            try await world.applyClient()
        }
        for _ in 0..<3 {
            wire.send(get("/"))
            #expect(wire.readAnswer()?.status == 200)
            try await world.applyClient(keepsConnections: true)
        }
        let sum = await world.client.sum()
        #expect(sum.accepted == 1)
        #expect(sum.connected == 4)
    }
}
