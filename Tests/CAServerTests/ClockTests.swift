// SPDX-License-Identifier: Apache-2.0

import AuditLog
import CAServer
import ControlAPI
import ControlAPIProtos
import FoundationEssentials
import SPIFFE
import SwiftProtobuf
import Telemetry
import Testing

@Suite(.timeLimit(.minutes(1)))
struct ClockTests {
    /// The problems that the log tells of, oldest first, with what was expected.
    private func told(_ server: TestServer) async throws -> [ClockRefusal] {
        try await server.records("clockRefused").reversed().compactMap { text in
            let event = try AuditRecord(parsing: Array(text.utf8)).event
            guard case .clockRefused(let refusal) = event else { return nil }
            return refusal
        }
    }

    private func requireTold(
        _ server: TestServer,
        _ problem: ClockRefusal.Problem?,
        sourceLocation: SourceLocation = #_sourceLocation
    ) async throws {
        let text = server.core.metrics.exposition()
        for each in ClockRefusal.Problem.allCases {
            let line =
                "signet_server_clock_refused{problem=\"\(each)\"} \(each == problem ? 1 : 0)\n"
            #expect(text.contains(line), sourceLocation: sourceLocation)
        }
        // A server that may not sign does not renew its own certificate either.
        let unmet = try await server.unmetConditions()
        #expect(unmet.contains("clock") == (problem != nil), sourceLocation: sourceLocation)
    }

    @Test func `a clock that went back is told once, however often it refuses`() async throws {
        let clock = ShiftedClock()
        try await withServer(clock: clock) { server in
            let agent = try await server.agent("web-1")
            try await requireTold(server, nil)
            clock.stepWall(by: -30)
            for _ in 0..<3 {
                let refused = await refusal { try await server.renew(agent, key: agent.key) }
                #expect(refused?.reason == "clockBehind")
            }
            try await requireTold(server, .behind)
            let told = try await told(server)
            #expect(told.map(\.problem) == [.behind])
            let expected = try #require(told.first).expected.date
            #expect(abs(expected.timeIntervalSince(clock.wallTime) - 30) < 10)
            clock.stepWall(by: 30)
            _ = try await server.renew(agent, key: agent.key)
            // The next look at the clock finds it well; it does not need a caller.
            clock.pass(.seconds(31))
            try await eventually("health recovers") {
                let unmet = try await server.unmetConditions()
                return unmet.isEmpty
            }
            try await requireTold(server, nil)
        }
    }

    @Test func `a clock that jumped is told once, although nobody asks for anything`() async throws
    {
        let clock = ShiftedClock()
        try await withServer(clock: clock) { server in
            clock.stepWall(by: 7200)
            clock.pass(.seconds(31))
            try await eventually("the jump is noticed") {
                let told = try await told(server)
                return !told.isEmpty
            }
            try await eventually("health shows it") {
                let unmet = try await server.unmetConditions()
                return unmet.contains("clock")
            }
            let refused = await refusal { try await server.agent("web-1") }
            #expect(refused?.reason == "clockJumped")
            clock.pass(.seconds(31))
            try await requireTold(server, .jumped)
            let first = try await told(server)
            #expect(first.map(\.problem) == [.jumped])
            let expected = try #require(first.first).expected.date
            #expect(abs(clock.wallTime.timeIntervalSince(expected) - 7200) < 100)
            // Steady for ten minutes, the new time is believed; a second jump is news again.
            clock.pass(.seconds(600))
            try await eventually("the clock is believed") {
                let unmet = try await server.unmetConditions()
                return !unmet.contains("clock")
            }
            clock.stepWall(by: 7200)
            clock.pass(.seconds(31))
            try await eventually("the second jump is told") {
                let told = try await told(server)
                return told.map(\.problem) == [.jumped, .jumped]
            }
        }
    }

