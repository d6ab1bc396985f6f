// SPDX-License-Identifier: Apache-2.0

import ContainersPreview
import Reactor
import Testing

@Suite struct SlabTests {
    /// Something that shows when it ends.
    private struct Thing: ~Copyable {
        final class Ends { var names: [String] = [] }
        let name: String
        var reads = 0
        let ends: Ends
        deinit { ends.names.append(name) }
    }

    /// Ends whatever the key reaches.
    ///
    /// - Returns: Its name; nil if it reaches nothing.
    private func remove(_ key: Key, _ slab: inout Slab<Thing>) -> String? {
        guard var held = slab.checkOut(key) else { return nil }
        held.value.reads += 1
        let name = held.value.name
        slab.remove(key, held)
        return name
    }

    @Test func `a key reaches its own connection and no other`() {
        let ends = Thing.Ends()
        var slab = Slab<Thing>()
        let first = slab.insert(Thing(name: "first", ends: ends))
        let second = slab.insert(Thing(name: "second", ends: ends))
        let live = slab.live
        #expect(live == 2)
        let removed = remove(first, &slab)
        #expect(removed == "first")
        #expect(ends.names == ["first"])
        let third = slab.insert(Thing(name: "third", ends: ends))
        // The slot is the same, the key is not.
        #expect(third.index == first.index)
        #expect(third != first)
        let (isFirst, isSecond, isThird) = (
            slab.isLive(first), slab.isLive(second), slab.isLive(third)
        )
        #expect(!isFirst && isSecond && isThird)
        let stale = remove(first, &slab)
        #expect(stale == nil)
    }

    @Test func `who is checked out is nobody else's`() {
        let ends = Thing.Ends()
        var slab = Slab<Thing>()
        let key = slab.insert(Thing(name: "one", ends: ends))
        guard let held = slab.checkOut(key) else {
            Issue.record("not there")
            return
        }
        let again = remove(key, &slab)
        let listed = slab.key(at: key.index)
        #expect(again == nil && listed == nil)
        slab.checkIn(key, held)
        let back = slab.key(at: key.index)
        #expect(back == key)
        #expect(ends.names.isEmpty)
    }

    @Test func `who is never settled is closed, and the slot stays empty`() {
        let ends = Thing.Ends()
        var slab = Slab<Thing>()
        let key = slab.insert(Thing(name: "lost", ends: ends))
        do { _ = slab.checkOut(key) }
        #expect(ends.names == ["lost"])
        let again = remove(key, &slab)
        #expect(again == nil)
        let next = slab.insert(Thing(name: "next", ends: ends))
        #expect(next.index != key.index)
    }

    @Test func `keys of no connection are refused`() {
        var slab = Slab<Thing>()
        let key = slab.insert(Thing(name: "one", ends: .init()))
        for strange in [
            Key.none, Key(rawValue: 7), Key(index: key.index, generation: 0),
            Key(index: key.index + 1, generation: 1), Key(index: key.index, generation: 2),
        ] {
            let reached = remove(strange, &slab)
            #expect(reached == nil)
        }
    }
}

@Suite struct WheelTests {
    @Test func `a deadline is noticed at most one tick late and never early`() {
        var wheel = Wheel(now: 1000)
        let key = Key(index: 1, generation: 1)
        wheel.file(key, at: 2050)
        var due: [Key] = []
        var noticed: UInt64 = 0
        for now in stride(from: UInt64(1000), through: 3000, by: 10) {
            wheel.collectDue(now: now, into: &due)
            if !due.isEmpty, noticed == 0 { noticed = now }
        }
        #expect(due == [key])
        #expect((2050...2150).contains(noticed))
    }

    @Test func `a deadline beyond one turn is looked at once for each turn`() {
        var wheel = Wheel(now: 0)
        let key = Key(index: 1, generation: 1)
        wheel.file(key, at: 10_000_000)
        var due: [Key] = []
        wheel.collectDue(now: 51_000, into: &due)
        #expect(due.isEmpty)
        wheel.collectDue(now: 51_200, into: &due)
        #expect(due == [key])
    }

    @Test func `a loop sleeps until the next deadline`() {
        var wheel = Wheel(now: 1000)
        let sleep1000 = wheel.sleepMilliseconds(now: 1000)
        #expect(sleep1000 == nil)
        wheel.file(Key(index: 1, generation: 1), at: 5000)
        let sleep = wheel.sleepMilliseconds(now: 1000) ?? 0
        #expect((4000...4100).contains(sleep))
        var due: [Key] = []
        wheel.collectDue(now: 1000 + UInt64(sleep), into: &due)
        #expect(due.count == 1)
        let sleep6000 = wheel.sleepMilliseconds(now: 6000)
        #expect(sleep6000 == nil)
    }

    @Test func `after a long sleep everything comes once`() {
        var wheel = Wheel(now: 0)
        let keys = (1...100).map { Key(index: $0, generation: 1) }
        for key in keys { wheel.file(key, at: UInt64(key.index) * 400) }
        var due: [Key] = []
        wheel.collectDue(now: 10_000_000, into: &due)
        #expect(Set(due) == Set(keys))
        #expect(due.count == keys.count)
    }
}

@Suite(.timeLimit(.minutes(1))) struct MailboxTests {
    @Test func `messages arrive in their order on another thread`() throws {
        let mailbox = try Mailbox<Int>()
        let answers = try Mailbox<[Int]>()
        let thread = try WorkerThread(name: "mailbox test") {
            var seen = 0
            var all: [Int] = []
            guard var poller = try? Poller() else { return }
            try? poller.add(mailbox.wakeUp, Key(rawValue: 1))
            while all.count < 100 {
                let number = poller.wait(milliseconds: nil)
                for index in 0..<number { _ = poller.event(index) }
                all += mailbox.take(ifNewerThan: &seen)
            }
            answers.post(all)
        }
        for number in 0..<100 { #expect(mailbox.post(number)) }
        thread.join()
        var seen = 0
        #expect(answers.take(ifNewerThan: &seen) == [Array(0..<100)])
        #expect(answers.take(ifNewerThan: &seen) == [])
    }

    @Test func `a mailbox that nobody empties refuses`() throws {
        let mailbox = try Mailbox<Int>()
        for number in 0..<Mailbox<Int>.messagesMax { #expect(mailbox.post(number)) }
        #expect(!mailbox.post(0))
    }
}
