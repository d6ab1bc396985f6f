// SPDX-License-Identifier: Apache-2.0

internal import Issuance
internal import Synchronization

/// One token bucket for each source, for at most `sourcesMax` sources at a time.
package final class SourceLimiter: Sendable {
    /// Sources remembered; beyond it full buckets are forgotten, which refuses nobody wrongly.
    package static let sourcesMax = 10_000

    private let rate: Double
    private let burst: Double
    private let buckets = Mutex<[String: TokenBucket]>([:])

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
        buckets.withLock { buckets in
            if buckets[source] == nil {
                if buckets.count >= Self.sourcesMax {
                    buckets = buckets.filter { !$0.value.isFull(now: now) }
                }
                guard buckets.count < Self.sourcesMax else { return .seconds(1) }
                buckets[source] = TokenBucket(rate: rate, burst: burst, now: now)
            }
            return buckets[source]?.take(count, now: now)
        }
    }
}
