// SPDX-License-Identifier: Apache-2.0

/// At most one deadline per key, earliest first; keys of equal deadlines come in their own order,
/// so that the same inputs always give the same answers.
///
/// A binary heap whose outdated nodes are skipped when they surface: setting, moving and removing
/// cost O(log n), waiting costs nothing.
package struct DeadlineQueue<
    Instant: Comparable & Sendable,
    Key: Hashable & Comparable & Sendable
>: Sendable {
    private struct Node {
        let instant: Instant
        let key: Key

        static func < (lhs: Self, rhs: Self) -> Bool {
            (lhs.instant, lhs.key) < (rhs.instant, rhs.key)
        }
    }

    private var nodes: [Node] = []
    private var instants: [Key: Instant] = [:]

    package init() {}

    /// How many keys have a deadline.
    package var count: Int { instants.count }

    /// The deadline of a key; nil if it has none.
    package subscript(key: Key) -> Instant? { instants[key] }

    /// The earliest deadline.
    package var earliest: Instant? { nodes.first?.instant }

    /// Sets or moves the deadline of a key; nil removes it.
    package mutating func set(_ key: Key, to instant: Instant?) {
        guard instants[key] != instant else { return }
        instants[key] = instant
        if let instant {
            nodes.append(Node(instant: instant, key: key))
            siftUp(from: nodes.count - 1)
        }
        dropOutdated()
    }

    /// Removes the earliest key whose deadline is not after `now`.
    package mutating func popDue(at now: Instant) -> Key? {
        guard let first = nodes.first, first.instant <= now else { return nil }
        instants[first.key] = nil
        dropOutdated()
        return first.key
    }

    /// Keeps the root current, and the heap at most about twice as big as the set of keys.
    private mutating func dropOutdated() {
        if nodes.count > 2 * instants.count + 64 {
            nodes = instants.map { Node(instant: $1, key: $0) }.sorted(by: <)
            return
        }
        while let first = nodes.first, instants[first.key] != first.instant { removeRoot() }
    }

    private mutating func removeRoot() {
        nodes.swapAt(0, nodes.count - 1)
        nodes.removeLast()
        var parent = 0
        while true {
            var least = parent
            for child in [2 * parent + 1, 2 * parent + 2]
            where child < nodes.count && nodes[child] < nodes[least] {
                least = child
            }
            guard least != parent else { return }
            nodes.swapAt(parent, least)
            parent = least
        }
    }

    private mutating func siftUp(from index: Int) {
        var child = index
        while child > 0 {
            let parent = (child - 1) / 2
            guard nodes[child] < nodes[parent] else { return }
            nodes.swapAt(child, parent)
            child = parent
        }
    }
}
