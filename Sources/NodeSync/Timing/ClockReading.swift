// SPDX-License-Identifier: Apache-2.0

package import FoundationEssentials

/// Both clocks, read together: validity is judged on the wall clock, waiting on the boot clock.
package struct ClockReading: Hashable, Sendable {
    package let wall: Date
    /// CLOCK_BOOTTIME: since boot, counting suspension, never stepped.
    package let boot: Duration

    package init(wall: Date, boot: Duration) {
        self.wall = wall
        self.boot = boot
    }

    /// The boot time at which the wall clock, unless it is stepped, shows `date`.
    package func bootTime(of date: Date) -> Duration {
        boot + .seconds(date.timeIntervalSince(wall))
    }
}

/// Notices that the wall clock was stepped, by comparing it with the boot clock.
package struct ClockStepDetector: Sendable {
    /// A smaller step moves no deadline far enough to matter (design: "a step over 5 s").
    package static let stepMax: Duration = .seconds(5)

    private var anchor: ClockReading

    package init(startingAt reading: ClockReading) {
        anchor = reading
    }

    /// Compares the clocks with those of the last step.
    ///
    /// Slow correction adds up: once it exceeds the limit it is reported like a step, because
    /// deadlines that were turned into boot times are wrong by as much.
    ///
    /// - Returns: How far the wall clock moved, if more than `stepMax`; positive is forward.
    package mutating func observed(_ reading: ClockReading) -> Duration? {
        let step = reading.boot - anchor.bootTime(of: reading.wall)
        guard step > Self.stepMax || step < .zero - Self.stepMax else { return nil }
        anchor = reading
        return .zero - step
    }
}