    @Test func `a clock that jumped ahead signs nothing until it is set back or steady`() throws {
        let start = Date(timeIntervalSince1970: 1_800_000_000)
        let clock = ClockGuard(wall: start, boot: .seconds(100))
        func isRefused(_ wall: Double, _ boot: Int) -> Bool {
            let now = start.addingTimeInterval(wall)
            return clock.problem(wall: now, boot: .seconds(100 + boot)) != nil
        }
        #expect(!isRefused(60, 60))
        // A machine that was suspended: both clocks went on.
        #expect(!isRefused(86_400, 86_400))
        #expect(!isRefused(86_400 + 3000, 86_410))
        #expect(isRefused(86_400 * 9, 86_420))
        #expect(isRefused(86_400 * 9 + 599, 86_420 + 599))
        #expect(!isRefused(86_400 + 3600, 86_420 + 600))
        #expect(isRefused(86_400 * 9, 87_100))
        #expect(isRefused(86_400 * 10, 87_200))
        #expect(isRefused(86_400 * 10 + 599, 87_799))
        #expect(!isRefused(86_400 * 10 + 600, 87_800))
        #expect(!isRefused(86_400 * 10 + 601, 87_801))
    }

    @Test func `a clock that is moved ahead in small steps is noticed, too`() throws {
        let start = Date(timeIntervalSince1970: 1_800_000_000)
        let clock = ClockGuard(wall: start, boot: .seconds(100))
        func isRefused(ahead: Double, _ boot: Int) -> Bool {
            let now = start.addingTimeInterval(ahead + Double(boot))
            return clock.problem(wall: now, boot: .seconds(100 + boot)) != nil
        }
        #expect(!isRefused(ahead: 3000, 60))
        #expect(isRefused(ahead: 6000, 120))
        // What was taken back does not count, and after an hour the first step does not either.
        #expect(!isRefused(ahead: 0, 180))
        #expect(!isRefused(ahead: 3000, 240))
        #expect(!isRefused(ahead: 6000, 240 + 3600))
        #expect(isRefused(ahead: 9000, 240 + 3660))
    }

    @Test func `a clock that was set back is set right without a wait`() throws {
        let start = Date(timeIntervalSince1970: 1_800_000_000)
        let clock = ClockGuard(wall: start, boot: .seconds(100))
        func isRefused(ahead: Double, _ boot: Int) -> Bool {
            let now = start.addingTimeInterval(ahead + Double(boot))
            return clock.problem(wall: now, boot: .seconds(100 + boot)) != nil
        }
        // In one step, and in several; only the way back is free.
        #expect(!isRefused(ahead: -7200, 60))
        #expect(!isRefused(ahead: 0, 120))
        #expect(isRefused(ahead: 7200, 180))
        #expect(!isRefused(ahead: -3000, 240))
        #expect(!isRefused(ahead: -9000, 300))
        #expect(isRefused(ahead: 3700, 360))
        #expect(!isRefused(ahead: 5, 420))
        #expect(isRefused(ahead: 3700, 480))
        // Once the clock shows again what it showed before, it is a jump like any other.
        #expect(!isRefused(ahead: -7195, 540))
        #expect(!isRefused(ahead: -7195, 540 + 7199))
        #expect(isRefused(ahead: 5, 540 + 7201))
    }

    @Test func `a clock that swings does not wander ahead`() throws {
        let start = Date(timeIntervalSince1970: 1_800_000_000)
        let clock = ClockGuard(wall: start, boot: .seconds(100))
        var furthest = 0.0
        for boot in 1...1000 {
            for ahead in [furthest - 7200, furthest + 9] {
                let now = start.addingTimeInterval(ahead + Double(boot))
                if clock.problem(wall: now, boot: .seconds(100 + boot)) == nil {
                    furthest = max(furthest, ahead)
                }
            }
        }
        // What an even walk may gain: the largest lead, and as much again in an hour.
        #expect(furthest <= ClockGuard.jumpMax * (1 + 1000 / ClockGuard.leadTime))
    }
}
