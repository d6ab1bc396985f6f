// SPDX-License-Identifier: Apache-2.0

package import SPIFFE

/// When whose bundle is fetched (docs/decisions/0021-federation.md).
///
/// Times are since boot.
package struct FederationSchedule: Sendable {
    /// Most fetches at a time: each holds a connection and up to 256 KiB.
    package static let fetchesMax = 4
    /// How long after an admin asked for a fetch he can ask for another of the same trust domain.
    package static let refreshInterval: Duration = .seconds(10)
    /// The part of a turn by which fetches are spread, so that they do not all come at once.
    private static let spread = 0.1

    /// One fetch that is to begin.
    package struct Fetch: Hashable, Sendable {
        package let trustDomain: TrustDomain
        /// The version of the document that it is made for; a result counts for no other.
        package let version: UInt64
        package let asking: BundleSuccession.Asking

        package init(
            trustDomain: TrustDomain,
            version: UInt64,
            asking: BundleSuccession.Asking = .schedule
        ) {
            self.trustDomain = trustDomain
            self.version = version
            self.asking = asking
        }
    }

    /// How a fetch has ended.
    package enum Outcome: Hashable, Sendable {
        /// Nothing was fetched, or what was fetched is refused: nobody is asked the sooner for it
        /// (SPIFFE Federation section 6.2).
        case failed
        /// The document says how often to ask.
        case fetched(refreshSeconds: Int)
        /// What was fetched can be taken only after so long.
        case postponed(for: Duration)
    }

    /// What became of an admin's wish.
    package enum Refresh: Hashable, Sendable {
        case accepted
        case tooSoon(until: Duration)
        /// No document names the trust domain.
        case unknown
    }

    private struct Turn: Sendable {
        var version: UInt64
        var dueAt: Duration
        var asking = BundleSuccession.Asking.schedule
        var refreshSeconds = BundleDocument.refreshHintSecondsDefault
        var refreshedAt: Duration?
        /// Whether what is under way may have begun too early, and is followed by another at once.
        var isDueAgain = false
    }

    private var turns: [TrustDomain: Turn] = [:]
    /// Under way, also those whose document is gone.
    private var running: [TrustDomain: UInt64] = [:]
    /// Whether nothing begins: the clock is not believed, or the server is held.
    private var isHeld = false

    package init() {}

    /// The documents are these now.
    ///
    /// - Parameters:
    ///   - versions: The version of the document of each trust domain. What is new, or changed, is
    ///     fetched at once; what waited already keeps its place.
    ///   - now: Time since boot.
    package mutating func documentsChanged(to versions: [TrustDomain: UInt64], now: Duration) {
        turns = turns.filter { versions[$0.key] != nil }
        for (trustDomain, version) in versions {
            guard let turn = turns[trustDomain] else {
                turns[trustDomain] = Turn(version: version, dueAt: now)
                continue
            }
            guard turn.version != version else { continue }
            turns[trustDomain]?.version = version
            turns[trustDomain]?.dueAt = min(turn.dueAt, now)
        }
    }

    /// Begins nothing, or begins again.
    package mutating func held(_ isHeld: Bool) { self.isHeld = isHeld }

    /// An admin wants a fetch now.
    ///
    /// - Parameters:
    ///   - trustDomain: Whose bundle.
    ///   - acceptsOlder: Whether he takes what its sequence alone forbids.
    ///   - now: Time since boot.
    /// - Returns: Whether it is made: after one of the same trust domain that is under way, and
    ///   before all that no admin asked for. While one waits no other is accepted: what it takes, and
    ///   who is judged for it, is not for somebody else to change.
    package mutating func refreshRequested(
        of trustDomain: TrustDomain,
        acceptsOlder: Bool,
        now: Duration
    ) -> Refresh {
        guard let turn = turns[trustDomain] else { return .unknown }
        if let last = turn.refreshedAt, now < last + Self.refreshInterval {
            return .tooSoon(until: last + Self.refreshInterval)
        }
        guard turn.asking == .schedule else {
            return .tooSoon(until: now + Self.refreshInterval)
        }
        turns[trustDomain]?.refreshedAt = now
        turns[trustDomain]?.dueAt = min(turn.dueAt, now)
        turns[trustDomain]?.asking = acceptsOlder ? .adminAcceptingOlder : .admin
        return .accepted
    }

    /// Nobody waits any more for a fetch that has not begun: it is made as the schedule's own.
    ///
    /// - Parameters:
    ///   - trustDomain: Whose bundle.
    ///   - isForgotten: Whether an admin may ask again at once, as for one who was not served; who
    ///     left by himself could else have it fetched without pause.
    package mutating func refreshWithdrawn(of trustDomain: TrustDomain, isForgotten: Bool) {
        turns[trustDomain]?.asking = .schedule
        if isForgotten { turns[trustDomain]?.refreshedAt = nil }
    }

    /// What a fetch needs is here by now: it is made at once, after one that is under way.
    ///
    /// - Parameters:
    ///   - trustDomain: Whose bundle.
    ///   - now: Time since boot.
    package mutating func becameFetchable(_ trustDomain: TrustDomain, now: Duration) {
        guard let turn = turns[trustDomain] else { return }
        turns[trustDomain]?.dueAt = min(turn.dueAt, now)
        turns[trustDomain]?.isDueAgain = running[trustDomain] != nil
    }

    /// When a trust domain's bundle is fetched next, in time since boot; nil: no document names it.
    package func dueAt(of trustDomain: TrustDomain) -> Duration? { turns[trustDomain]?.dueAt }

    /// When to call `timerFired`; nil while nothing can begin.
    package var wakeAt: Duration? {
        guard !isHeld, running.count < Self.fetchesMax else { return nil }
        return turns.lazy.filter { running[$0.key] == nil }.map(\.value.dueAt).min()
    }

    /// The time has come; firing early or twice does no harm.
    ///
    /// - Parameter now: Time since boot.
    /// - Returns: What to fetch now; `fetchEnded` is called for each.
    package mutating func timerFired(now: Duration) -> [Fetch] {
        guard !isHeld else { return [] }
        let due = turns.filter { $0.value.dueAt <= now && running[$0.key] == nil }
            .sorted { first, second in
                // Somebody waits for what an admin asked for.
                let (hasAdmin, other) = (
                    first.value.asking != .schedule, second.value.asking != .schedule
                )
                guard hasAdmin == other else { return hasAdmin }
                return (first.value.dueAt, first.key) < (second.value.dueAt, second.key)
            }
            .prefix(max(0, Self.fetchesMax - running.count))
        return due.map { trustDomain, turn in
            running[trustDomain] = turn.version
            turns[trustDomain]?.asking = .schedule
            turns[trustDomain]?.isDueAgain = false
            turns[trustDomain]?.dueAt = now + .seconds(turn.refreshSeconds)
            return Fetch(trustDomain: trustDomain, version: turn.version, asking: turn.asking)
        }
    }

    /// A fetch has ended.
    ///
    /// - Parameters:
    ///   - fetch: As `timerFired` returned it.
    ///   - outcome: How it ended.
    ///   - now: Time since boot.
    ///   - generator: Random numbers for the spread.
    package mutating func fetchEnded(
        _ fetch: Fetch,
        _ outcome: Outcome,
        now: Duration,
        using generator: inout some RandomNumberGenerator
    ) {
        let trustDomain = fetch.trustDomain
        guard running[trustDomain] == fetch.version else { return }
        running[trustDomain] = nil
        // What it has found out is of a document that is gone, and the next one is due already.
        guard var turn = turns[trustDomain], turn.version == fetch.version else { return }
        if case .fetched(let seconds) = outcome { turn.refreshSeconds = seconds }
        let part = 1 - Double.random(in: 0...Self.spread, using: &generator)
        var dueAt = now + .seconds(Double(turn.refreshSeconds) * part)
        if case .postponed(let delay) = outcome { dueAt = min(dueAt, now + delay) }
        // An admin who has asked meanwhile does not wait.
        if turn.asking == .schedule, !turn.isDueAgain { turn.dueAt = dueAt }
        turn.isDueAgain = false
        turns[trustDomain] = turn
    }
}
