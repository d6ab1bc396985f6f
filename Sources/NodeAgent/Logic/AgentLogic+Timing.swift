// SPDX-License-Identifier: Apache-2.0

internal import FoundationEssentials
package import NodeSync
internal import SPIFFE

extension AgentLogic {
    /// The scheduled boot time has come; firing early or twice does no harm.
    package mutating func timerFired(
        now: ClockReading,
        using generator: inout some RandomNumberGenerator
    ) -> [Action] {
        scheduledAt = nil
        var actions = observeClocks(now: now, using: &generator)
        if let due = clockCheckAt, due <= now.boot { clockCheckAt = nil }
        if let due = reconnectAt, due <= now.boot {
            reconnectAt = nil
            actions += perform(sync.reconnectDue(), now: now, using: &generator)
        }
        if let due = welcomeBy, due <= now.boot {
            welcomeBy = nil
            actions.append(.disconnect(reason: "the server did not answer in time"))
        }
        if let due = queueAt, due <= now.boot {
            queueAt = nil
            actions += perform(queue.timerFired(now: now), now: now, using: &generator)
        }
        if let due = cacheAt, due <= now.wall {
            cacheAt = nil
            actions += perform(cache.timerFired(now: now.wall), now: now, using: &generator)
        }
        actions += endPatience(now: now, using: &generator)
        return actions + finish(now: now, using: &generator)
    }

    /// Compares the clocks; after a step everything is judged again, once.
    mutating func observeClocks(
        now: ClockReading,
        using generator: inout some RandomNumberGenerator
    ) -> [Action] {
        guard let step = steps.observed(now) else { return [] }
        skew.clockStepped()
        own.clockStepped(now: now.wall, using: &generator)
        isSkewReported = false
        queueAt = nil
        cacheAt = nil
        return [.report(.clockStepped(step))]
            + perform(cache.clockStepped(now: now.wall), now: now, using: &generator)
            + perform(queue.clockStepped(now: now, using: &generator), now: now, using: &generator)
    }

    mutating func reportSkew() -> [Action] {
        guard let measured = skew.skew, skew.verdict != .tolerable else {
            isSkewReported = false
            return []
        }
        guard !isSkewReported else { return [] }
        isSkewReported = true
        return [.report(.clockSkewed(measured))]
    }

    /// Ends every event: what it made due is started, and what it changed is told.
    mutating func finish(
        now: ClockReading,
        using generator: inout some RandomNumberGenerator
    ) -> [Action] {
        var actions = wakeProxies() + wakeDownstream()
        judgeOwnAuthority(now: now, using: &generator)
        if let renewal = own.started(now: now, isOnline: isOnline) {
            actions.append(.renewOwnSVID(renewal))
        }
        if showsOldSVID, inFlight.isEmpty {
            showsOldSVID = false
            actions.append(.disconnect(reason: "a connection with the new certificate follows"))
        }
        if awaitsIdentity, own.standing(at: now.wall) == .valid {
            awaitsIdentity = false
            actions += connect(now: now)
        }
        for condition in Condition.allCases {
            let problem = problem(of: condition, now: now)
            if let told = reported[condition], told == problem { continue }
            reported[condition] = .some(problem)
            actions.append(.condition(condition, problem: problem))
        }
        if let next = nextTime(now: now), !isScheduled(next) {
            scheduledAt = next
            actions.append(.scheduleTimer(at: next))
        }
        return actions
    }

    /// Tells the agent's own SVID what is known of its authority.
    mutating func judgeOwnAuthority(
        now: ClockReading,
        using generator: inout some RandomNumberGenerator
    ) {
        let standing = cache.standing(ofAuthority: own.authorityKeyID)
        own.judged(standing, now: now.wall, using: &generator)
    }

    /// Whether the timer is set to a time, up to what turning dates into boot times rounds.
    private func isScheduled(_ time: Duration) -> Bool {
        guard let scheduledAt else { return false }
        return scheduledAt <= time && time - scheduledAt < .milliseconds(1)
    }

    private mutating func nextTime(now: ClockReading) -> Duration? {
        let check = clockCheckAt ?? now.boot + Self.clockCheckInterval
        clockCheckAt = check
        return [
            check, reconnectAt, welcomeBy, queueAt, patience.earliest,
            cacheAt.map { now.bootTime(of: $0) }, own.nextTime(now: now, isOnline: isOnline),
        ].compactMap { $0 }.min()
    }

    private func problem(of condition: Condition, now: ClockReading) -> String? {
        switch condition {
        case .audit: return audit.alarm
        case .clock:
            guard skew.verdict == .excessive, let measured = skew.skew else { return nil }
            let seconds = measured.components.seconds
            return "the clock is \(seconds) s off the server's; set the clock of this machine"
        case .identity:
            let reason = own.problem.map { ": \($0)" } ?? ""
            switch own.standing(at: now.wall) {
            case .valid:
                return refusedBecause?.description(agent: name)
            case .expired:
                let what =
                    own.distrust == .revoked
                    ? "the authority of the agent's certificate was revoked"
                    : "the agent's certificate has expired"
                return what + reason
            case .lapsed(let lapse): return lapse.description(agent: name)
            }
        case .synced:
            return sync.revision == nil ? "nothing was received from the server yet" : nil
        }
    }
}
