// SPDX-License-Identifier: Apache-2.0

/// Token buckets of callers: what each may ask for at once, and how much of it comes back.
///
/// Only who has used something of his is remembered.
struct CallerBudgets<Caller: Hashable & Sendable>: Sendable {
    private struct Budget {
        var left: Double
        var at: Duration
    }

    private let perSecond: Double
    private let atOnce: Double
    private let callersMax: Int
    private var budgets: [Caller: Budget] = [:]

    /// Nobody has asked yet.
    ///
    /// - Parameters:
    ///   - perSecond: How much comes back each second.
    ///   - atOnce: How much a caller has who has rested.
    ///   - callersMax: Most callers that are remembered; beyond it nobody new is served until
    ///     somebody has rested.
    init(perSecond: Double, atOnce: Double, callersMax: Int) {
        (self.perSecond, self.atOnce, self.callersMax) = (perSecond, atOnce, callersMax)
    }

    /// Takes one from a caller's budget.
    ///
    /// - Parameters:
    ///   - caller: Who asks.
    ///   - now: Time since boot.
    /// - Returns: After which time there will be one; nil if it was taken.
    mutating func take(from caller: Caller, now: Duration) -> Duration? {
        if budgets[caller] == nil, budgets.count >= callersMax {
            budgets = budgets.filter { left(of: $0.value, now) < atOnce }
            guard budgets.count < callersMax else { return .seconds(max(1 / perSecond, 1)) }
        }
        let rest = budgets[caller].map { left(of: $0, now) } ?? atOnce
        budgets[caller] = Budget(left: rest < 1 ? rest : rest - 1, at: now)
        return rest < 1 ? .seconds((1 - rest) / perSecond) : nil
    }

    private func left(of budget: Budget, _ now: Duration) -> Double {
        min(budget.left + max((now - budget.at) / .seconds(1), 0) * perSecond, atOnce)
    }
}
