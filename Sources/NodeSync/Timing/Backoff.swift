// SPDX-License-Identifier: Apache-2.0

/// Waiting times that grow with each failure and are spread at random, so that a fleet that lost
/// its server together does not come back together.
package struct Backoff: Hashable, Sendable {
    /// The shortest wait: the server is never asked more often than this by one party.
    package static let delayMin: Duration = .milliseconds(500)
    /// The longest wait: how late the last agent may notice that its server is back.
    package static let delayMax: Duration = .seconds(30)

    private let delayMin: Duration
    private let delayMax: Duration
    /// Failures since the last success.
    package private(set) var failures = 0

    package init(delayMin: Duration = Self.delayMin, delayMax: Duration = Self.delayMax) {
        precondition(delayMin > .zero && delayMin <= delayMax, "the shortest wait comes first")
        self.delayMin = delayMin
        self.delayMax = delayMax
    }

    /// Counts a failure.
    ///
    /// - Returns: How long to wait: anything from the shortest wait to twice as long as the
    ///   failure before allowed, at most the longest wait.
    package mutating func failed(using generator: inout some RandomNumberGenerator) -> Duration {
        failures += 1
        // 2^30 shortest waits exceed any longest wait in use; more would overflow.
        let ceiling = min(delayMax, delayMin * (1 << min(failures, 30)))
        return .random(in: delayMin...ceiling, using: &generator)
    }

    /// Forgets the failures.
    package mutating func succeeded() {
        failures = 0
    }
}

extension Duration {
    /// A duration drawn evenly from a range, in steps of one microsecond.
    static func random(
        in range: ClosedRange<Duration>,
        using generator: inout some RandomNumberGenerator
    ) -> Duration {
        let width = range.upperBound - range.lowerBound
        let (seconds, attoseconds) = width.components
        let microseconds = seconds * 1_000_000 + attoseconds / 1_000_000_000_000
        return range.lowerBound
            + .microseconds(Int64.random(in: 0...max(0, microseconds), using: &generator))
    }
}
