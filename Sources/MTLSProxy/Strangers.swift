// SPDX-License-Identifier: Apache-2.0

internal import Reactor

/// The clients of a loop that have not shown who they are.
struct Strangers {
    /// Those whose TLS handshake is not done.
    var count = 0
    /// Who has sent something that was not looked at yet, in the order in which it came.
    private var waiting: [Key] = []
    /// Everybody who came, in that order, and some who are no strangers any more.
    private var came: [Key] = []
    /// The first of `came` that was not given out.
    private var first = 0

    /// The second in which failures were recorded last, and how many.
    private var recorded: (second: UInt64, count: Int) = (0, 0)

    var areWaiting: Bool { !waiting.isEmpty }

    /// Somebody has sent something.
    mutating func waits(_ key: Key) { waiting.append(key) }

    /// Who has waited longest; it may be gone.
    mutating func next() -> Key? { waiting.isEmpty ? nil : waiting.removeFirst() }

    /// One more is there.
    mutating func came(_ key: Key) {
        count += 1
        came.append(key)
    }

    /// Gives out everybody who came, to be told again of those who are strangers still; nothing
    /// while few of them can be anything else.
    mutating func takeToSift() -> ArraySlice<Key> {
        guard came.count > 2 * count + 64 else { return [] }
        defer { (came, first) = ([], 0) }
        return came[first...]
    }

    /// Somebody who was given out is one still.
    mutating func stays(_ key: Key) { came.append(key) }

    /// Gives out who came first, each once; it may be known by now, or gone.
    mutating func oldest() -> Key? {
        guard first < came.count else { return nil }
        defer { first += 1 }
        return came[first]
    }

    /// Whether one more failed handshake is recorded: anybody can make any number of them.
    mutating func takesRecord(now: UInt64) -> Bool {
        if recorded.second != now / 1000 { recorded = (now / 1000, 0) }
        recorded.count += 1
        return recorded.count <= ProxyLimits.handshakeRecordsMax
    }
}
