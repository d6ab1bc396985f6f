// SPDX-License-Identifier: Apache-2.0

import Authorization
import Crypto
import Foundation
import HTTPSemantics
import MTLSProxy
import Reactor
import Routing
import SPIFFE
import TestPKI
import Testing

/// Several endpoints of one Service: which is asked, and what becomes of those that fail.
@Suite(.timeLimit(.minutes(2)), .serialized) struct EndpointTests {
    private static let get = "GET / HTTP/1.1\r\nhost: backend\r\n\r\n"

    /// A server that presents another identity than the Service's.
    private func impostor(_ world: World) async throws -> (ProxyEngine, SocketAddress) {
        try await server(world, as: world.web)
    }

    /// One more server in front of the same application.
    private func server(
        _ world: World,
        as leaf: TestLeaf
    ) async throws -> (ProxyEngine, SocketAddress) {
        let address = try World.freeAddress()
        let engine = try ProxyEngine(workers: 1, provider: world.provider)
        let identity = TLSIdentity(
            chain: leaf.chain,
            privateKeyPKCS8: Array(leaf.key.derRepresentation)
        )
        let route = InboundRoute(
            listener: InboundListener(
                name: "in",
                address: address,
                identity: try SPIFFEID(leaf.uri),
                trafficProtocol: world.trafficProtocol,
                forward: .address(world.application),
                forwardUIDs: [getuid()],
                workloadPort: 80
            ),
            context: try TLSContext(
                provider: world.provider,
                role: .server,
                identities: [identity]
            ),
            requirements: world.requirements(),
            policies: try CompiledPolicySet([World.allow()])
        )
        let snapshot = ProxySnapshot(generation: 1, revision: 1, inbound: [route], outbound: [])
        try await withCheckedThrowingContinuation { (done: CheckedContinuation<Void, any Error>) in
            do {
                try engine.apply(snapshot) { done.resume() }
            } catch {
                done.resume(throwing: error)
            }
        }
        return (engine, address)
    }

    @Test(arguments: TLSProvider.allCases, [TrafficProtocol.http, .tcp])
    func `two endpoints that are well take turns`(
        _ provider: TLSProvider,
        _ kind: TrafficProtocol
    ) async throws {
        let application = try Application(.mirror)
        let world = try World(provider, kind, application: application.address)
        try await world.applyServer([World.allow()])
        let (second, address) = try await server(world, as: world.backend)
        defer { second.stop() }
        try await world.applyClient(endpoints: [world.inboundAddress, address])
        for number in 1...10 {
            let wire = try Wire.connect(world.outboundAddress)
            wire.send(Self.get)
            #expect(wire.readAnswer()?.status == 200)
            // Each in its turn, not the first half here and the second half there.
            let counts = [await world.server.sum(), await second.sum()]
                .map { kind == .http ? $0.requests : $0.handshakes }
            #expect(counts == [UInt64(number + 1) / 2, UInt64(number) / 2])
        }
        // Requests of one endpoint go over one connection.
        #expect(await second.sum().handshakes == (kind == .http ? 1 : 5))
    }

    @Test(arguments: TLSProvider.allCases, [TrafficProtocol.http, .tcp])
    func `an endpoint that cannot be reached is gone round, and rests`(
        _ provider: TLSProvider,
        _ kind: TrafficProtocol
    ) async throws {
        let application = try Application(.mirror)
        let world = try World(provider, kind, application: application.address)
        try await world.applyServer([World.allow()])
        let closed = try World.freeAddress()
        try await world.applyClient(endpoints: [closed, world.inboundAddress])
        for _ in 0..<20 {
            let wire = try Wire.connect(world.outboundAddress)
            wire.send(Self.get)
            #expect(wire.readAnswer()?.status == 200)
        }
        let sum = await world.client.sum()
        // Half of them if it did not rest; a slow machine may have asked again after a while.
        let failed = sum.serverReasons[.serverUnreachable] ?? 0
        #expect((1..<10).contains(failed), "\(sum.serverReasons)")
        #expect(sum.reasons[.serverUnreachable] == nil)
        // When all rest, each is asked all the same.
        try await world.applyClient(endpoints: [closed])
        let wire = try Wire.connect(world.outboundAddress)
        wire.send(Self.get)
        #expect(wire.readAnswer()?.status == (kind == .tcp ? nil : 503))
    }

    @Test(arguments: TLSProvider.allCases, [TrafficProtocol.http, .tcp])
    func `all that was sent goes to the other endpoint, the end as well`(
        _ provider: TLSProvider,
        _ kind: TrafficProtocol
    ) async throws {
        let application = try Application(kind == .tcp ? .echo : .mirror)
        let world = try World(provider, kind, application: application.address)
        try await world.applyServer([World.allow()])
        let (impostor, address) = try await impostor(world)
        defer { impostor.stop() }
        try await world.applyClient(endpoints: [address, world.inboundAddress])
        let wire = try Wire.connect(world.outboundAddress)
        let body = String(repeating: "b", count: 100_000)
        let post = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: \(body.utf8.count)\r\n\r\n\(body)"
        wire.send(post)
        if kind == .tcp {
            wire.endSending()
            #expect(String(decoding: wire.readToEnd(), as: UTF8.self) == post)
        } else {
            let answer = try #require(wire.readAnswer())
            #expect(answer.status == 200)
            #expect(answer.body.hasSuffix(body))
        }
    }

    @Test(arguments: TLSProvider.allCases, [TrafficProtocol.http, .tcp])
    func `who presents another identity gets nothing, and another is asked`(
        _ provider: TLSProvider,
        _ kind: TrafficProtocol
    ) async throws {
        let application = try Application(.mirror)
        let world = try World(provider, kind, application: application.address)
        try await world.applyServer([World.allow()])
        let (impostor, address) = try await impostor(world)
        defer { impostor.stop() }
        try await world.applyClient(endpoints: [address, world.inboundAddress])
        for _ in 0..<10 {
            let wire = try Wire.connect(world.outboundAddress)
            wire.send(Self.get)
            #expect(wire.readAnswer()?.status == 200)
        }
        #expect(await world.client.sum().serverReasons[.serverUntrusted] ?? 0 >= 1)
        // It has not come so far that its application was asked for anything.
        #expect(await impostor.sum().connected == 0)
    }

    @Test(arguments: TLSProvider.allCases)
    func `a list that changes leaves the connections to what stays in it alone`(
        _ provider: TLSProvider
    ) async throws {
        let application = try Application(.mirror)
        let world = try World(provider, .http, application: application.address)
        try await world.applyServer([World.allow()])
        try await world.applyClient()
        let wire = try Wire.connect(world.outboundAddress)
        func ask() -> Int? {
            wire.send(Self.get)
            return wire.readAnswer()?.status
        }
        #expect(ask() == 200)
        let other = try World.freeAddress()
        // It has another place now, and is not alone.
        try await world.applyClient(
            endpoints: [other, world.inboundAddress],
            keepsConnections: true
        )
        for _ in 0..<4 { #expect(ask() == 200) }
        #expect(await world.client.sum().connected == 1)
        #expect(await world.server.sum().handshakes == 1)
        // Gone from the list, its idle connection is ended.
        try await world.applyClient(endpoints: [other], keepsConnections: true)
        #expect(ask() == 503)
        while await world.client.sum().pooled > 0 { await Task.yield() }
        try await world.applyClient(keepsConnections: true)
        #expect(ask() == 200)
        #expect(await world.server.sum().handshakes == 2)
    }
}
