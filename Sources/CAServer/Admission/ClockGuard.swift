// SPDX-License-Identifier: Apache-2.0

internal import AuditLog
package import ControlAPI
package import FoundationEssentials
internal import Synchronization

/// Why the server does not believe its wall clock.
package enum ClockProblem: Hashable, Sendable {
    /// The clock is behind the time of the last signature.
    case behind(lastSignature: Date)
    /// The clock ran ahead of the time since boot; an even one would show `expected`.
    case jumped(expected: Date)

    var refusal: ClockRefusal {
        switch self {
        case .behind(let date): ClockRefusal(problem: .behind, expected: AuditTime(date))
        case .jumped(let date): ClockRefusal(problem: .jumped, expected: AuditTime(date))
        }
    }
}

extension APIError {
    /// The reason given for `ClockProblem.behind`.
    static let clockBehind = "clockBehind"

    /// What a caller is told while nothing is signed.
    package init(_ problem: ClockProblem) {
        switch problem {
        case .behind:
            self.init(
                .unavailable,
                Self.clockBehind,
                "the server's clock is behind the time of its last signature; set the clock"
            )
        case .jumped:
            self.init(
                .unavailable,
                "clockJumped",
                "the server's clock jumped ahead by more than an hour; nothing is signed until it "
                    + "is set back or has been steady for 10 minutes"
            )
        }
    }
}

/// Refuses to sign after the wall clock has jumped ahead of the time since boot, until the new time
/// has proved steady.
///
/// A certificate of the future is refused by everybody, and each signature raises the high-water
/// mark behind which nothing is signed: one wrong hour must not lock the server for that hour. A
/// clock that was wrong already when the server started is not noticed here.
package final class ClockGuard: Sendable {
    /// A larger lead of the wall clock, its recent moves together, is a jump.
    ///
    /// Time servers correct less, and certificates live for an hour.
    package static let jumpMax: TimeInterval = 3600
    /// How long a lead of `jumpMax` counts, less and less: otherwise the clock could be walked
    /// ahead in small steps.
    package static let leadTime: TimeInterval = 3600
    /// How long the clock must run evenly after a jump: time to mend it, and less than half the
    /// lifetime of an SVID.
    package static let steadyTime: Duration = .seconds(600)
    /// How much a clock that runs evenly may be corrected meanwhile.
    package static let correctionMax: TimeInterval = 10

    private struct State {
        /// Wall clock minus time since boot when the clock was last believed.
        var believed: TimeInterval
        /// The largest such value before the clock stepped back, and what the clock showed then.
        ///
        /// Until it shows that again it is behind, and leads count from here: otherwise the remedy,
        /// setting it, would itself be a jump.
        var before: (offset: TimeInterval, wall: TimeInterval)?
        /// How far it was moved ahead lately, as of `since`.
        var lead: TimeInterval = 0
        var since: Duration
        /// The same since a jump, and when it was first seen.
        var doubted: (offset: TimeInterval, since: Duration)?
    }

    private let state: Mutex<State>

    /// Believes the clock as it is at the start.
    package init(wall: Date, boot: Duration) {
        state = Mutex(State(believed: Self.offset(wall, boot), since: boot))
    }

    /// Looks at both clocks; to be called before each signature, and now and then.
    ///
    /// - Returns: nil when the clock is believed, else why not.
    package func problem(wall: Date, boot: Duration) -> ClockProblem? {
        let offset = Self.offset(wall, boot)
        return state.withLock { state in
            let passed = max(0, (boot - state.since) / .seconds(1))
            let left = max(0, state.lead - passed * (Self.jumpMax / Self.leadTime))
            let seconds = boot / .seconds(1)
            let before = state.before.flatMap { state.believed + seconds < $0.wall ? $0 : nil }
            let highest = max(state.believed, before?.offset ?? state.believed)
            let lead = left + (offset - highest)
            if lead <= Self.jumpMax {
                let isBehind = offset < highest - Self.correctionMax
                state = State(
                    believed: offset,
                    before: isBehind ? before ?? (highest, highest + seconds) : nil,
                    // A step back takes nothing back: else a clock that swings would wander ahead.
                    lead: isBehind ? left : max(0, lead),
                    since: boot
                )
                return nil
            }
            let expected = Date(timeIntervalSince1970: highest + seconds)
            guard let doubted = state.doubted,
                abs(offset - doubted.offset) <= Self.correctionMax
            else {
                state.doubted = (offset, boot)
                return .jumped(expected: expected)
            }
            guard boot - doubted.since >= Self.steadyTime else {
                return .jumped(expected: expected)
            }
            state = State(believed: offset, since: boot)
            return nil
        }
    }

    /// What an even clock would show; nil while this one is believed.
    package func expected(wall: Date, boot: Duration) -> Date? {
        guard case .jumped(let expected) = problem(wall: wall, boot: boot) else { return nil }
        return expected
    }

    /// Believes the clock as it is, because somebody says that it is right.
    package func accept(wall: Date, boot: Duration) {
        state.withLock { $0 = State(believed: Self.offset(wall, boot), since: boot) }
    }

    private static func offset(_ wall: Date, _ boot: Duration) -> TimeInterval {
        wall.timeIntervalSince1970 - boot / .seconds(1)
    }
}
