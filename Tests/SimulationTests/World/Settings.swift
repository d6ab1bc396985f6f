// SPDX-License-Identifier: Apache-2.0

import FoundationEssentials
import Issuance
import TestSeeds

/// What differs between the worlds of two seeds.
struct Settings {
    /// Seeds from here on make worlds that are bigger and last longer, for runs that have time.
    static let bigSeedMin: UInt64 = 1_000_000_000

    let lifetimes: SVIDLifetimes
    /// How long an authority is published before it signs: in every fourth world as for verifiers
    /// outside.
    let hold: Duration
    let agentCount: Int
    let entryNameCount: Int
    /// How long the world is watched.
    let duration: Duration
    /// When the last agent dies for ever.
    let deathAt: Duration
    /// Whether the server's clock may be set ahead by hours, after which it refuses to sign for
    /// as long; without it the other rules are watched better.
    let serverClockRuns: Bool

    init(seed: UInt64, using random: inout SeededGenerator) throws {
        let isBig = seed >= Self.bigSeedMin
        let minutes = Int64.random(in: isBig ? 15...30 : 14...16, using: &random)
        let longest = Duration.seconds(60 * minutes)
        lifetimes = try SVIDLifetimes(
            workload: longest,
            workloadMax: longest,
            agent: longest,
            server: longest,
            authority: longest * SVIDLifetimes.authorityPerSVIDMin
        )
        hold = seed.isMultiple(of: 4) ? longest / 2 : AuthorityRotation.publicationHold
        agentCount = isBig ? Int.random(in: 3...6, using: &random) : 3
        entryNameCount = isBig ? 8 : 4
        // Long enough for one rotation, in big worlds for three.
        duration = longest * (isBig ? 16 : 5)
        deathAt = random.duration(600...3600)
        serverClockRuns = random.chance(0.15)
    }
}
