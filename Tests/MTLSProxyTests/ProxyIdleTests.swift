// SPDX-License-Identifier: Apache-2.0

import Foundation
import Glibc
import HTTPSemantics
import MTLSProxy
import Reactor
import Routing
import Testing

/// How long connections may stay that do nothing, or are old, or do not take what they are sent.
///
/// Defaults are longer than a test may take, or than the limit of a head, which is the clock here:
/// who sends half a head is told when that has passed.
@Suite(.timeLimit(.minutes(1)), .serialized) struct ProxyIdleTests {
    private static let get = "GET / HTTP/1.1\r\nhost: backend\r\n\r\n"
    /// Longer than the others here, and the second that one may be noticed late, in milliseconds.
    private static let headMilliseconds: UInt64 = 2_500

    private func limits(_ change: (inout ProxyLimits) -> Void) -> ProxyLimits {
        var limits = ProxyLimits()
        limits.head = Self.headMilliseconds
        change(&limits)
        return limits
    }

    private func world(
        _ provider: TLSProvider,
        _ kind: Application.Kind = .mirror,
        client: ProxyLimits? = nil,
        server: ProxyLimits? = nil
    ) async throws -> World {
        let application = try Application(kind)
        let world = try World(provider, .http, application: application.address)
        try await world.applyServer([World.allow()], limits: server ?? limits { _ in })
        try await world.applyClient(limits: client ?? limits { _ in })
        return world
    }

    private func ask(_ wire: Wire) -> Int? {
        wire.send(Self.get)
        return wire.readAnswer()?.status
    }

    /// Waits until the limit of a head has passed for somebody who comes now.
    private func waitForHeadLimit(_ world: World) throws {
        let wire = try Wire.connect(world.outboundAddress)
        wire.send("GET / HT")
        #expect(wire.readAnswer()?.status == 408)
    }

    @Test(arguments: TLSProvider.allCases)
    func `a client that asks for nothing more is let go, and so is one that never asked`(
        _ provider: TLSProvider
    ) async throws {
        let world = try await world(provider, client: limits { $0.idle = 200 })
        let (wire, mute) = (
            try Wire.connect(world.outboundAddress), try Wire.connect(world.outboundAddress)
        )
        #expect(ask(wire) == 200)
        try waitForHeadLimit(world)
        // Both have gone before.
        #expect(await world.client.sum().reasons[.aged] == 2)
        for idle in [wire, mute] {
            #expect(idle.readToEnd().isEmpty)
            // Nothing was cut off.
            #expect(idle.failure == nil)
        }
    }

    @Test(arguments: TLSProvider.allCases)
    func `an idle connection to a server is given up`(_ provider: TLSProvider) async throws {
        let world = try await world(provider, client: limits { $0.poolIdle = 200 })
        let wire = try Wire.connect(world.outboundAddress)
        #expect(ask(wire) == 200)
        #expect(await world.client.sum().pooled == 1)
        try waitForHeadLimit(world)
        let sum = await world.client.sum()
        #expect(sum.pooled == 0)
        #expect(sum.serverReasons == [.aged: 1])
        // The client has its own limit, and its next request goes out on another.
        #expect(ask(wire) == 200)
        #expect(await world.client.sum().connected == 2)
    }

    @Test(arguments: TLSProvider.allCases)
    func `an idle connection to the application is given up`(
        _ provider: TLSProvider
    ) async throws {
        let world = try await world(provider, server: limits { $0.poolIdle = 200 })
        let wire = try Wire.connect(world.outboundAddress)
        #expect(ask(wire) == 200)
        try waitForHeadLimit(world)
        #expect(await world.server.sum().pooled == 0)
        #expect(ask(wire) == 200)
        let sum = await world.server.sum()
        #expect(sum.connected == 2)
        #expect(sum.handshakes == 1)
    }

    @Test(arguments: TLSProvider.allCases)
    func `a stream without a byte is cut off, and one with a byte now and then is not`(
        _ provider: TLSProvider
    ) async throws {
        let application = try Application(.echo)
        let world = try World(provider, .tcp, application: application.address)
        try await world.applyServer([World.allow()])
        try await world.applyClient(limits: limits { $0.streamIdle = 1_000 })
        let (silent, busy) = (
            try Wire.connect(world.outboundAddress), try Wire.connect(world.outboundAddress)
        )
        silent.send("hello")
        #expect(silent.read(5) == Array("hello".utf8))
        let isOver = Flag()
        let reader = try WorkerThread(name: "reader") {
            _ = silent.readToEnd()
            isOver.set()
        }
        while !isOver.isSet {
            busy.send("x")
            try #require(busy.read(1) == [UInt8(ascii: "x")])
            pause(50)
        }
        reader.join()
        #expect(silent.failure?.errorNumber == ECONNRESET)
        busy.send("y")
        #expect(busy.read(1) == [UInt8(ascii: "y")])
        _ = await world.client.sum()
        #expect(world.client.takeRecords().records.map(\.reason) == [.timedOut])
    }

    @Test(arguments: TLSProvider.allCases)
    func `a client whose connection is old is told with an answer, and loses nothing`(
        _ provider: TLSProvider
    ) async throws {
        let world = try await world(provider, client: limits { $0.connectionAge = 300 })
        let wire = try Wire.connect(world.outboundAddress)
        while true {
            wire.send(Self.get)
            let answer = try #require(wire.readAnswer())
            #expect(answer.status == 200)
            if answer.head.contains("connection: close") { break }
            pause(20)
        }
        #expect(wire.readToEnd().isEmpty)
        #expect(wire.failure == nil)
        // Its connections to servers are as old, and are not used again.
        let late = try Wire.connect(world.outboundAddress)
        #expect(ask(late) == 200)
        #expect(await world.client.sum().connected >= 2)
    }

    @Test(arguments: TLSProvider.allCases)
    func `a connection between proxies that is old is replaced, and no request is lost`(
        _ provider: TLSProvider
    ) async throws {
        let world = try await world(provider, server: limits { $0.connectionAge = 300 })
        let wire = try Wire.connect(world.outboundAddress)
        while await world.server.sum().handshakes < 3 {
            try #require(ask(wire) == 200)
            pause(20)
        }
        #expect(await world.client.sum().accepted == 1)
    }

    @Test(arguments: TLSProvider.allCases)
    func `a refused client that stays is let go after a while, and not before`(
        _ provider: TLSProvider
    ) async throws {
        for (linger, isGone) in [(200, true), (600_000, false)] as [(UInt64, Bool)] {
            let world = try await world(provider, client: limits { $0.linger = linger })
            let wire = try Wire.connect(world.outboundAddress)
            #expect(ask(wire) == 200)
            wire.send("GET / HTTP/1.1\r\nno field\r\n\r\n")
            #expect(wire.readAnswer()?.status == 400)
            #expect(wire.readToEnd().isEmpty)
            #expect(wire.failure == nil)
            try waitForHeadLimit(world)
            // Who was the clock lingers as well, and has asked for nothing before.
            let first = await world.client.list().first { $0.isDownstream && $0.requests == 1 }
            #expect(first?.state == (isGone ? nil : .linger))
            // What it still sends is thrown away, and its end is an end.
            guard !isGone else { continue }
            wire.send("more")
            wire.close()
            while await world.client.list().contains(where: {
                $0.isDownstream && $0.requests == 1
            }) {
                await Task.yield()
            }
        }
    }

    // MARK: - Slow readers

    @Test(arguments: TLSProvider.allCases)
    func `a client that takes nothing of its answer is cut off`(
        _ provider: TLSProvider
    ) async throws {
        let body = String(repeating: "b", count: 24 << 20)
        let world = try await world(
            provider,
            .fixed("HTTP/1.1 200 OK\r\ncontent-length: \(body.utf8.count)\r\n\r\n" + body),
            client: limits { $0.stall = 500 }
        )
        let wire = try Wire.connect(world.outboundAddress)
        wire.send(Self.get)
        // More than all sockets on the way hold, so that the proxy waits for it.
        while await world.client.sum().bytesOut == 0 { await Task.yield() }
        try waitForHeadLimit(world)
        _ = await world.client.sum()
        let records = world.client.takeRecords().records
        let record = try #require(records.first { $0.status == 200 })
        #expect(record.reason == .timedOut)
        #expect(record.bytesOut < UInt64(body.utf8.count))
        // What the kernel had is there still, and does not look whole.
        #expect(wire.readToEnd().count < body.utf8.count)
        #expect(wire.failure?.errorNumber == ECONNRESET)
    }

    @Test(arguments: TLSProvider.allCases)
    func `a stream's client that takes nothing is cut off when nothing moves any more`(
        _ provider: TLSProvider
    ) async throws {
        let bytes = String(repeating: "b", count: 24 << 20)
        let application = try Application(.early(bytes))
        let world = try World(provider, .tcp, application: application.address)
        try await world.applyServer([World.allow()])
        // A stream has no other limit: whoever takes nothing may still be sending.
        try await world.applyClient(limits: limits { ($0.stall, $0.streamIdle) = (100, 1_000) })
        let wire = try Wire.connect(world.outboundAddress)
        wire.send("x")
        while await world.client.sum().reasons[.timedOut] == nil { await Task.yield() }
        let arrived = wire.readToEnd().count
        #expect(arrived > 0)
        #expect(arrived < bytes.utf8.count)
        #expect(wire.failure?.errorNumber == ECONNRESET)
    }
}
