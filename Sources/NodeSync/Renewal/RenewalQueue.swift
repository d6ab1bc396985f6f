// SPDX-License-Identifier: Apache-2.0

import FoundationEssentials
import SPIFFE

/// A signing request under way; numbers count up within one queue.
package struct SigningBatchID: Hashable, Sendable, Comparable {
    package let number: UInt64

    package init(_ number: UInt64) {
        self.number = number
    }

    package static func < (lhs: Self, rhs: Self) -> Bool { lhs.number < rhs.number }
}

/// What became of one identity of a signing batch.
package enum SigningOutcome: Hashable, Sendable {
    /// Not signed; worth another try.
    case failed
    /// Signed, and served by the cache.
    case issued(SVIDValidity)
    /// The server said no: it is asked again, but seldom, until the demand changes.
    case refused
}

/// What to have signed, and when: at half of an SVID's life, in batches, whatever is needed first
/// coming first.
///
/// Validity is judged on the wall clock, waiting happens on the boot clock: renewal times are kept
/// as dates and turned into boot times, again after each step of the wall clock.
package struct RenewalQueue: Sendable {
    /// What the shell has to do.
    package enum Action: Equatable, Sendable {
        /// Call `timerFired` at that boot time; replaces the timer set before.
        case scheduleTimer(at: Duration)
        /// Make a key and a request for each, send them as one batch, then call `signed`.
        case sign(SigningBatchID, [IdentityKey])
    }

    /// Most requests in one batch: what the server accepts at a time.
    package static let batchMax = 500
    /// Batches under way at a time: the next one is prepared while the server signs.
    package static let batchesInFlightMax = 2
    /// Most identities signed ahead without a workload; an agent with more entries signs the rest
    /// when a workload comes.
    package static let prefetchMax = 1_000
    /// Renewals wait for the next whole second, so that those due together share a batch.
    package static let batchQuantumSeconds: Int64 = 1
    /// How soon a workload without an SVID needs one, compared with SVIDs that are about to
    /// expire: whatever expires sooner comes first.
    package static let workloadPatienceSeconds = 30.0
    /// The shortest wait after the server said no: first it has to change its mind.
    package static let refusedDelayMin: Duration = .seconds(60)
    /// The longest wait after the server said no: how late an agent may notice that it did.
    package static let refusedDelayMax: Duration = .seconds(600)
    /// What a step of the wall clock made due is spread over this time.
    package static let stepSpread: Duration = .seconds(30)
    /// What a tainted authority signed is replaced within this time: a server signs a million SVIDs
    /// in it, and whoever has a copy of the authority's key has it no longer.
    package static let taintSpread: Duration = .seconds(300)

    private var items: [IdentityKey: RenewalItem] = [:]
    private var due = DeadlineQueue<Duration, IdentityKey>()
    /// What is due and not yet in a batch.
    private var ready: Set<IdentityKey> = []
    private var prefetched: Set<IdentityKey> = []
    /// Prefetch demands beyond the limit.
    private var parked: Set<IdentityKey> = []
    private var batches: [SigningBatchID: [IdentityKey]] = [:]
    private var batchNumber: UInt64 = 0
    private var timerAt: Duration?

    package init() {}

    /// How many identities are wanted, including those beyond the prefetch limit.
    package var wantedCount: Int { items.values.count { $0.demand != .none } }
    /// How many identities are being signed.
    package var inFlightCount: Int { batches.values.reduce(0) { $0 + $1.count } }

    // MARK: Events

    /// The cache wants more, less or something else.
    package mutating func demandChanged(
        _ changes: [DemandChange],
        now: ClockReading,
        using generator: inout some RandomNumberGenerator
    ) -> [Action] {
        for change in changes {
            let known = items[change.key]
            var item = known ?? RenewalItem(demandedAt: now.wall)
            if item.demand == .none { item.demandedAt = now.wall }
            item.demand = change.demand
            if item.validity != change.validity || known == nil {
                item.validity = change.validity
                item.renewAt = renewAt(change.validity, using: &generator)
            }
            if change.isOutdated {
                // The entry changed, so the server may answer otherwise.
                item.forgetFailures()
                item.renewAt = item.renewAt.map { min($0, now.wall) }
                item.mustRepeat = item.batch != nil
            }
            if change.isTainted {
                // The answer that is under way may be by it too.
                item.isTainted = item.batch != nil
                item.replaceSoon(now: now.wall, using: &generator)
            }
            items[change.key] = item
            count(change.key, demand: change.demand)
            place(change.key, now: now)
        }
        unpark(now: now)
        return start(now: now)
    }

    /// The batch was answered, or failed as a whole (then every outcome is `.failed`).
    ///
    /// - Parameters:
    ///   - batch: From `.sign`.
    ///   - outcomes: By identity; one that is missing counts as failed.
    ///   - now: Both clocks.
    ///   - generator: Where the jitter comes from.
    /// - Returns: The next batches, if anything is due.
    package mutating func signed(
        _ batch: SigningBatchID,
        outcomes: [IdentityKey: SigningOutcome],
        now: ClockReading,
        using generator: inout some RandomNumberGenerator
    ) -> [Action] {
        for key in batches.removeValue(forKey: batch) ?? [] {
            guard var item = items[key], item.batch == batch else { continue }
            item.batch = nil
            switch outcomes[key] ?? .failed {
            case .failed: item.failed(now: now.boot, using: &generator)
            case .issued(let validity):
                item.validity = validity
                item.renewAt = renewAt(validity, using: &generator)
                if item.isTainted { item.replaceSoon(now: now.wall, using: &generator) }
                item.isTainted = false
                item.issued(now: now, using: &generator)
            case .refused: item.refused(now: now.boot, using: &generator)
            }
            items[key] = item
            place(key, now: now)
        }
        return start(now: now)
    }

    /// The scheduled boot time has come; firing early or twice does no harm.
    package mutating func timerFired(now: ClockReading) -> [Action] {
        timerAt = nil
        return start(now: now)
    }

    /// The wall clock was stepped: all renewal times are turned into boot times again, once.
    ///
    /// What became due by it is spread, because other agents' clocks may have been stepped too.
    package mutating func clockStepped(
        now: ClockReading,
        using generator: inout some RandomNumberGenerator
    ) -> [Action] {
        for key in items.keys.sorted() {
            guard let item = items[key], due[key] != nil || ready.contains(key),
                let renewAt = item.renewAt, let validity = item.validity
            else { continue }
            place(key, now: now)
            guard now.bootTime(of: renewAt) <= now.boot, ready.remove(key) != nil else { continue }
            // Never so late that the SVID expires while it waits.
            let left = max(.zero, now.bootTime(of: validity.notAfter) - now.boot)
            let spread = Duration.random(
                in: .zero...min(Self.stepSpread, left / 4),
                using: &generator
            )
            due.set(key, to: now.boot + spread)
        }
        timerAt = nil
        return start(now: now)
    }

    // MARK: Steps

    private func renewAt(
        _ validity: SVIDValidity?,
        using generator: inout some RandomNumberGenerator
    ) -> Date? {
        validity.map {
            renewalTime(issuedAt: $0.issuedAt, notAfter: $0.notAfter, jitter: &generator)
        }
    }

    /// Keeps the prefetch limit.
    private mutating func count(_ key: IdentityKey, demand: IdentityDemand) {
        guard demand == .prefetch else {
            prefetched.remove(key)
            parked.remove(key)
            return
        }
        guard !prefetched.contains(key) else { return }
        if prefetched.count < Self.prefetchMax {
            parked.remove(key)
            prefetched.insert(key)
        } else {
            parked.insert(key)
        }
    }

    private mutating func unpark(now: ClockReading) {
        let free = Self.prefetchMax - prefetched.count
        guard free > 0, !parked.isEmpty else { return }
        for key in parked.sorted().prefix(free) {
            parked.remove(key)
            prefetched.insert(key)
            place(key, now: now)
        }
    }

    /// Decides when the identity is next looked at.
    private mutating func place(_ key: IdentityKey, now: ClockReading) {
        ready.remove(key)
        due.set(key, to: nil)
        guard let item = items[key] else { return }
        if item.demand == .none {
            // Failures outlive the demand: a workload that comes and goes must not make the
            // server see more requests than one that stays.
            if let retryAt = item.retryAt, retryAt > now.boot {
                due.set(key, to: retryAt)
            } else {
                items[key] = nil
            }
            return
        }
        guard item.batch == nil, !parked.contains(key) else { return }
        let at = item.nextTime(now: now)
        if at <= now.boot {
            ready.insert(key)
        } else {
            due.set(key, to: at)
        }
    }

    /// Starts what may be started.
    private mutating func start(now: ClockReading) -> [Action] {
        while let key = due.popDue(at: now.boot) {
            if items[key]?.demand == IdentityDemand.none {
                items[key] = nil
            } else {
                ready.insert(key)
            }
        }
        var actions: [Action] = []
        while batches.count < Self.batchesInFlightMax, !ready.isEmpty {
            let keys = ready.map { (neededBy: items[$0]?.neededBy(now: now.wall), key: $0) }
                .sorted {
                    ($0.neededBy ?? .distantFuture, $0.key)
                        < ($1.neededBy ?? .distantFuture, $1.key)
                }
                .prefix(Self.batchMax).map(\.key)
            batchNumber += 1
            let batch = SigningBatchID(batchNumber)
            batches[batch] = keys
            for key in keys {
                ready.remove(key)
                items[key]?.batch = batch
            }
            actions.append(.sign(batch, keys))
        }
        if let earliest = due.earliest, earliest < timerAt ?? .seconds(Int64.max) {
            timerAt = earliest
            actions.append(.scheduleTimer(at: earliest))
        }
        return actions
    }
}
