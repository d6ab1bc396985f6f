// SPDX-License-Identifier: Apache-2.0

internal import Issuance
internal import Synchronization

/// One token bucket for each source, for at most `sourcesMax` sources at a time.
package final class SourceLimiter: Sendable {
    /// Sources remembered; beyond it full buckets are forgotten, which refuses nobody wrongly.
    package static let sourcesMax = 10_000

    private let rate: Double
    private let burst: Double
    /// Least time between two searches for buckets to forget: each looks at all of them.
    static let sweepInterval: Duration = .seconds(1)

    fileprivate struct State {
        var buckets: [String: TokenBucket] = [:]
        var sweptAt: Duration?
    }

    private let state = Mutex(State())

    /// Allows `burst` at once and `rate` a second, for each source.
    package init(rate: Double, burst: Double) {
        self.rate = rate
        self.burst = burst
    }

    /// Takes `count` tokens of `source`.
    ///
    /// - Returns: nil when taken, else how long until they would be there. When so many sources
    ///   are busy that none can be forgotten, a new one has to wait, too.
    package func take(_ count: Int, of source: String, now: Duration) -> Duration? {
        state.withLock { state in
            if state.buckets[source] == nil {
                state.sweep(now: now)
                guard state.buckets.count < Self.sourcesMax else { return Self.sweepInterval }
                state.buckets[source] = TokenBucket(rate: rate, burst: burst, now: now)
            }
            return state.buckets[source]?.take(count, now: now)
        }
    }
}

extension SourceLimiter.State {
    /// Forgets full buckets when there are too many.
    fileprivate mutating func sweep(now: Duration) {
        let isRested = sweptAt.map { now - $0 >= SourceLimiter.sweepInterval } ?? true
        guard buckets.count >= SourceLimiter.sourcesMax, isRested else { return }
        buckets = buckets.filter { !$0.value.isFull(now: now) }
        sweptAt = now
    }
}
