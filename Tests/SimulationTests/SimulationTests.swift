// SPDX-License-Identifier: Apache-2.0

import FoundationEssentials
import Testing

/// Whole systems out of one number each; see `World`.
///
/// `SIGNET_SIMULATION_SEED=n` runs that seed alone, `SIGNET_SIMULATION_MINUTES=m` runs new seeds
/// for so long, most of them of big worlds.
@Suite(.serialized)
struct SimulationTests {
    /// Seeds that once found something, and some that did not.
    static let saved: [UInt64] = [1, 2]

    /// New worlds in each run.
    static let newCount = 20

    static var chosen: UInt64? {
        ProcessInfo.processInfo.environment["SIGNET_SIMULATION_SEED"].flatMap { UInt64($0) }
    }

    static var minutes: Double? {
        ProcessInfo.processInfo.environment["SIGNET_SIMULATION_MINUTES"].flatMap { Double($0) }
    }

    @Test(.enabled(if: chosen == nil), arguments: saved)
    func `a saved seed breaks no rule`(seed: UInt64) async throws {
        try await run(seed)
    }

    @Test(.enabled(if: chosen == nil))
    func `new seeds break no rule`() async throws {
        guard let minutes = Self.minutes else {
            for _ in 0..<Self.newCount { try await run(.random(in: 1000..<Settings.bigSeedMin)) }
            return
        }
        let end = ContinuousClock.now + .seconds(minutes * 60)
        while ContinuousClock.now < end {
            try await run(.random(in: 1000..<4 * Settings.bigSeedMin))
        }
    }

    @Test
    func `a seed makes the same world twice`() async throws {
        var traces: [[String]] = []
        for _ in 0..<2 {
            let world = try World(seed: 3)
            world.scheduler.keepsEverything = true
            try await world.run()
            traces.append(world.scheduler.lines)
        }
        let differing = zip(traces[0], traces[1]).first { $0 != $1 }
        #expect(differing == nil)
        #expect(traces[0].count == traces[1].count)
    }

    @Test(.enabled(if: chosen != nil))
    func `the chosen seed breaks no rule`() async throws {
        guard let seed = Self.chosen else { return }
        try await run(seed)
    }

    private func run(_ seed: UInt64) async throws {
        let world = try World(seed: seed)
        do {
            try await world.run()
            print("seed \(seed): \(world.summary)")
        } catch let violation as Violation {
            print("seed \(seed): BROKEN \(violation.rule)")
            Issue.record("\(violation)")
        }
    }
}
