// SPDX-License-Identifier: Apache-2.0

/// What is to happen, in the order of time; at one instant in the order in which it was planned.
struct EventQueue {
    struct Event {
        let at: Duration
        let number: UInt64
        let label: String
        let action: () async throws -> Void
    }

    private var heap: [Event] = []
    private var numbers: UInt64 = 0

    var isEmpty: Bool { heap.isEmpty }

    mutating func add(
        at instant: Duration,
        _ label: String,
        _ action: @escaping () async throws -> Void
    ) {
        numbers += 1
        heap.append(Event(at: instant, number: numbers, label: label, action: action))
        var child = heap.count - 1
        while child > 0 {
            let parent = (child - 1) / 2
            guard Self.precedes(heap[child], heap[parent]) else { return }
            heap.swapAt(child, parent)
            child = parent
        }
    }

    mutating func next() -> Event? {
        guard let first = heap.first else { return nil }
        heap.swapAt(0, heap.count - 1)
        heap.removeLast()
        var parent = 0
        while true {
            var least = parent
            for child in [2 * parent + 1, 2 * parent + 2]
            where child < heap.count && Self.precedes(heap[child], heap[least]) {
                least = child
            }
            guard least != parent else { return first }
            heap.swapAt(parent, least)
            parent = least
        }
    }

    private static func precedes(_ one: Event, _ other: Event) -> Bool {
        (one.at, one.number) < (other.at, other.number)
    }
}
