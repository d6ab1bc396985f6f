// SPDX-License-Identifier: Apache-2.0

/// Deadlines of many connections, kept lazily.
///
/// A connection holds its own deadline, so that moving it is one store. The wheel holds each key
/// once and gives it out when the slot comes that it was filed in: whoever gets it looks at the
/// connection, and files it again if its deadline lies ahead. Deadlines are up to one tick late and
/// never early.
package struct Wheel: ~Copyable {
    /// How late a deadline may be noticed, in milliseconds.
    package static let tickMilliseconds: UInt64 = 100
    /// One turn of the wheel is 51 s; a later deadline is looked at once for each turn.
    private static let slotCount: UInt64 = 512

    private var slots: [[Key]]
    private var lastTick: UInt64
    private var filed = 0

    /// - Parameter now: Milliseconds since boot.
    package init(now: UInt64) {
        slots = Array(repeating: [], count: Int(Self.slotCount))
        lastTick = now / Self.tickMilliseconds
    }

    /// Files a key that is not in the wheel.
    package mutating func file(_ key: Key, at deadline: UInt64) {
        let tick = max(deadline / Self.tickMilliseconds + 1, lastTick + 1)
        let place = min(tick, lastTick + Self.slotCount - 1) % Self.slotCount
        slots[Int(place)].append(key)
        filed += 1
    }

    /// Takes out the keys whose slots have come.
    ///
    /// - Parameters:
    ///   - now: Milliseconds since boot.
    ///   - keys: Where they are added.
    package mutating func collectDue(now: UInt64, into keys: inout [Key]) {
        let tick = now / Self.tickMilliseconds
        // After a long sleep every slot has come once.
        if tick > lastTick + Self.slotCount { lastTick = tick - Self.slotCount }
        while lastTick < tick {
            lastTick += 1
            let place = Int(lastTick % Self.slotCount)
            guard !slots[place].isEmpty else { continue }
            keys += slots[place]
            filed -= slots[place].count
            slots[place].removeAll(keepingCapacity: true)
        }
    }

    /// How long a loop may sleep, in milliseconds; nil if nothing is filed.
    package func sleepMilliseconds(now: UInt64) -> Int32? {
        guard filed > 0 else { return nil }
        var tick = lastTick + 1
        while slots[Int(tick % Self.slotCount)].isEmpty, tick < lastTick + Self.slotCount {
            tick += 1
        }
        let next = tick * Self.tickMilliseconds
        return Int32(clamping: next > now ? next - now : 0)
    }
}
