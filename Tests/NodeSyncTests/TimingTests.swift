// SPDX-License-Identifier: Apache-2.0

import FoundationEssentials
import NodeSync
import TestSeeds
import Testing

struct TimingTests {
    private let start = ClockReading(
        wall: Date(timeIntervalSince1970: 1_800_000_000),
        boot: .seconds(100)
    )

    private func reading(boot: Int, wall: Double) -> ClockReading {
        ClockReading(
            wall: start.wall.addingTimeInterval(wall),
            boot: start.boot + .seconds(boot)
        )
    }

    @Test func `clocks that run together show no step`() {
        var detector = ClockStepDetector(startingAt: start)
        #expect(detector.observed(reading(boot: 1000, wall: 1004.9)) == nil)
        #expect(detector.observed(reading(boot: 2000, wall: 1995.1)) == nil)
    }

    @Test func `a step is reported once, with its direction`() {
        var detector = ClockStepDetector(startingAt: start)
        #expect(detector.observed(reading(boot: 10, wall: 70)) == .seconds(60))
        #expect(detector.observed(reading(boot: 20, wall: 80)) == nil)
        #expect(detector.observed(reading(boot: 30, wall: 30)) == .seconds(-60))
        #expect(detector.observed(reading(boot: 40, wall: 40)) == nil)
    }

    @Test func `slow correction is reported when it adds up`() {
        var detector = ClockStepDetector(startingAt: start)
        var reports = 0
        for minute in 1...100 {
            // 0.1 s a minute: 10 s in all.
            let now = reading(boot: minute * 60, wall: Double(minute) * 60.1)
            if detector.observed(now) != nil { reports += 1 }
        }
        #expect(reports == 1)
    }

    @Test(arguments: [
        (0.0, ClockSkew.Verdict.tolerable), (4.9, .tolerable), (-4.9, .tolerable),
        (5.0, .warning), (-5.0, .warning), (59.9, .warning),
        (60.0, .excessive), (-60.0, .excessive), (86_400.0, .excessive),
    ])
    func `an agent warns at 5 s of skew and is not ready at 60 s`(
        _ skew: Double,
        _ verdict: ClockSkew.Verdict
    ) {
        var clock = ClockSkew()
        clock.observed(
            serverTime: start.wall.addingTimeInterval(-skew),
            asked: start,
            answered: start
        )
        #expect(clock.verdict == verdict)
    }

    @Test func `a slow answer does not count as skew`() {
        var clock = ClockSkew()
        clock.observed(serverTime: start.wall, asked: start, answered: reading(boot: 20, wall: 20))
        #expect(clock.verdict == .tolerable)
        #expect(clock.uncertainty == .seconds(10))
        clock.observed(serverTime: start.wall, asked: start, answered: reading(boot: 2, wall: 80))
        #expect(clock.verdict == .excessive)
        clock.clockStepped()
        #expect(clock.skew == nil)
        #expect(clock.verdict == .tolerable)
    }

    @Test(arguments: walkSeeds)
    func `waiting grows from half a second to half a minute`(_ seed: UInt64) {
        var generator = SeededGenerator(seed: seed)
        var backoff = Backoff()
        for failure in 1...40 {
            let delay = backoff.failed(using: &generator)
            #expect(delay >= Backoff.delayMin)
            #expect(delay <= Backoff.delayMax)
            if failure == 1 { #expect(delay <= .seconds(1)) }
        }
        #expect(backoff.failures == 40)
        backoff.succeeded()
        #expect(backoff.failed(using: &generator) <= .seconds(1))
    }

    @Test func `agents that failed together wait differently`() {
        var delays: Set<Duration> = []
        for seed in 1...100 {
            var generator = SeededGenerator(seed: UInt64(seed))
            var backoff = Backoff()
            for _ in 1...9 { _ = backoff.failed(using: &generator) }
            delays.insert(backoff.failed(using: &generator))
        }
        #expect(delays.count > 95)
        #expect((delays.max() ?? .zero) - (delays.min() ?? .zero) > .seconds(20))
    }
}
