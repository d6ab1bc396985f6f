// SPDX-License-Identifier: Apache-2.0

import Foundation
import HTTPSemantics
import MTLSProxy
import Reactor
import Routing
import Testing

/// Clients that begin something and never come to its end, at each place where they can.
@Suite(.timeLimit(.minutes(1)), .serialized) struct ProxySlowHeadTests {
    private static let get = "GET / HTTP/1.1\r\nhost: backend\r\n\r\n"

    /// Sends a byte each 50 ms, for so long that a deadline that each byte moves would come after
    /// the last of them.
    private final class Drip: Sendable {
        /// 5 s of them.
        private static let bytesMax = 100
        private let isEnough = Flag()
        private let wasLast = Flag()

        /// Whether all of them are out: nobody has stopped it before.
        var isThrough: Bool { wasLast.isSet }

        init(_ bytes: [UInt8], to wire: Wire) throws {
            let (isEnough, wasLast) = (self.isEnough, self.wasLast)
            _ = try WorkerThread(name: "drip") {
                for byte in bytes.prefix(Self.bytesMax) where !isEnough.isSet {
                    wire.send([byte])
                    pause(50)
                }
                if !isEnough.isSet { wasLast.set() }
            }
        }

        deinit { isEnough.set() }

        func stop() { isEnough.set() }
    }

    private func world(_ provider: TLSProvider) async throws -> World {
        let application = try Application(.mirror)
        let world = try World(provider, .http, application: application.address)
        try await world.applyServer([World.allow()])
        var limits = ProxyLimits()
        limits.head = 300
        try await world.applyClient(limits: limits)
        return world
    }

    /// A head that does not end.
    private static let endless = Array(
        ("GET / HTTP/1.1\r\nhost: backend\r\nx: " + String(repeating: "x", count: 100)).utf8
    )

    @Test(arguments: TLSProvider.allCases)
    func `a head that comes a byte at a time has to come in time`(
        _ provider: TLSProvider
    ) async throws {
        let world = try await world(provider)
        let wire = try Wire.connect(world.outboundAddress)
        let drip = try Drip(Self.endless, to: wire)
        #expect(wire.readAnswer()?.status == 408)
        #expect(!drip.isThrough)
        drip.stop()
        #expect(wire.readToEnd().isEmpty)
    }

    @Test(arguments: TLSProvider.allCases)
    func `a body that comes a byte at a time has to come at a rate`(
        _ provider: TLSProvider
    ) async throws {
        let world = try await world(provider)
        var limits = ProxyLimits()
        limits.stall = 300
        try await world.applyClient(limits: limits)
        let wire = try Wire.connect(world.outboundAddress)
        wire.send("POST / HTTP/1.1\r\nhost: backend\r\ncontent-length: 1000\r\n\r\n")
        // 20 bytes a second, and never silent for as long as it may be.
        let drip = try Drip([UInt8](repeating: UInt8(ascii: "b"), count: 100), to: wire)
        #expect(wire.readAnswer()?.status == 408)
        #expect(!drip.isThrough)
        drip.stop()
        #expect(wire.readToEnd().isEmpty)
        // As slow, where that is fast enough.
        limits.bodyBytesPerSecond = 1
        try await world.applyClient(limits: limits)
        let other = try Wire.connect(world.outboundAddress)
        other.send("POST / HTTP/1.1\r\nhost: backend\r\ncontent-length: 20\r\n\r\n")
        let steady = try Drip([UInt8](repeating: UInt8(ascii: "b"), count: 20), to: other)
        #expect(other.readAnswer()?.status == 200)
        steady.stop()
    }

    @Test(arguments: TLSProvider.allCases)
    func `a head that began behind a request has to come in time after its answer`(
        _ provider: TLSProvider
    ) async throws {
        let world = try await world(provider)
        let wire = try Wire.connect(world.outboundAddress)
        // Not a byte comes after the answer: without its own deadline it would have a minute.
        wire.send(Self.get + "GET /second HT")
        #expect(wire.readAnswer()?.status == 200)
        #expect(wire.readAnswer()?.status == 408)
        #expect(wire.readToEnd().isEmpty)
        _ = await world.client.sum()
        let records = world.client.takeRecords().records
        #expect(records.map(\.reason) == [.none, .timedOut])
        #expect(records.last?.path == "")
        // Nor is the time moved by what comes.
        let other = try Wire.connect(world.outboundAddress)
        other.send(Array(Self.get.utf8) + Self.endless.prefix(4))
        #expect(other.readAnswer()?.status == 200)
        let drip = try Drip(Array(Self.endless.dropFirst(4)), to: other)
        #expect(other.readAnswer()?.status == 408)
        #expect(!drip.isThrough)
        drip.stop()
    }

    @Test(arguments: TLSProvider.allCases)
    func `a head that began behind a request has to come in time when the proxy answers itself`(
        _ provider: TLSProvider
    ) async throws {
        let world = try await world(provider)
        var limits = ProxyLimits()
        limits.head = 300
        try await world.applyClient(endpoints: [], limits: limits)
        let wire = try Wire.connect(world.outboundAddress)
        wire.send(Self.get + "GET /second HT")
        #expect(wire.readAnswer()?.status == 503)
        #expect(wire.readAnswer()?.status == 408)
        #expect(wire.readToEnd().isEmpty)
    }

    @Test(arguments: TLSProvider.allCases)
    func `a whole head behind a request has as long for its answer as any other`(
        _ provider: TLSProvider
    ) async throws {
        let application = try Application(.slow(1_500))
        let world = try World(provider, .http, application: application.address)
        try await world.applyServer([World.allow()])
        var limits = ProxyLimits()
        limits.head = 200
        try await world.applyClient(limits: limits)
        let wire = try Wire.connect(world.outboundAddress)
        wire.send(Self.get + "GET /sec")
        // The rest of it comes while the first one waits for its answer.
        wire.send("ond HTTP/1.1\r\nhost: backend\r\n\r\n")
        #expect(wire.readAnswer()?.status == 200)
        #expect(wire.readAnswer()?.body.hasPrefix("get /second") == true)
        #expect(await world.client.sum().reasons[.timedOut] == nil)
    }

    @Test(arguments: TLSProvider.allCases)
    func `a client that does not come to the end of its handshake is let go`(
        _ provider: TLSProvider
    ) async throws {
        let world = try await world(provider)
        var limits = ProxyLimits()
        limits.handshake = 300
        try await world.applyServer([World.allow()], limits: limits)
        let (silent, slow) = (
            try Wire.connect(world.inboundAddress), try Wire.connect(world.inboundAddress)
        )
        let drip = try Drip(try world.clientHello(), to: slow)
        #expect(silent.readToEnd().isEmpty)
        #expect(slow.readToEnd().isEmpty)
        #expect(!drip.isThrough)
        drip.stop()
        let sum = await world.server.sum()
        #expect(sum.reasons[.timedOut] == 2)
        #expect(sum.live == 0)
        // Who comes to its end goes on past it.
        let wire = try Wire.connect(world.outboundAddress)
        wire.send(Self.get)
        #expect(wire.readAnswer()?.status == 200)
    }
}
