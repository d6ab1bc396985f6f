// SPDX-License-Identifier: Apache-2.0

import FoundationEssentials
import Issuance

/// What differs between the worlds of two seeds.
struct Settings {
    let lifetimes: SVIDLifetimes
    let agentCount: Int
    /// How long the world is watched.
    let duration: Duration
    /// When the last agent dies for ever.
    let deathAt: Duration
    /// Whether the server's clock may be set ahead by hours, after which it refuses to sign for
    /// as long; without it the other rules are watched better.
    let serverClockRuns: Bool

    init(seed: UInt64, using random: inout SeededGenerator, duration: Duration?) throws {
        let minutes = Int64.random(in: 20...30, using: &random)
        let longest = Duration.seconds(60 * minutes)
        lifetimes = try SVIDLifetimes(
            workload: longest, workloadMax: longest, agent: longest, server: longest,
            authority: longest * SVIDLifetimes.authorityPerSVIDMin)
        agentCount = Int.random(in: 3...4, using: &random)
        self.duration = duration ?? .seconds(60 * 60 * 4)
        deathAt = random.duration(1200...6000)
        serverClockRuns = random.chance(0.15)
    }
}
