// SPDX-License-Identifier: Apache-2.0

import Glibc
import HTTPSemantics
import MTLSProxy
import Reactor
import Routing
import Testing

/// What is told of failures, and of connections that live.
@Suite(.timeLimit(.minutes(2)), .serialized) struct ProxyStatusTests {
    private static let get = "GET / HTTP/1.1\r\nhost: backend\r\n\r\n"

    @Test(arguments: TLSProvider.allCases, [TrafficProtocol.http, .tcp])
    func `who reaches nobody is counted once, and the line names the endpoint and the error`(
        _ provider: TLSProvider,
        _ kind: TrafficProtocol
    ) async throws {
        let closed = try World.freeAddress()
        let world = try World(provider, kind, application: closed)
        try await world.applyClient(endpoints: [closed])
        for _ in 0..<3 {
            let wire = try Wire.connect(world.outboundAddress)
            wire.send(Self.get)
            #expect(wire.readAnswer()?.status == (kind == .tcp ? nil : 503))
        }
        let sum = await world.client.sum()
        #expect(sum.reasons == [.serverUnreachable: 3])
        #expect(sum.serverReasons == [.serverUnreachable: 3])
        let records = world.client.takeRecords().records
        #expect(records.map(\.reason) == Array(repeating: .serverUnreachable, count: 3))
        let refused = SystemError(errorNumber: ECONNREFUSED)
        for record in records {
            #expect(record.kind == (kind == .tcp ? .connection : .request))
            #expect(record.detail == "\(closed): \(refused)")
            // The other side's proxy would have decided.
            #expect(record.decisionID == nil && record.revision == 0)
        }
    }

    @Test(arguments: TLSProvider.allCases)
    func `words about a failure are not told of the next request`(
        _ provider: TLSProvider
    ) async throws {
        let application = try Application(.mirror)
        let world = try World(provider, .http, application: application.address)
        try await world.applyServer([World.allow()])
        let closed = try World.freeAddress()
        try await world.applyClient(endpoints: [closed])
        let wire = try Wire.connect(world.outboundAddress)
        for (endpoints, status) in [([closed], 503), ([closed, world.inboundAddress], 200)] {
            try await world.applyClient(endpoints: endpoints)
            wire.send(Self.get)
            #expect(wire.readAnswer()?.status == status)
        }
        wire.send("GET / HTTP/1.1\r\nno field\r\n\r\n")
        #expect(wire.readAnswer()?.status == 400)
        _ = await world.client.sum()
        let records = world.client.takeRecords().records
        #expect(records.map(\.reason) == [.serverUnreachable, .none, .requestRefused])
        #expect(records.map(\.detail.isEmpty) == [false, true, true])
    }

    @Test(arguments: TLSProvider.allCases)
    func `a connection between two requests is idle, and its server's is pooled`(
        _ provider: TLSProvider
    ) async throws {
        let application = try Application(.mirror)
        let world = try World(provider, .http, application: application.address)
        try await world.applyServer([World.allow()])
        try await world.applyClient()
        let wire = try Wire.connect(world.outboundAddress)
        for _ in 0..<2 {
            wire.send(Self.get)
            #expect(wire.readAnswer()?.status == 200)
        }
        for engine in [world.client, world.server] {
            let list = await engine.list()
            #expect(list.count == 2)
            let client = try #require(list.first { $0.isDownstream })
            let server = try #require(list.first { !$0.isDownstream })
            #expect(client.state == .idle && server.state == .pooled)
            #expect(client.requests == 2 && server.requests == 2)
            #expect(client.bytesIn > 0 && client.bytesOut > 0)
            // What came from one went to the other.
            #expect(server.bytesOut == client.bytesIn && server.bytesIn == client.bytesOut)
        }
    }

    @Test(arguments: TLSProvider.allCases)
    func `a connection whose request is under way says how far it is`(
        _ provider: TLSProvider
    ) async throws {
        let application = try Application(.silent)
        let world = try World(provider, .http, application: application.address)
        try await world.applyServer([World.allow()])
        try await world.applyClient()
        let wire = try Wire.connect(world.outboundAddress)
        #expect(await connections(of: world, when: .idle).count == 1)
        wire.send("POST / HT")
        #expect(await connections(of: world, when: .head).count == 1)
        wire.send("TP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\n")
        _ = await connections(of: world, when: .request)
        wire.send("body")
        while await world.server.sum().connected == 0 { await Task.yield() }
        let list = await connections(of: world, when: .answer)
        let server = try #require(list.first { !$0.isDownstream })
        #expect(server.state == .request)
        #expect(server.requests == 1 && server.bytesOut > 4 && server.bytesIn == 0)
    }

    /// Waits until the client's connection does something.
    private func connections(
        of world: World,
        when state: ConnectionState
    ) async -> [ConnectionStatus] {
        var list: [ConnectionStatus] = []
        while list.first(where: \.isDownstream)?.state != state {
            await Task.yield()
            list = await world.client.list()
        }
        return list
    }

    @Test(arguments: TLSProvider.allCases)
    func `a stream's two connections tell the same bytes`(_ provider: TLSProvider) async throws {
        let application = try Application(.echo)
        let world = try World(provider, .tcp, application: application.address)
        try await world.applyServer([World.allow()])
        try await world.applyClient()
        let wire = try Wire.connect(world.outboundAddress)
        wire.send("hello")
        #expect(wire.read(5) == Array("hello".utf8))
        let list = await world.client.list()
        #expect(list.map(\.state) == [.stream, .stream])
        #expect(list.map(\.bytesIn) == [5, 5] && list.map(\.bytesOut) == [5, 5])
        #expect(list.map(\.requests) == [0, 0])
    }
}
