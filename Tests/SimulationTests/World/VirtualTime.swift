// SPDX-License-Identifier: Apache-2.0

import Clocks
import FoundationEssentials
import NodeSync
import Synchronization

/// The true time of a simulated world: how long it has been running.
final class VirtualTime: Sendable {
    private let elapsed = Mutex(Duration.zero)

    var now: Duration { elapsed.withLock { $0 } }

    func advance(to instant: Duration) {
        elapsed.withLock { elapsed in
            precondition(elapsed <= instant, "events come in the order of their times")
            elapsed = instant
        }
    }
}

/// The clocks of one machine: the boot clock is steady, the wall clock may be stepped.
final class SimulatedClock: NodeClock {
    /// What a right wall clock shows when the world begins.
    static let beginning = Date(timeIntervalSince1970: 1_800_000_000)

    private let time: VirtualTime
    private let bootOffset: Duration
    private let offset = Mutex(Duration.zero)

    init(_ time: VirtualTime, bootedBefore bootOffset: Duration) {
        self.time = time
        self.bootOffset = bootOffset
    }

    var bootTime: Duration { time.now + bootOffset }

    var wallTime: Date {
        Self.beginning.addingTimeInterval((time.now + error) / .seconds(1))
    }

    /// How far the wall clock is ahead of the true time.
    var error: Duration { offset.withLock { $0 } }

    var reading: ClockReading { ClockReading(wall: wallTime, boot: bootTime) }

    func step(by difference: Duration) { offset.withLock { $0 += difference } }

    func set() { offset.withLock { $0 = .zero } }

    /// The true time at which the boot clock shows `boot`.
    func trueTime(ofBoot boot: Duration) -> Duration { boot - bootOffset }

    /// The simulation waits by events; nothing that it runs may wait by itself.
    func sleep(untilBoot deadline: Duration) async throws { throw CancellationError() }
}
