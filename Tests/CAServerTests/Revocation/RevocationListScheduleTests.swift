// SPDX-License-Identifier: Apache-2.0

import CAServer
import Testing

struct RevocationListScheduleTests {
    private static func at(_ seconds: Int) -> Duration { .seconds(seconds) }

    @Test func `a first change waits for two seconds, a second one for half a minute`() {
        var schedule = RevocationListSchedule(now: Self.at(0))
        #expect(schedule.wakeAt == Self.at(60))
        schedule.changed(now: Self.at(10))
        schedule.changed(now: Self.at(11))
        #expect(schedule.wakeAt == Self.at(12))
        #expect(schedule.timerFired(now: Self.at(11)) == false)
        #expect(schedule.timerFired(now: Self.at(12)) == true)
        schedule.changed(now: Self.at(13))
        #expect(schedule.wakeAt == Self.at(42))
        #expect(schedule.timerFired(now: Self.at(41)) == false)
        #expect(schedule.timerFired(now: Self.at(42)) == true)
        // After quiet it is as at first.
        schedule.changed(now: Self.at(80))
        #expect(schedule.wakeAt == Self.at(82))
    }

    @Test func `lists are looked at each minute, which holds up no round unless some were signed`()
    {
        var schedule = RevocationListSchedule(now: Self.at(0))
        #expect(schedule.timerFired(now: Self.at(60)) == true)
        schedule.changed(now: Self.at(61))
        #expect(schedule.wakeAt == Self.at(63))
        #expect(schedule.timerFired(now: Self.at(63)) == true)
        #expect(schedule.timerFired(now: Self.at(123)) == true)
        schedule.signed(now: Self.at(123))
        schedule.changed(now: Self.at(124))
        #expect(schedule.wakeAt == Self.at(153))
    }

    @Test func `the look of the minute does not let a change overtake its round`() {
        var schedule = RevocationListSchedule(now: Self.at(0))
        schedule.changed(now: Self.at(38))
        #expect(schedule.timerFired(now: Self.at(40)) == true)
        schedule.changed(now: Self.at(69))
        #expect(schedule.wakeAt == Self.at(71))
        #expect(schedule.timerFired(now: Self.at(71)) == true)
        schedule.changed(now: Self.at(72))
        #expect(schedule.wakeAt == Self.at(101))
        #expect(schedule.timerFired(now: Self.at(100)) == false)
    }

    @Test func `what could not be done is tried again after half a minute`() {
        var schedule = RevocationListSchedule(now: Self.at(0))
        schedule.changed(now: Self.at(1))
        #expect(schedule.timerFired(now: Self.at(3)) == true)
        schedule.failed(now: Self.at(3))
        #expect(schedule.wakeAt == Self.at(33))
        #expect(schedule.timerFired(now: Self.at(33)) == true)
        #expect(schedule.wakeAt == Self.at(93))
    }
}
