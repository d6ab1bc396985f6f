// SPDX-License-Identifier: Apache-2.0

import Foundation
import HTTPSemantics
import MTLSProxy
import Reactor
import Routing
import SPIFFE
import TestPKI
import Testing

/// Servers that are believed no longer, or do not believe us.
@Suite(.timeLimit(.minutes(2)), .serialized) struct ProxyServerTrustTests {
    private static let get = "GET / HTTP/1.1\r\nhost: backend\r\n\r\n"
    private static let ok = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
    private static let oldID = "spiffe://example.org/old"

    private func world(
        _ provider: TLSProvider,
        _ trafficProtocol: TrafficProtocol = .http,
        _ kind: Application.Kind = .mirror
    ) async throws -> World {
        let application = try Application(kind)
        let world = try World(provider, trafficProtocol, application: application.address)
        try await world.applyServer([World.allow()])
        return world
    }

    @Test(arguments: TLSProvider.allCases, [true, false])
    func `a server that is believed no longer when its handshake ends gets nothing`(
        _ provider: TLSProvider,
        isRevoked: Bool
    ) async throws {
        let world = try await world(provider)
        let (held, gate) = (Flag(), Gate())
        let old = try ScriptedServer(world.root, world.root.leaf(Self.oldID)) { tls, server in
            let isIn = tls.shakeHands {
                // The client has verified its certificate, and not heard its last word.
                held.set()
                gate.wait()
            }
            if isIn, let request = tls.readRequest() { server.hear(request) }
        }
        let endpoints = [old.address, world.inboundAddress]
        let both = Set([try SPIFFEID(Self.oldID), try SPIFFEID(World.backendID)])
        try await world.applyClient(
            endpoints: endpoints,
            requires: world.requirements(expected: both)
        )
        let wire = try Wire.connect(world.outboundAddress)
        wire.send(Self.get)
        while !held.isSet { await Task.yield() }
        await world.client.settled()
        let now =
            isRevoked
            ? world.requirements(
                expected: both,
                revocations: PeerRevocations(identities: [try SPIFFEID(Self.oldID): Date()])
            ) : world.requirements(expected: [try SPIFFEID(World.backendID)])
        try await world.applyClient(endpoints: endpoints, requires: now)
        await world.client.settled()
        gate.open()
        // The other endpoint has it.
        #expect(wire.readAnswer()?.status == 200)
        while old.endedCount == 0 { await Task.yield() }
        #expect(old.requests.isEmpty)
        let failures = await world.client.sum().handshakeFailures
        #expect(failures == [isRevoked ? "revoked" : "identity_unexpected": 1])
    }

    @Test(arguments: TLSProvider.allCases)
    func `a server whose certificate has ended gets no further request`(
        _ provider: TLSProvider
    ) async throws {
        let world = try await world(provider)
        let end = Date() + 4
        let leaf = try world.root.leaf(World.backendID) { $0.notAfter = end }
        let server = try ScriptedServer(world.root, leaf) { $1.answerAll($0, Self.ok) }
        try await world.applyClient(endpoints: [server.address])
        let wire = try Wire.connect(world.outboundAddress)
        wire.send(Self.get)
        #expect(wire.readAnswer()?.status == 200)
        // Certificates end with a whole second.
        while Date() < end + 1 { await Task.yield() }
        wire.send(Self.get)
        #expect(wire.readAnswer()?.status == 503)
        #expect(server.requests.count == 1)
        #expect(await world.client.sum().handshakeFailures == ["expired": 1])
    }

    @Test(arguments: TLSProvider.allCases, [TrafficProtocol.http, .tcp])
    func `a server that refuses our certificate is named and rests, and another is asked`(
        _ provider: TLSProvider,
        _ kind: TrafficProtocol
    ) async throws {
        let world = try await world(provider, kind)
        let refusing = try ScriptedServer(world.root, world.backend, believes: false) { tls, _ in
            _ = tls.shakeHands()
        }
        try await world.applyClient(endpoints: [refusing.address, world.inboundAddress])
        // Nothing of it was looked at, so that it may be sent again although it is a POST.
        let post = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nbody"
        for _ in 0..<20 {
            let wire = try Wire.connect(world.outboundAddress)
            wire.send(post)
            let answer = try #require(wire.readAnswer())
            #expect(answer.status == 200)
            #expect(answer.body.hasSuffix("body"))
        }
        // Half of them if it did not rest; a slow machine may have asked again after a while.
        #expect((1..<10).contains(refusing.connectionCount))
        let sum = await world.client.sum()
        #expect(sum.serverReasons[.serverUntrusted] == UInt64(refusing.connectionCount))
        // No request has failed for it.
        #expect(sum.reasons[.serverUntrusted] == nil)
        let labels = sum.handshakeFailures.keys
        #expect(!labels.isEmpty && labels.allSatisfy { $0.hasPrefix("alert_") }, "\(labels)")
        let records = world.client.takeRecords().records
        let record = try #require(records.first { $0.reason == .serverUntrusted })
        #expect(record.detail.hasPrefix("\(refusing.address): "))
        #expect(record.detail.contains("alert"))
        #expect(record.kind == .connection)
    }

    @Test(arguments: TLSProvider.allCases, [TrafficProtocol.http, .tcp])
    func `what was sent to a server before it refused our certificate goes to another`(
        _ provider: TLSProvider,
        _ kind: TrafficProtocol
    ) async throws {
        let world = try await world(provider, kind)
        let gate = Gate()
        let refusing = try ScriptedServer(world.root, world.backend, believes: false) { tls, _ in
            _ = tls.shakeHands(afterFinished: gate.wait)
        }
        try await world.applyClient(endpoints: [refusing.address, world.inboundAddress])
        let wire = try Wire.connect(world.outboundAddress)
        let (head, body) = ("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\n", "body")
        // A request opens the connection to a server; a stream does so by itself.
        if kind == .http { wire.send(head) }
        while await world.client.sum().connected == 0 { await Task.yield() }
        // To the proxy the connection is open, and the server has not looked at us.
        let before = await world.client.sum().bytesIn
        let late = kind == .http ? [body] : [head, body]
        var sent = before
        for part in late {
            wire.send(part)
            sent += UInt64(part.utf8.count)
            while await world.client.sum().bytesIn < sent { await Task.yield() }
        }
        gate.open()
        let answer = try #require(wire.readAnswer())
        #expect(answer.status == 200)
        #expect(answer.body.hasSuffix("body"))
        #expect(refusing.connectionCount == 1)
        #expect(await world.client.sum().serverReasons[.serverUntrusted] == 1)
    }

    @Test(arguments: TLSProvider.allCases)
    func `more than a record sent to a server that then refuses us is lost with it`(
        _ provider: TLSProvider
    ) async throws {
        let world = try await world(provider, .tcp)
        let gate = Gate()
        let refusing = try ScriptedServer(world.root, world.backend, believes: false) { tls, _ in
            _ = tls.shakeHands(afterFinished: gate.wait)
        }
        try await world.applyClient(endpoints: [refusing.address, world.inboundAddress])
        let wire = try Wire.connect(world.outboundAddress)
        while await world.client.sum().connected == 0 { await Task.yield() }
        let count = ProxyLimits.replayMax + 1
        wire.send([UInt8](repeating: 0x61, count: count))
        while await world.client.sum().bytesIn < UInt64(count) { await Task.yield() }
        gate.open()
        // Half a stream must not reach another server.
        #expect(wire.readToEnd().isEmpty)
        let sum = await world.client.sum()
        #expect(sum.reasons == [.serverUntrusted: 1])
        #expect(sum.connected == 1)
    }

    @Test(arguments: TLSProvider.allCases)
    func `a server alone that refuses our certificate is a 503 with its reason`(
        _ provider: TLSProvider
    ) async throws {
        let world = try await world(provider)
        let revocations = PeerRevocations(identities: [try SPIFFEID(World.webID): Date()])
        try await world.applyServer([World.allow()], revocations: revocations)
        try await world.applyClient()
        let wire = try Wire.connect(world.outboundAddress)
        wire.send(Self.get)
        #expect(wire.readAnswer()?.status == 503)
        let sum = await world.client.sum()
        #expect(sum.reasons == [.serverUntrusted: 1])
        #expect(sum.serverReasons == [.serverUntrusted: 1])
        // One line for the handshake, one for the request, and both say whose it was and why.
        let records = world.client.takeRecords().records
        #expect(records.map(\.kind) == [.connection, .request])
        for record in records {
            #expect(record.detail.hasPrefix("\(world.inboundAddress): "))
            #expect(record.detail.contains("alert"))
        }
        // As soon as it lets us in it is asked again.
        try await world.applyServer([World.allow()])
        wire.send(Self.get)
        #expect(wire.readAnswer()?.status == 200)
    }

    @Test(arguments: TLSProvider.allCases, [true, false])
    func `a live server is told apart by why it is believed no longer`(
        _ provider: TLSProvider,
        isDomainKnown: Bool
    ) async throws {
        let world = try await world(provider, .http, .silent)
        try await world.applyClient()
        let wire = try Wire.connect(world.outboundAddress)
        wire.send(Self.get)
        while await world.server.sum().connected == 0 { await Task.yield() }
        let another = try SPIFFEID("spiffe://example.org/another")
        try await world.applyClient(
            requires: isDomainKnown
                ? world.requirements(expected: [another])
                : PeerRequirements(
                    authorities: TLSAuthorities(provider: provider, bundles: [:]),
                    in: world.root.trustDomain
                )
        )
        #expect(wire.readAnswer()?.status == 503)
        let sum = await world.client.sum()
        // The request and the server's connection are counted apart, each once.
        let reason: ProxyReason = isDomainKnown ? .serverUntrusted : .revoked
        #expect(sum.reasons == [reason: 1])
        #expect(sum.serverReasons == [reason: 1])
        let record = try #require(world.client.takeRecords().records.last)
        #expect(record.detail == world.inboundAddress.description)
    }
}
