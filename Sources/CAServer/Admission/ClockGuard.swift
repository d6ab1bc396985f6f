// SPDX-License-Identifier: Apache-2.0

package import ControlAPI
package import FoundationEssentials
internal import Synchronization

/// Refuses to sign after the wall clock has jumped ahead of the time since boot, until the new time
/// has proved steady.
///
/// A certificate of the future is refused by everybody, and each signature raises the high-water
/// mark behind which nothing is signed: one wrong hour must not lock the server for that hour. A
/// clock that was wrong already when the server started is not noticed here.
package final class ClockGuard: Sendable {
    /// A larger lead of the wall clock since the last look is a jump.
    ///
    /// Time servers correct less, and certificates live for an hour.
    package static let jumpMax: TimeInterval = 3600
    /// How long the clock must run evenly after a jump: time to mend it, and less than half the
    /// lifetime of an SVID.
    package static let steadyTime: Duration = .seconds(600)
    /// How much a clock that runs evenly may be corrected meanwhile.
    package static let correctionMax: TimeInterval = 10

    private struct State {
        /// Wall clock minus time since boot when the clock was last believed.
        var believed: TimeInterval
        /// The same since a jump, and when it was first seen.
        var doubted: (offset: TimeInterval, since: Duration)?
    }

    private let state: Mutex<State>

    /// Believes the clock as it is at the start.
    package init(wall: Date, boot: Duration) {
        state = Mutex(State(believed: Self.offset(wall, boot)))
    }

    /// Looks at both clocks; to be called before each signature, and now and then.
    ///
    /// - Throws: `APIError` (`unavailable`) while the clock is not believed.
    package func require(wall: Date, boot: Duration) throws(APIError) {
        let offset = Self.offset(wall, boot)
        let isBelieved = state.withLock { state in
            if offset - state.believed <= Self.jumpMax {
                state = State(believed: offset)
                return true
            }
            guard let doubted = state.doubted,
                abs(offset - doubted.offset) <= Self.correctionMax
            else {
                state.doubted = (offset, boot)
                return false
            }
            guard boot - doubted.since >= Self.steadyTime else { return false }
            state = State(believed: offset)
            return true
        }
        guard isBelieved else {
            throw APIError(
                .unavailable,
                "clockJumped",
                "the server's clock jumped ahead by more than an hour; nothing is signed until it "
                    + "is set back or has been steady for 10 minutes"
            )
        }
    }

    private static func offset(_ wall: Date, _ boot: Duration) -> TimeInterval {
        wall.timeIntervalSince1970 - boot / .seconds(1)
    }
}
