// SPDX-License-Identifier: Apache-2.0

import Clocks
import ControlAPI
import Foundation
import HTTPSemantics
import MTLSProxy
import NodeSync
import Reactor
import Routing
import SPIFFE
import Synchronization
import TestPKI
import Testing

/// The machine's clocks, of which a test steps one.
private final class SteppedClock: NodeClock {
    private let system = SystemClock()
    private let shift = Mutex<TimeInterval>(0)

    func step(byHours hours: Double) { shift.withLock { $0 += hours * 3600 } }

    var wallTime: Date { system.wallTime.addingTimeInterval(shift.withLock { $0 }) }

    var bootTime: Duration { system.bootTime }

    func sleep(untilBoot deadline: Duration) async throws {
        try await system.sleep(untilBoot: deadline)
    }
}

/// What a proxy does whose wall clock is hours off for a while, with peers whose clocks are right.
///
/// Their certificates have begun a minute ago and end in an hour.
@Suite(.timeLimit(.minutes(2)), .serialized) struct ProxyClockTests {
    private static func isLetIn(_ world: World) throws -> Bool {
        let wire = try Wire.connect(world.outboundAddress)
        wire.send("two")
        return wire.read(3) == Array("two".utf8)
    }

    /// A client's proxy may leave an endpoint alone for a moment that has turned it away.
    private static func isLetInAgain(_ world: World) async throws -> Bool {
        let clock = SystemClock()
        for _ in 0..<400 {
            if try isLetIn(world) { return true }
            try await clock.sleep(untilBoot: clock.bootTime + .milliseconds(50))
        }
        return false
    }

    @Test(arguments: TLSProvider.allCases)
    func `a proxy lets nobody in whose certificate its clock has ended, until that is set`(
        _ provider: TLSProvider
    ) async throws {
        let application = try Application(.echo)
        let clock = SteppedClock()
        let world = try World(
            provider,
            .tcp,
            application: application.address,
            serverClock: clock
        )
        try await world.applyServer([World.allow()])
        try await world.applyClient()
        let stream = try Wire.connect(world.outboundAddress)
        // Ahead they have ended, behind they have not begun.
        for hours in [3.0, -2] {
            stream.send("one")
            #expect(stream.read(3) == Array("one".utf8))
            clock.step(byHours: hours)
            #expect(try !Self.isLetIn(world))
            // A stream outlives its peer's certificate (docs/decisions/0009-data-path.md).
            stream.send("one")
            #expect(stream.read(3) == Array("one".utf8))
            clock.step(byHours: -hours)
            #expect(try await Self.isLetInAgain(world))
        }
        #expect(await world.server.sum().handshakeFailures.values.reduce(0, +) >= 2)
    }

    @Test(arguments: TLSProvider.allCases)
    func `whom a proxy knows to be revoked it lets in by no clock`(
        _ provider: TLSProvider
    ) async throws {
        let application = try Application(.echo)
        let clock = SteppedClock()
        let world = try World(
            provider,
            .tcp,
            application: application.address,
            serverClock: clock
        )
        let revocations = PeerRevocations(identities: [try SPIFFEID(World.webID): Date()])
        try await world.applyServer([World.allow()], revocations: revocations)
        try await world.applyClient()
        for hours in [0.0, 3, -3, -2, 2] {
            clock.step(byHours: hours)
            #expect(try !Self.isLetIn(world), "\(hours)")
        }
    }

    @Test(arguments: TLSProvider.allCases)
    func `a certificate that a wrong clock has ended is presented again, a revoked one is not`(
        _ provider: TLSProvider
    ) async throws {
        let clock = SteppedClock()
        let bench = try EngineControlTests.Bench(provider, clock: clock)
        await bench.control.trust(try bench.trust(granted: [World.backendID]))
        #expect(await bench.control.apply(try bench.configuration()) == nil)
        #expect(try bench.accepts())
        clock.step(byHours: 3)
        await bench.control.expire()
        #expect(bench.told.last?.isEmpty == true)
        #expect(!(try bench.accepts()))
        // Nobody but the clock has changed.
        clock.step(byHours: -3)
        await bench.control.expire()
        #expect(bench.told.last?.map(\.listener) == ["in"])
        #expect(try bench.accepts())
        // One that has not begun by it was signed by a server whose clock is another.
        clock.step(byHours: -2)
        await bench.control.expire()
        #expect(try bench.accepts())
        clock.step(byHours: 2)

        await bench.control.trust(
            try bench.trust(granted: [World.backendID], revokedBefore: Date() + 10)
        )
        for hours in [0.0, 3, -3, -2, 2] {
            clock.step(byHours: hours)
            await bench.control.expire()
            #expect(bench.told.last?.isEmpty == true, "\(hours)")
            #expect(!(try bench.accepts()), "\(hours)")
        }
    }
}
