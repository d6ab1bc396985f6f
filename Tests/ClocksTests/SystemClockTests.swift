// SPDX-License-Identifier: Apache-2.0

import Clocks
import FoundationEssentials
import Testing

@Suite(.timeLimit(.minutes(1)))
struct SystemClockTests {
    private let clock = SystemClock()

    @Test func `the wall clock agrees with the system's`() {
        #expect(abs(clock.wallTime.timeIntervalSince(Date())) < 5)
    }

    @Test func `the time since boot grows and is not the wall clock`() {
        let first = clock.bootTime
        let second = clock.bootTime
        #expect(first > .zero)
        #expect(second >= first)
        #expect(first < .seconds(clock.wallTime.timeIntervalSince1970))
    }

    @Test func `a sleep ends at its deadline, not before`() async throws {
        let deadline = clock.bootTime + .milliseconds(20)
        try await clock.sleep(untilBoot: deadline)
        #expect(clock.bootTime >= deadline)
    }

    @Test func `a deadline in the past returns at once`() async throws {
        try await clock.sleep(untilBoot: .zero)
        try await clock.sleep(untilBoot: clock.bootTime - .seconds(3600))
    }

    @Test func `a sleep ends when its task is cancelled`() async {
        let clock = clock
        await #expect(throws: CancellationError.self) {
            try await withThrowingTaskGroup { group in
                group.addTask { try await clock.sleep(untilBoot: clock.bootTime + .seconds(3600)) }
                group.cancelAll()
                try await group.waitForAll()
            }
        }
    }

    @Test func `a cancelled task does not even see a past deadline`() async {
        let clock = clock
        await #expect(throws: CancellationError.self) {
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.cancelAll()
                group.addTask { try await clock.sleep(untilBoot: .zero) }
                try await group.waitForAll()
            }
        }
    }
}
