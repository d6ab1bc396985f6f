// SPDX-License-Identifier: Apache-2.0

import Authorization
import Foundation
import Glibc
import HTTPSemantics
import MTLSProxy
import Reactor
import Routing
import SPIFFE
import TestPKI
import Testing

@Suite(.timeLimit(.minutes(2)), .serialized) struct ProxyHTTPTests {
    private func get(_ path: String, _ more: String = "") -> String {
        "GET \(path) HTTP/1.1\r\nhost: backend\r\n\(more)\r\n"
    }

    private func world(_ provider: TLSProvider) async throws -> World {
        let application = try Application(.mirror)
        let world = try World(provider, .http, application: application.address)
        try await world.applyServer([World.allow()])
        try await world.applyClient()
        return world
    }

    @Test(arguments: TLSProvider.allCases)
    func `requests go through both proxies, one after another`(_ provider: TLSProvider) async throws
    {
        let world = try await world(provider)
        let wire = try Wire.connect(world.outboundAddress)
        for number in 0..<5 {
            wire.send(get("/\(number)", "x-forwarded-client-cert: URI=spiffe://evil/x\r\n"))
            let answer = try #require(wire.readAnswer())
            #expect(answer.status == 200)
            #expect(answer.body.contains("get /\(number) http/1.1"))
            // What the client said of itself is gone; what the proxy saw is there.
            #expect(!answer.body.contains("spiffe://evil/x"))
            #expect(answer.body.contains("uri=spiffe://example.org/web"))
            #expect(answer.body.contains("by=spiffe://example.org/backend"))
            #expect(answer.body.contains("x-request-id: "))
        }
        let server = await world.server.sum()
        #expect(server.requests == 5)
        // One handshake, one connection to the application.
        #expect(server.handshakes == 1)
        #expect(server.connected == 1)
        #expect(server.aggregates.values.map(\.count).reduce(0, +) == 5)
    }

    @Test(arguments: TLSProvider.allCases)
    func `a body of some megabytes goes both ways`(_ provider: TLSProvider) async throws {
        let world = try await world(provider)
        let wire = try Wire.connect(world.outboundAddress)
        let body = String(repeating: "0123456789abcdef", count: 128 * 1024)
        wire.send(
            "POST /big HTTP/1.1\r\nhost: backend\r\ncontent-length: \(body.utf8.count)\r\n\r\n"
        )
        wire.send(body)
        let answer = try #require(wire.readAnswer())
        #expect(answer.status == 200)
        #expect(answer.body.hasSuffix(body))
        wire.send(get("/after"))
        #expect(wire.readAnswer()?.status == 200)
    }

    @Test(arguments: TLSProvider.allCases)
    func `who is not allowed gets 403 with a decision, and 200 after a change`(
        _ provider: TLSProvider
    ) async throws {
        let world = try await world(provider)
        try await world.applyServer([World.allow(["/public/*"])])
        let wire = try Wire.connect(world.outboundAddress)
        wire.send(get("/secret"))
        let denied = try #require(wire.readAnswer())
        #expect(denied.status == 403)
        #expect(denied.head.contains("x-signet-decision: "))
        wire.send(get("/public/x"))
        #expect(wire.readAnswer()?.status == 200)
        try await world.applyServer([World.allow()])
        wire.send(get("/secret"))
        #expect(wire.readAnswer()?.status == 200)
        let records = world.server.takeRecords().records
        let record = try #require(records.first { $0.reason == .denied })
        #expect(record.path == "/secret")
        #expect(record.peer?.description == World.webID)
        #expect(denied.head.contains(record.decisionID?.description ?? "none"))
        #expect(record.decision?.isAllowed == false)
    }

    @Test(arguments: TLSProvider.allCases)
    func `every 1,000th of what is allowed is a sample, whatever the access log says`(
        _ provider: TLSProvider
    ) async throws {
        let world = try await world(provider)
        try await world.applyServer([World.allow()], recording: .denials)
        let wire = try Wire.connect(world.outboundAddress)
        for _ in 0..<2 * ProxyLimits.decisionsPerSample {
            wire.send(get("/"))
            #expect(wire.readAnswer()?.status == 200)
        }
        let records = world.server.takeRecords().records
        #expect(records.count == 2)
        #expect(records.allSatisfy { $0.isSample && $0.isForDecisionLog && !$0.isForAccessLog })
        #expect(Set(records.compactMap(\.decisionID)).count == 2)
    }

    @Test(arguments: TLSProvider.allCases)
    func `a request with two readings is refused by name`(_ provider: TLSProvider) async throws {
        let world = try await world(provider)
        let wire = try Wire.connect(world.outboundAddress)
        wire.send(
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n"
        )
        let answer = try #require(wire.readAnswer())
        #expect(answer.status == 400)
        #expect(answer.body.contains("rule "))
        #expect(wire.readToEnd().isEmpty)
    }

    @Test(arguments: TLSProvider.allCases)
    func `a server that is not of the Service is not spoken to`(
        _ provider: TLSProvider
    ) async throws {
        let world = try await world(provider)
        try await world.applyClient(expected: ["spiffe://example.org/another"])
        let wire = try Wire.connect(world.outboundAddress)
        wire.send(get("/"))
        #expect(wire.readAnswer()?.status == 503)
        let sum = await world.client.sum()
        #expect(sum.handshakeFailures["identity_unexpected"] == 1)
        #expect(await world.server.sum().requests == 0)
    }

    @Test(arguments: TLSProvider.allCases)
    func `who may not listen behind the proxy is not spoken to`(
        _ provider: TLSProvider
    ) async throws {
        let world = try await world(provider)
        try await world.applyServer([World.allow()], forwardUIDs: [getuid() &+ 1])
        let wire = try Wire.connect(world.outboundAddress)
        wire.send(get("/"))
        #expect(wire.readAnswer()?.status == 503)
        let sum = await world.server.sum()
        #expect(sum.reasons == [.forwardOwner: 1])
        #expect(sum.serverReasons == [.forwardOwner: 1])
        let record = try #require(world.server.takeRecords().records.last)
        #expect(record.reason == .forwardOwner)
        #expect(record.detail == "\(world.application): uid \(getuid()) listens there, and may not")
    }

    @Test(arguments: TLSProvider.allCases)
    func `who may not use an outbound listener is cut off`(_ provider: TLSProvider) async throws {
        let world = try await world(provider)
        try await world.applyClient(allowedUIDs: [getuid() &+ 1])
        let wire = try Wire.connect(world.outboundAddress)
        wire.send(get("/"))
        #expect(wire.readToEnd().isEmpty)
        #expect(await world.client.sum().reasons[.clientOwner] == 1)
        #expect(await world.client.sum().requests == 0)
        // The line says who it was, and no revision has decided.
        let record = try #require(world.client.takeRecords().records.first)
        #expect(record.reason == .clientOwner)
        #expect(record.uid == getuid())
        #expect(record.peerAddress == IPAddress(ipv4: 0x7F00_0001))
        #expect(record.decisionID == nil && record.revision == 0)
    }

    @Test(arguments: TLSProvider.allCases)
    func `a Unix listener knows its clients`(_ provider: TLSProvider) async throws {
        let world = try await world(provider)
        let path = NSTemporaryDirectory() + "proxy-\(UInt64.random(in: 0 ... .max)).sock"
        try await world.applyClient(listen: .unix(path))
        let wire = try Wire.connect(path: path)
        wire.send(get("/"))
        #expect(wire.readAnswer()?.status == 200)
        try await world.applyClient(allowedUIDs: [getuid() &+ 1], listen: .unix(path))
        let other = try Wire.connect(path: path)
        other.send(get("/"))
        #expect(other.readToEnd().isEmpty)
        world.client.stop()
        #expect(!FileManager.default.fileExists(atPath: path))
    }

    @Test(arguments: TLSProvider.allCases)
    func `a socket that somebody else has put in a listener's place stays`(
        _ provider: TLSProvider
    ) async throws {
        let world = try await world(provider)
        let path = NSTemporaryDirectory() + "proxy-\(UInt64.random(in: 0 ... .max)).sock"
        try await world.applyClient(listen: .unix(path))
        try FileManager.default.moveItem(atPath: path, toPath: path + ".kept")
        let other = Wire(try Socket.listen(path: path, mode: 0o600))
        try await world.applyClient()
        #expect(FileManager.default.fileExists(atPath: path))
        try FileManager.default.removeItem(atPath: path)
        try FileManager.default.removeItem(atPath: path + ".kept")
        other.close()
    }

    @Test(arguments: TLSProvider.allCases)
    func `a WebSocket goes both ways until both sides end`(_ provider: TLSProvider) async throws {
        let application = try Application(.webSocket)
        let world = try World(provider, .http, application: application.address)
        try await world.applyServer([World.allow()])
        try await world.applyClient()
        let wire = try Wire.connect(world.outboundAddress)
        wire.send(
            get(
                "/socket",
                "upgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 13\r\n"
                    + "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            )
        )
        #expect(wire.readAnswer()?.status == 101)
        for text in ["one", "two", "three"] {
            wire.send(text)
            #expect(wire.read(text.utf8.count) == Array(text.utf8))
        }
        wire.endSending()
        #expect(wire.readToEnd().isEmpty)
        #expect(wire.failure == nil)
        while await world.server.sum().live > 0 { await Task.yield() }
        while await world.client.sum().live > 0 { await Task.yield() }
    }

    @Test(arguments: TLSProvider.allCases)
    func `an application that does not answer in time is a 504`(
        _ provider: TLSProvider
    ) async throws {
        let application = try Application(.silent)
        let world = try World(provider, .http, application: application.address)
        var limits = ProxyLimits()
        limits.answer = 200
        try await world.applyServer([World.allow()], limits: limits)
        try await world.applyClient()
        let wire = try Wire.connect(world.outboundAddress)
        wire.send(get("/"))
        #expect(wire.readAnswer()?.status == 504)
    }

    @Test(arguments: TLSProvider.allCases)
    func `nobody listens where the application should be`(_ provider: TLSProvider) async throws {
        let world = try World(provider, .http, application: try World.freeAddress())
        try await world.applyServer([World.allow()])
        try await world.applyClient()
        let wire = try Wire.connect(world.outboundAddress)
        for _ in 0..<2 {
            wire.send(get("/"))
            #expect(wire.readAnswer()?.status == 503)
        }
    }

    @Test(arguments: TLSProvider.allCases)
    func `draining finishes what there is and takes nothing more`(
        _ provider: TLSProvider
    ) async throws {
        let world = try await world(provider)
        let wire = try Wire.connect(world.outboundAddress)
        wire.send(get("/"))
        #expect(wire.readAnswer()?.status == 200)
        await world.client.drained()
        #expect(wire.readToEnd().isEmpty)
        let late = try Wire.connect(world.outboundAddress)
        late.send(get("/"))
        #expect(late.readAnswer() == nil)
    }

    @Test(arguments: TLSProvider.allCases)
    func `without a snapshot nothing listens`(_ provider: TLSProvider) async throws {
        let world = try World(provider, .http, application: try World.freeAddress())
        let wire = try Wire.connect(world.inboundAddress)
        #expect(wire.readToEnd().isEmpty)
        #expect(wire.failure?.errorNumber == ECONNREFUSED)
        #expect(await world.server.sum().accepted == 0)
    }
}

@Suite(.timeLimit(.minutes(2)), .serialized) struct ProxyStreamTests {
    private func world(_ provider: TLSProvider) async throws -> World {
        let application = try Application(.echo)
        let world = try World(provider, .tcp, application: application.address)
        try await world.applyServer([World.allow()])
        try await world.applyClient()
        return world
    }

    @Test(arguments: TLSProvider.allCases)
    func `three megabytes go both ways, and each side ends by itself`(
        _ provider: TLSProvider
    ) async throws {
        let world = try await world(provider)
        let wire = try Wire.connect(world.outboundAddress)
        let bytes = (0..<(3 << 20)).map { UInt8(truncatingIfNeeded: $0 &* 7 &+ $0 >> 9) }
        let sender = try WorkerThread(name: "sender") {
            wire.send(bytes)
            wire.endSending()
        }
        let back = Wire.readConcurrently(wire)
        sender.join()
        #expect(back == bytes)
    }

    @Test(arguments: TLSProvider.allCases)
    func `a stream of a peer that lost its right is cut off`(_ provider: TLSProvider) async throws {
        let world = try await world(provider)
        let wire = try Wire.connect(world.outboundAddress)
        wire.send("hello")
        #expect(wire.read(5) == Array("hello".utf8))
        try await world.applyServer([World.allow(nil, "spiffe://example.org/another")])
        #expect(wire.readToEnd().isEmpty)
        // A stream that is cut off does not look like one that ended.
        #expect(wire.failure?.errorNumber == ECONNRESET)
        #expect(await world.server.sum().reasons[.deniedLater] == 1)
    }

    @Test(arguments: TLSProvider.allCases)
    func `a stream that is not allowed never reaches the application`(
        _ provider: TLSProvider
    ) async throws {
        let world = try await world(provider)
        try await world.applyServer([])
        let wire = try Wire.connect(world.outboundAddress)
        wire.send("hello")
        #expect(wire.readToEnd().isEmpty)
        #expect(await world.server.sum().connected == 0)
        #expect(await world.server.sum().reasons[.denied] == 1)
    }
}

extension Wire {
    static func readConcurrently(_ wire: Wire) -> [UInt8] { wire.readToEnd() }
}
