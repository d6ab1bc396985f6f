// SPDX-License-Identifier: Apache-2.0

import Foundation
import Glibc
import HTTPSemantics
import MTLSProxy
import Reactor
import Routing
import Testing

/// How long a proxy waits, for whom, and what it sends before it goes.
@Suite(.timeLimit(.minutes(2)), .serialized) struct ProxyPatienceTests {
    /// Somebody who listens: connections stand, and nobody does anything with them but the test.
    private struct Listener {
        let wire: Wire
        let address: SocketAddress

        init() throws {
            wire = Wire(try Socket.listen(IPAddress(ipv4: 0x7F00_0001), port: 0))
            let port = wire.with { $0.localEndpoint()?.port } ?? nil
            guard let address = SocketAddress("127.0.0.1:\(port ?? 0)") else { throw NoAddress() }
            self.address = address
        }
    }

    @Test(arguments: TLSProvider.allCases)
    func `a stream whose bytes came early does not wait for a silent endpoint for ever`(
        _ provider: TLSProvider
    ) async throws {
        let application = try Application(.echo)
        let world = try World(provider, .tcp, application: application.address)
        try await world.applyServer([World.allow()])
        let silent = try Listener()
        defer { silent.wire.close() }
        var limits = ProxyLimits()
        limits.handshake = 500
        try await world.applyClient(
            endpoints: [silent.address, world.inboundAddress],
            limits: limits
        )
        let wire = try Wire.connect(world.outboundAddress)
        wire.send("hello")
        // The other endpoint has them, when the first one has said nothing for so long.
        #expect(wire.read(5) == Array("hello".utf8))
        // The stream has not failed, one of its connections has.
        let sum = await world.client.sum()
        #expect(sum.reasons.isEmpty, "\(sum.reasons)")
        #expect(sum.serverReasons == [.serverUnreachable: 1])
    }

    @Test(arguments: TLSProvider.allCases)
    func `a client is not told that it is slow while no server can be reached`(
        _ provider: TLSProvider
    ) async throws {
        let silent = try Listener()
        defer { silent.wire.close() }
        let world = try World(provider, .http, application: try World.freeAddress())
        var limits = ProxyLimits()
        (limits.stall, limits.handshake) = (100, 1_500)
        try await world.applyClient(endpoints: [silent.address], limits: limits)
        let wire = try Wire.connect(world.outboundAddress)
        wire.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nhalf ")
        #expect(wire.readAnswer()?.status == 503)
        #expect(await world.client.sum().reasons == [.serverUnreachable: 1])
        let record = try #require(world.client.takeRecords().records.last)
        #expect(record.detail == "\(silent.address): no TLS handshake in 1500 ms")
    }

    @Test(arguments: TLSProvider.allCases)
    func `a client is not told that it is slow when its server takes nothing`(
        _ provider: TLSProvider
    ) async throws {
        let world = try World(provider, .http, application: try World.freeAddress())
        let gate = Gate()
        let server = try ScriptedServer(world.root, world.backend) { tls, _ in
            _ = tls.shakeHands()
            gate.wait()
        }
        var limits = ProxyLimits()
        limits.stall = 500
        try await world.applyClient(endpoints: [server.address], limits: limits)
        let wire = try Wire.connect(world.outboundAddress)
        let body = [UInt8](repeating: UInt8(ascii: "b"), count: 24 << 20)
        let sender = try WorkerThread(name: "sender") {
            wire.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: \(body.count)\r\n\r\n")
            wire.send(body)
        }
        let answer = wire.readAnswer()
        sender.join()
        #expect(answer?.status == 504)
        // A client that is slow itself is still told so.
        let slow = try Wire.connect(world.outboundAddress)
        slow.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nhalf ")
        #expect(slow.readAnswer()?.status == 408)
        gate.open()
    }

    @Test(arguments: TLSProvider.allCases)
    func `what a WebSocket's client sends before it is one goes through at once`(
        _ provider: TLSProvider
    ) async throws {
        let application = try Application(.webSocket)
        let world = try World(provider, .http, application: application.address)
        try await world.applyServer([World.allow()])
        try await world.applyClient()
        let wire = try Wire.connect(world.outboundAddress)
        let upgrade =
            "GET /socket HTTP/1.1\r\nhost: backend\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
            + "sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        wire.send(upgrade + "hello")
        #expect(wire.readAnswer()?.status == 101)
        #expect(wire.read(5) == Array("hello".utf8))
        // Its end as well, when that came before.
        let brief = try Wire.connect(world.outboundAddress)
        brief.send(upgrade + "bye")
        brief.endSending()
        #expect(brief.readAnswer()?.status == 101)
        #expect(brief.readToEnd() == Array("bye".utf8))
        #expect(brief.failure == nil)
    }

    @Test(arguments: TLSProvider.allCases)
    func `the last bytes of a WebSocket's client arrive although its server has ended`(
        _ provider: TLSProvider
    ) async throws {
        let listener = try Listener()
        let world = try World(provider, .http, application: listener.address)
        try await world.applyServer([World.allow()])
        try await world.applyClient()
        let wire = try Wire.connect(world.outboundAddress)
        wire.send(
            "GET /socket HTTP/1.1\r\nhost: backend\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
                + "sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        let server = try #require(listener.wire.accept())
        _ = server.readAnswer()
        server.send(
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
                + "sec-websocket-accept: x\r\n\r\n"
        )
        server.endSending()
        #expect(wire.readAnswer()?.status == 101)
        #expect(wire.readToEnd().isEmpty)
        // More than the sockets on the way hold, so that the end has to wait.
        let bytes = [UInt8](repeating: 7, count: 16 << 20)
        let sender = try WorkerThread(name: "sender") {
            wire.send(bytes)
            wire.endSending()
        }
        let arrived = server.readToEnd()
        sender.join()
        #expect(arrived.count == bytes.count)
        #expect(server.failure == nil)
        while await world.server.sum().live > 0 { await Task.yield() }
        while await world.client.sum().live > 0 { await Task.yield() }
    }

    @Test(arguments: TLSProvider.allCases)
    func `a stream that is reset after its end ends on the whole way`(
        _ provider: TLSProvider
    ) async throws {
        let listener = try Listener()
        let world = try World(provider, .tcp, application: listener.address)
        try await world.applyServer([World.allow()])
        try await world.applyClient()
        let wire = try Wire.connect(world.outboundAddress)
        wire.send("hello")
        wire.endSending()
        let server = try #require(listener.wire.accept())
        #expect(server.readToEnd() == Array("hello".utf8))
        // It says nothing, so that nobody finds out by writing.
        #expect(await world.client.sum().live == 2)
        wire.with { $0.resetOnClose() }
        wire.close()
        while await world.client.sum().live > 0 { await Task.yield() }
        while await world.server.sum().live > 0 { await Task.yield() }
        #expect(await world.client.sum().reasons[.clientEnded] == 1)
        #expect(await world.server.sum().reasons[.clientEnded] == 1)
    }

    @Test(arguments: TLSProvider.allCases)
    func `a stream whose application breaks off is told as the application's end`(
        _ provider: TLSProvider
    ) async throws {
        let listener = try Listener()
        let world = try World(provider, .tcp, application: listener.address)
        try await world.applyServer([World.allow()])
        try await world.applyClient()
        let wire = try Wire.connect(world.outboundAddress)
        wire.send("hello")
        let server = try #require(listener.wire.accept())
        #expect(server.read(5) == Array("hello".utf8))
        server.with { $0.resetOnClose() }
        server.close()
        #expect(wire.readToEnd().isEmpty)
        #expect(wire.failure?.errorNumber == ECONNRESET)
        while await world.server.sum().live > 0 { await Task.yield() }
        let sum = await world.server.sum()
        #expect(sum.reasons == [.serverEnded: 1])
        #expect(sum.serverReasons == [.serverEnded: 1])
        let record = try #require(world.server.takeRecords().records.last)
        #expect(record.reason == .serverEnded)
        #expect(record.detail == listener.address.description)
    }

    @Test(arguments: TLSProvider.allCases)
    func `an answer that waits for its reader is not dropped when that has ended its side`(
        _ provider: TLSProvider
    ) async throws {
        let world = try World(provider, .http, application: try World.freeAddress())
        let path = NSTemporaryDirectory() + "patience-\(UInt64.random(in: 0 ... .max)).sock"
        // Without endpoints the proxy answers all by itself.
        try await world.applyClient(endpoints: [], listen: .unix(path))
        let request = "GET / HTTP/1.1\r\nhost: a\r\n\r\n"
        // A Unix socket holds so much for one who reads nothing: how many answers are that?
        let probe = try Wire.connect(path: path)
        probe.send(String(repeating: request, count: 2_000))
        var (count, before) = (await world.client.sum().requests, UInt64.max)
        while count == 0 || count != before {
            before = count
            await world.client.settled()
            count = await world.client.sum().requests
        }
        try #require(count < 2_000)
        // The same again; what has no room now is the last one, and its client has ended its side.
        let wire = try Wire.connect(path: path)
        wire.send(String(repeating: request, count: Int(count) - 1))
        wire.send("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        wire.endSending()
        while await world.client.sum().requests < 2 * count { await Task.yield() }
        await world.client.settled()
        let text = String(decoding: wire.readToEnd(), as: UTF8.self)
        #expect(text.components(separatedBy: "HTTP/1.1 503").count - 1 == Int(count))
        #expect(text.components(separatedBy: "connection: close").count - 1 == 1)
        #expect(wire.failure == nil)
        while await world.client.sum().live > 1 { await Task.yield() }
        probe.close()
    }
}
