// SPDX-License-Identifier: Apache-2.0

import ControlAPIProtos
import Foundation
import HTTPSemantics
import MTLSProxy
import Reactor
import Routing
import Synchronization
import Testing

/// How many snapshots there are at a time: each holds policies, authorities and keys.
@Suite(.timeLimit(.minutes(1)), .serialized) struct SnapshotGenerationTests {
    @Test(arguments: TLSProvider.allCases)
    func `no connection holds the snapshot that it came under`(
        _ provider: TLSProvider
    ) async throws {
        let application = try Application(.echo)
        let world = try World(provider, .tcp, application: application.address)
        try await world.applyServer([World.allow()])
        var wires: [Wire] = []
        for _ in 0..<6 {
            try await world.applyClient()
            let wire = try Wire.connect(world.outboundAddress)
            wire.send("x")
            #expect(wire.read(1) == [UInt8(ascii: "x")])
            wires.append(wire)
        }
        // The engine keeps them until it is told that they are not needed, and nobody else does.
        #expect(world.client.generationsKept == 6)
        world.client.forget(before: world.generation)
        await world.client.settled()
        #expect(world.client.generationsKept == 1)
        #expect(world.clientSnapshotCount == 1)
        // The connections of all of them live on.
        for wire in wires {
            wire.send("y")
            #expect(wire.read(1) == [UInt8(ascii: "y")])
        }
        #expect(await world.client.sum().live == 12)
    }

    /// The one in force, and what an agent's states, its other words and the clock may bring.
    ///
    /// None of these three goes on before every loop has taken what it brought.
    private static let most = 4

    @Test(arguments: TLSProvider.allCases)
    func `what comes while a loop is busy waits for it, and no snapshots gather`(
        _ provider: TLSProvider
    ) async throws {
        let bench = try EngineControlTests.Bench(provider)
        // Nothing is granted, so that no listener stands in the way.
        let trust = try bench.trust(granted: [])
        let configuration = try bench.configuration()
        await bench.control.trust(trust)
        #expect(await bench.control.apply(configuration) == nil)
        #expect(bench.engine.generationsKept == 1)
        let held = await bench.engine.hold()
        let (engine, control) = (bench.engine, bench.control)
        let seen = Most()
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask {
                for _ in 0..<50 { #expect(await control.apply(configuration) == nil) }
            }
            group.addTask { for _ in 0..<50 { await control.trust(trust) } }
            group.addTask { for turn in 0..<50 { await control.suspend(turn % 2 == 0) } }
            while engine.generationsKept < Self.most { await Task.yield() }
            for _ in 0..<1_000 {
                seen.note(engine.generationsKept)
                await Task.yield()
            }
            held.letGo()
            group.addTask {
                while !Task.isCancelled {
                    seen.note(engine.generationsKept)
                    await Task.yield()
                }
            }
            for _ in 0..<3 { try await group.next() }
            group.cancelAll()
        }
        #expect(seen.value == Self.most)
        #expect(engine.generationsKept == 1)
    }
}

/// The greatest of many numbers.
private final class Most: Sendable {
    private let number = Mutex(0)

    var value: Int { number.withLock { $0 } }

    func note(_ new: Int) { number.withLock { $0 = max($0, new) } }
}
