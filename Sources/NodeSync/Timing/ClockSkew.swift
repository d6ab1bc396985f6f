// SPDX-License-Identifier: Apache-2.0

package import FoundationEssentials

/// How far an agent's wall clock is from its server's, and what that means for readiness.
package struct ClockSkew: Hashable, Sendable {
    /// What a skew means for the agent.
    package enum Verdict: Hashable, Sendable {
        /// Certificates are judged as the server meant.
        case tolerable
        /// Worth a warning: close to what backdating covers.
        case warning
        /// The agent is not ready: fresh certificates look not yet valid or already expired.
        case excessive
    }

    /// From here on the agent warns.
    package static let warningMin: Duration = .seconds(5)
    /// From here on the agent is not ready: certificates are backdated by just 60 s.
    package static let excessiveMin: Duration = .seconds(60)

    /// The agent's clock minus the server's, so positive is ahead; nil before an observation.
    package private(set) var skew: Duration?
    /// How much of `skew` may be the journey of the answer.
    package private(set) var uncertainty: Duration = .zero

    package init() {}

    /// Takes the server's time from an answer and the two readings around the exchange.
    package mutating func observed(
        serverTime: Date,
        asked: ClockReading,
        answered: ClockReading
    ) {
        let roundTrip = max(.zero, answered.boot - asked.boot)
        uncertainty = roundTrip / 2
        skew = .seconds(answered.wall.timeIntervalSince(serverTime)) - uncertainty
    }

    /// Takes note that the local wall clock was stepped: the skew is unknown until observed again.
    package mutating func clockStepped() {
        skew = nil
        uncertainty = .zero
    }

    /// The verdict on the part of the skew that the journey cannot explain.
    package var verdict: Verdict {
        guard let skew else { return .tolerable }
        let certain = max(.zero, (skew < .zero ? .zero - skew : skew) - uncertainty)
        if certain >= Self.excessiveMin { return .excessive }
        return certain >= Self.warningMin ? .warning : .tolerable
    }
}
