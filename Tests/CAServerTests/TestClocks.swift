// SPDX-License-Identifier: Apache-2.0

import Clocks
import FoundationEssentials
import Synchronization

/// The machine's clocks, moved by what a test says.
final class ShiftedClock: NodeClock {
    private let system = SystemClock()
    private let shifts: Mutex<(wall: TimeInterval, boot: Duration)>

    init(wall: TimeInterval = 0) {
        shifts = Mutex((wall, .zero))
    }

    /// Steps the wall clock alone.
    func stepWall(by seconds: TimeInterval) {
        shifts.withLock { $0.wall += seconds }
    }

    /// Lets time pass on both clocks; who sleeps at the moment does not wake earlier.
    func pass(_ duration: Duration) {
        shifts.withLock { shifts in
            shifts.wall += duration / .seconds(1)
            shifts.boot += duration
        }
    }

    var wallTime: Date { system.wallTime.addingTimeInterval(shifts.withLock { $0.wall }) }

    var bootTime: Duration { system.bootTime + shifts.withLock { $0.boot } }

    func sleep(untilBoot deadline: Duration) async throws {
        try await system.sleep(untilBoot: deadline - shifts.withLock { $0.boot })
    }
}

/// The machine's clocks, running faster: a day of rotation in a few seconds.
struct FastClock: NodeClock {
    private let system = SystemClock()
    private let factor: Int
    private let startWall: Date
    private let startBoot: Duration

    init(factor: Int) {
        self.factor = factor
        startWall = system.wallTime
        startBoot = system.bootTime
    }

    var wallTime: Date {
        startWall.addingTimeInterval((system.bootTime - startBoot) / .seconds(1) * Double(factor))
    }

    var bootTime: Duration { startBoot + (system.bootTime - startBoot) * factor }

    func sleep(untilBoot deadline: Duration) async throws {
        try await system.sleep(untilBoot: startBoot + (deadline - startBoot) / factor)
    }
}
