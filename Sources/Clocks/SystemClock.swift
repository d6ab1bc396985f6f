// SPDX-License-Identifier: Apache-2.0

internal import CLinux
package import struct FoundationEssentials.Date

/// The clocks of this machine.
package struct SystemClock: NodeClock {
    /// Longest single wait.
    ///
    /// Timers stand still while the machine is suspended, CLOCK_BOOTTIME does
    /// not; looking at it this often bounds how late a deadline is noticed after a resume.
    package static let sleepSliceMax = Duration.seconds(30)

    package init() {}

    package var wallTime: Date {
        let time = clinux_wall_time()
        return Date(
            timeIntervalSince1970: Double(time.seconds) + Double(time.nanoseconds) / 1e9
        )
    }

    package var bootTime: Duration {
        let time = clinux_boot_time()
        return .seconds(time.seconds) + .nanoseconds(time.nanoseconds)
    }

    package func sleep(untilBoot deadline: Duration) async throws {
        try Task.checkCancellation()
        while true {
            let remaining = deadline - bootTime
            guard remaining > .zero else { return }
            try await Task.sleep(for: min(remaining, Self.sleepSliceMax))
        }
    }
}
