// SPDX-License-Identifier: Apache-2.0

import Foundation
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
        #expect(await world.client.sum().reasons[.serverUnreachable] == 1)
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
        #expect(await world.client.sum().reasons[.timedOut] == nil)
    }

    @Test(arguments: TLSProvider.allCases)
    func `a client is not told that it is slow when its server takes nothing`(
        _ provider: TLSProvider
    ) async throws {
        let world = try World(provider, .http, application: try World.freeAddress())
        let gate = try Gate()
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
}
