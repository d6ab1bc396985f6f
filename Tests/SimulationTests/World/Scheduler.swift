// SPDX-License-Identifier: Apache-2.0

import TestSeeds

/// Time, chance and the order of events: everything that makes a run repeatable.
///
/// One event runs at a time and to its end, so nothing here needs a lock.
final class Scheduler {
    let seed: UInt64
    let time = VirtualTime()
    var random: SeededGenerator
    private var queue = EventQueue()
    private(set) var lines: [String] = []
    /// Whether `lines` holds everything that happened, and not just the end.
    var keepsEverything = false
    private(set) var stepCount = 0

    /// Lines of the trace that a report shows.
    private static let linesMax = 120

    init(seed: UInt64) {
        self.seed = seed
        random = SeededGenerator(seed: seed)
    }

    var now: Duration { time.now }

    func after(
        _ delay: Duration,
        _ label: String,
        _ action: @escaping () async throws -> Void
    ) {
        queue.add(at: now + max(.zero, delay), label, action)
    }

    func at(
        _ instant: Duration,
        _ label: String,
        _ action: @escaping () async throws -> Void
    ) {
        queue.add(at: max(now, instant), label, action)
    }

    /// Runs the next event if it is not after `end`.
    ///
    /// - Returns: whether there was one.
    func step(until end: Duration) async throws -> Bool {
        guard let event = queue.next() else { return false }
        guard event.at <= end else {
            time.advance(to: end)
            return false
        }
        time.advance(to: event.at)
        stepCount += 1
        note(event.label)
        try await event.action()
        return true
    }

    /// Notes something for the report of a failure.
    func note(_ text: String) {
        lines.append("\(now.inSeconds) \(text)")
        if !keepsEverything, lines.count > 2 * Self.linesMax { lines.removeFirst(Self.linesMax) }
    }

    /// The last lines of what happened.
    var trace: String { lines.suffix(Self.linesMax).joined(separator: "\n") }
}

extension Duration {
    /// Seconds with three digits, for traces.
    var inSeconds: String {
        let milliseconds = Int64((self / .milliseconds(1)).rounded())
        let rest = "\(1000 + abs(milliseconds % 1000))".dropFirst()
        return "\(milliseconds < 0 ? "-" : "")\(abs(milliseconds / 1000)).\(rest)"
    }

    var seconds: Double { self / .seconds(1) }
}

/// One deadline of a node that can be moved; it dies with the node's process.
final class VirtualTimer {
    private let scheduler: Scheduler
    private let label: String
    private var generation = 0

    init(_ scheduler: Scheduler, _ label: String) {
        self.scheduler = scheduler
        self.label = label
    }

    /// Replaces the deadline set before.
    func set(at instant: Duration, _ fire: @escaping () async throws -> Void) {
        generation += 1
        let generation = generation
        scheduler.at(instant, label) { [self] in
            guard generation == self.generation else { return }
            try await fire()
        }
    }

    func cancel() { generation += 1 }
}
