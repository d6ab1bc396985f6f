// SPDX-License-Identifier: Apache-2.0

import FoundationEssentials

/// What the renewal queue knows of one identity.
struct RenewalItem: Sendable {
    var demand = IdentityDemand.none
    /// The SVID at hand, which may have expired.
    var validity: SVIDValidity?
    /// When half of the validity is over, with jitter; nil if there is no SVID.
    var renewAt: Date?
    /// Not asked for again before, as boot time, because it failed.
    private(set) var retryAt: Duration?
    /// The request under way.
    var batch: SigningBatchID?
    /// The entry changed while the request was under way, so its answer is outdated.
    var mustRepeat = false
    /// The authority of the SVID at hand was tainted while the request was under way.
    var isTainted = false
    /// Since when it is wanted.
    var demandedAt: Date
    private var failures = Backoff()
    private var refusals = Backoff(
        delayMin: RenewalQueue.refusedDelayMin,
        delayMax: RenewalQueue.refusedDelayMax
    )

    init(demandedAt: Date) {
        self.demandedAt = demandedAt
    }

    mutating func failed(now: Duration, using generator: inout some RandomNumberGenerator) {
        retryAt = now + failures.failed(using: &generator)
        mustRepeat = false
    }

    mutating func refused(now: Duration, using generator: inout some RandomNumberGenerator) {
        // A refusal of what has changed meanwhile says nothing about what it is now.
        guard !mustRepeat else { return forgetFailures() }
        retryAt = now + refusals.failed(using: &generator)
    }

    /// `validity` and `renewAt` are those of a new SVID.
    mutating func issued(now: ClockReading, using generator: inout some RandomNumberGenerator) {
        if let renewAt, renewAt <= now.wall {
            // Half of its life is over already: the clocks differ, and asking at once for another
            // one would never end.
            failed(now: now.boot, using: &generator)
        } else {
            let mustRepeat = mustRepeat
            forgetFailures()
            if mustRepeat { renewAt = now.wall }
        }
    }

    /// Brings the renewal of what a tainted authority signed forward, unless it is due soon anyway.
    ///
    /// An SVID that was to be renewed within the time stays where it is, so that hearing of it again
    /// brings nothing forward.
    mutating func replaceSoon(now: Date, using generator: inout some RandomNumberGenerator) {
        guard let renewAt, let validity else { return }
        let left = max(0, validity.notAfter.timeIntervalSince(now))
        let spread = min(RenewalQueue.taintSpread / .seconds(1), left / 4)
        guard renewAt.timeIntervalSince(now) > spread else { return }
        self.renewAt = now.addingTimeInterval(Double.random(in: 0...spread, using: &generator))
    }

    mutating func forgetFailures() {
        mustRepeat = false
        failures.succeeded()
        refusals.succeeded()
        retryAt = nil
    }

    /// When to ask for it, as boot time.
    func nextTime(now: ClockReading) -> Duration {
        var at = now.boot
        if let renewAt {
            at = now.bootTime(of: renewAt)
            if at > now.boot {
                let quantum = RenewalQueue.batchQuantumSeconds
                let seconds = at.components.seconds / quantum * quantum
                if at > .seconds(seconds) { at = .seconds(seconds + quantum) }
            }
        }
        return max(at, retryAt ?? at)
    }

    /// Until when a workload can do without, as far as it has one; nil if none is waiting.
    func neededBy(now: Date) -> Date? {
        if let validity, validity.notAfter > now { return validity.notAfter }
        guard demand == .subscribed else { return nil }
        return demandedAt.addingTimeInterval(RenewalQueue.workloadPatienceSeconds)
    }
}
