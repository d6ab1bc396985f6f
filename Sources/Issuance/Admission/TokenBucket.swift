// SPDX-License-Identifier: Apache-2.0

/// A budget that refills steadily up to a burst.
package struct TokenBucket: Hashable, Sendable {
    /// Tokens per second.
    package let rate: Double
    /// The most tokens that can be saved up.
    package let burst: Double
    private var tokens: Double
    private var updatedAt: Duration

    /// A full bucket; `rate` and `burst` must be above zero, `now` is time since boot.
    package init(rate: Double, burst: Double, now: Duration) {
        precondition(rate > 0 && rate.isFinite && burst > 0 && burst.isFinite)
        self.rate = rate
        self.burst = burst
        tokens = burst
        updatedAt = now
    }

    /// Takes `count` tokens if they are there.
    ///
    /// - Returns: nil if taken; else, with nothing taken, how long until they would be there. More
    ///   than `burst` at once waits for a full bucket and then overdraws it, so that no size waits
    ///   for ever.
    package mutating func take(_ count: Int, now: Duration) -> Duration? {
        refill(now: now)
        let needed = min(Double(count), burst)
        guard tokens < needed else {
            tokens -= Double(count)
            return nil
        }
        return .seconds((needed - tokens) / rate)
    }

    /// How many tokens there are, whole ones.
    package func available(now: Duration) -> Int {
        var copy = self
        copy.refill(now: now)
        return max(0, Int(copy.tokens))
    }

    /// Whether the bucket is as good as new.
    package func isFull(now: Duration) -> Bool {
        var copy = self
        copy.refill(now: now)
        return copy.tokens >= burst
    }

    private mutating func refill(now: Duration) {
        // Time since boot never goes back; a caller that raced another one sees no refill.
        guard now > updatedAt else { return }
        tokens = min(burst, tokens + (now - updatedAt) / .seconds(1) * rate)
        updatedAt = now
    }
}
