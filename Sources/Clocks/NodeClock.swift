// SPDX-License-Identifier: Apache-2.0

package import struct FoundationEssentials.Date

/// The two times a node lives by, and the only way its shells wait.
///
/// Validity of certificates is judged on the wall clock, durations and deadlines on the time since
/// boot. Shells take a clock as an argument, so that a simulation can give them its own.
package protocol NodeClock: Sendable {
    /// The wall clock (CLOCK_REALTIME); it may step in either direction.
    var wallTime: Date { get }

    /// Time since boot, suspended time included (CLOCK_BOOTTIME); it never goes back.
    var bootTime: Duration { get }

    /// Returns when `bootTime` has reached `deadline`; at once if it already has.
    ///
    /// - Throws: `CancellationError` when the task is cancelled before.
    func sleep(untilBoot deadline: Duration) async throws
}
