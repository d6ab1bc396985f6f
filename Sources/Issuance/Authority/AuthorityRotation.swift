// SPDX-License-Identifier: Apache-2.0

package import FoundationEssentials

/// Decides when a server's next authority is made, when it begins to sign, and when an old one
/// leaves the bundle.
///
/// The next authority is prepared at half life. It begins to sign at
/// `max(published + hold, all live agents applied)`, at the latest at
/// `notAfter - max(lifetime / 6, 2 x longest SVID)` of the one before it: one agent that is dead or
/// stuck can delay a rotation but not stop it. One that is made so late that the hold would end
/// after that waits for the hold alone, until `notAfter - longest SVID`: before that nothing has to
/// be cut or refused. An old authority leaves after its last SVID expired, one below a root after
/// its own end.
///
/// The machine is a function of the authorities' records: after a restart it is made from what the
/// datastore holds and asks again for what was not finished. Each action is asked for once; the
/// shell answers with the event of the same name or with `stepFailed`.
package struct AuthorityRotation: Sendable {
    /// What the shell has to do.
    package enum Action: Hashable, Sendable {
        /// Let `id` sign and `retiring` sign no more, in one transaction; `missing` are the live
        /// agents that do not have the new authority yet and belong into the audit leaf.
        case activate(id: String, retiring: String?, missing: [String])
        /// Make keys and an authority, self-signed or certified by an upstream, and publish it in the
        /// bundle.
        case prepare
        /// Take the authority out of the bundle and destroy its key; one that is tainted becomes
        /// revoked by that, and the record of one that is revoked goes.
        case remove(id: String)
        /// Call `timerFired` then, instead of any time asked for earlier.
        case scheduleTimer(at: Date)
    }

    /// How long a published authority waits before it signs: time for pushes to arrive where no
    /// acknowledgement tells (workloads that read the bundle from their agent).
    package static let publicationHold: Duration = .seconds(30)
    /// How long after a failed step it is asked for again.
    package static let retryDelay: Duration = .seconds(10)
    /// How much longer than its last SVID an old authority stays, for verifiers whose clock is late
    /// by as much as an agent may be and still be ready.
    package static let removalMargin: Duration = .seconds(60)
    /// Most authorities of one server in the bundle after a requested rotation: a bundle of 64
    /// holds those of eight servers.
    package static let authoritiesMax = 8
    /// How long after its notAfter the record of a revoked authority is kept, for connections that
    /// outlive their certificates: longer than any proxy is left without its agent.
    package static let revokedKept: Duration = .seconds(7 * 86_400)

    private enum Step: Hashable {
        case activate
        case prepare
        case remove(String)
    }

    /// The records as the machine knows them.
    package private(set) var authorities: [Authority]
    private let lifetimes: SVIDLifetimes
    /// How long a published authority waits before it signs.
    package let hold: Duration
    /// Prepared authorities that no bundle ever held: an earlier process ended in between.
    private let abandoned: Set<String>
    private var isRequested = false
    /// Live agents without the prepared authority; nil until somebody has counted.
    private var missing: [String]?
    private var stepsUnderway: Set<Step> = []
    private var stepsFailedUntil: [Step: Date] = [:]

    /// Continues from the records of one server; `timerFired` must follow.
    ///
    /// - Parameters:
    ///   - authorities: All records of the server.
    ///   - lifetimes: The lifetimes now configured.
    ///   - hold: `publicationHold`, or what verifiers outside need; at most
    ///     `SVIDLifetimes.publicationHoldMax`, or the next authority would be of no more use before
    ///     it signs.
    package init(
        authorities: [Authority],
        lifetimes: SVIDLifetimes,
        hold: Duration = publicationHold
    ) {
        self.authorities = authorities
        self.lifetimes = lifetimes
        self.hold = hold
        abandoned = Set(
            authorities.filter { $0.state == .prepared && $0.publishedAt == nil }.map(\.id)
        )
    }

    /// The authority that signs, if there is one.
    package var active: Authority? { authorities.first { $0.state == .active } }

    /// The authority that will sign next, if it has been made.
    package var next: Authority? { authorities.first { $0.state == .prepared } }

    /// Whether the next authority has been asked for and does not exist yet.
    package var isPreparing: Bool { stepsUnderway.contains(.prepare) }

    /// Live agents that do not have the next authority yet; nil while nobody has counted.
    package var missingAgents: [String]? { next == nil ? nil : missing }

    /// When the next authority begins to sign as far as is known now, and when at the latest; nil
    /// while there is none.
    package func activation(now: Date) -> (expected: Date, latest: Date)? {
        guard let next else { return nil }
        let latest = active.map { max(latestActivation(of: next, after: $0), now) } ?? now
        return (activationTime(of: next, now: now) ?? latest, latest)
    }

    /// The time asked for has come, the server has started, or the wall clock has stepped.
    package mutating func timerFired(now: Date) -> [Action] {
        decide(now: now)
    }

    /// An admin wants a new authority now; it follows the same formula.
    ///
    /// - Throws: `RotationRefusal.tooManyAuthorities`.
    package mutating func rotationRequested(now: Date) throws(RotationRefusal) -> [Action] {
        try requireRoom()
        if next == nil { isRequested = true }
        return decide(now: now)
    }

    /// Whether a requested rotation has room in the bundle.
    ///
    /// - Throws: `RotationRefusal.tooManyAuthorities`.
    package func requireRoom() throws(RotationRefusal) {
        guard next != nil || authorities.count(where: \.state.isPublished) < Self.authoritiesMax
        else { throw .tooManyAuthorities }
    }

    /// Somebody else changed the records: an admin tainted or revoked an authority.
    ///
    /// Steps that are under way are answered as before; what was counted of agents is kept if the
    /// next authority is still the same.
    package mutating func recordsChanged(_ new: [Authority], now: Date) -> [Action] {
        let waitedFor = next?.id
        authorities = new
        if next?.id != waitedFor { missing = nil }
        return decide(now: now)
    }

    /// The authority asked for by `.prepare` exists and its record is durable.
    package mutating func prepared(_ authority: Authority, now: Date) -> [Action] {
        guard authority.state == .prepared, next == nil,
            !authorities.contains(where: { $0.id == authority.id })
        else { return decide(now: now) }
        authorities.append(authority)
        finish(.prepare)
        isRequested = false
        missing = nil
        return decide(now: now)
    }

    /// The bundle that holds the authority has been committed.
    package mutating func published(id: String, now: Date) -> [Action] {
        update(id) { authority in
            if authority.publishedAt == nil { authority.publishedAt = now }
        }
        return decide(now: now)
    }

    /// The live agents that have not applied the bundle with authority `id`: empty when all have.
    ///
    /// To be called at every change; only the last call counts.
    package mutating func agentsApplied(
        id: String,
        missing: [String],
        now: Date
    ) -> [Action] {
        if next?.id == id { self.missing = missing }
        return decide(now: now)
    }

    /// The act of `.activate` has been committed.
    ///
    /// - Parameters:
    ///   - id: The authority that signs from now on.
    ///   - lastSVIDNotAfter: The latest notAfter that the retired authority has signed or promised,
    ///     nil if not known.
    ///   - now: The wall clock.
    /// - Returns: What to do next.
    package mutating func activated(
        id: String,
        lastSVIDNotAfter: Date?,
        now: Date
    ) -> [Action] {
        guard next?.id == id else { return decide(now: now) }
        if let active {
            update(active.id) { authority in
                authority.state = .old
                authority.lastSVIDNotAfter = lastSVIDNotAfter
            }
        }
        update(id) { authority in
            authority.state = .active
            authority.activatedAt = now
        }
        finish(.activate)
        missing = nil
        return decide(now: now)
    }

    /// The authority is in no bundle any more.
    package mutating func removed(id: String, now: Date) -> [Action] {
        finish(.remove(id))
        if authorities.contains(where: { $0.id == id && $0.state == .tainted }) {
            update(id) { $0.state = .revoked }
        } else {
            authorities.removeAll { $0.id == id && $0.state != .active }
        }
        return decide(now: now)
    }

    /// What an action asked for could not be done; it is asked for again after `retryDelay`.
    package mutating func stepFailed(_ action: Action, now: Date) -> [Action] {
        let step: Step
        switch action {
        case .activate: step = .activate
        case .prepare: step = .prepare
        case .remove(let id): step = .remove(id)
        case .scheduleTimer: return decide(now: now)
        }
        stepsUnderway.remove(step)
        stepsFailedUntil[step] = now.adding(Self.retryDelay)
        return decide(now: now)
    }
}

extension AuthorityRotation {
    private mutating func decide(now: Date) -> [Action] {
        var actions: [Action] = []
        var timers: [Date] = []
        for authority in authorities where authority.state != .active {
            let due = removalTime(of: authority)
            if isDue(.remove(authority.id), due, now, &timers) {
                actions.append(.remove(id: authority.id))
            }
        }
        if let next {
            let due = activationTime(of: next, now: now)
            if removalTime(of: next) > now, let due, isDue(.activate, due, now, &timers) {
                actions.append(
                    .activate(id: next.id, retiring: active?.id, missing: missing ?? [])
                )
            }
        } else if isDue(.prepare, preparationTime(now: now), now, &timers) {
            actions.append(.prepare)
        }
        if let timer = timers.min() { actions.append(.scheduleTimer(at: timer)) }
        return actions
    }

    /// Whether the step is to be asked for now; if later, adds the time to `timers`.
    private mutating func isDue(
        _ step: Step,
        _ due: Date,
        _ now: Date,
        _ timers: inout [Date]
    ) -> Bool {
        guard !stepsUnderway.contains(step) else { return false }
        var due = due
        // A clock that stepped back must not stretch a retry.
        if let failed = stepsFailedUntil[step], failed <= now.adding(Self.retryDelay) {
            due = max(due, failed)
        }
        guard due <= now else {
            timers.append(due)
            return false
        }
        stepsFailedUntil[step] = nil
        stepsUnderway.insert(step)
        return true
    }

    /// When the next authority must be made.
    private func preparationTime(now: Date) -> Date {
        guard let active, !isRequested else { return now }
        let halfLife = active.notBefore.addingTimeInterval(lifetime(of: active) / 2)
        // With lifetimes changed since, the end of the wait may come before half life.
        return min(halfLife, lastMoment(of: active).adding(.zero - hold))
    }

    /// When the prepared authority begins to sign; nil while that is not known.
    private func activationTime(of next: Authority, now: Date) -> Date? {
        // A key is published before its first use, whatever else (SPIFFE Federation section 5.2.1).
        guard let publishedAt = next.publishedAt else { return nil }
        guard let active, active.notAfter > now else { return now }
        let latest = latestActivation(of: next, after: active)
        guard let missing, missing.isEmpty else { return latest }
        return min(publishedAt.adding(hold), latest)
    }

    /// When the prepared authority begins to sign whoever does not have it.
    ///
    /// That is the last moment; one that is published too late for it is held all the same, as long
    /// as the active one signs whole SVIDs. With lifetimes so short that no hold fits every one would
    /// be too late, and tokens would have no time: then the last moment is the last.
    private func latestActivation(of next: Authority, after active: Authority) -> Date {
        let last = lastMoment(of: active)
        guard let publishedAt = next.publishedAt, hold <= lifetimes.publicationHoldMax else {
            return last
        }
        let end = active.notAfter.adding(.zero - lifetimes.longestSVID)
        return max(last, min(publishedAt.adding(hold), end))
    }

    /// When an authority that does not sign leaves.
    ///
    /// An old one after its last SVID, a prepared one when it would have to be replaced as soon as
    /// it began. One below a root is believed until its end by everybody who knows the root: so long
    /// there is a record of it, that it can be revoked. One that is tainted is revoked earlier, by
    /// itself.
    private func removalTime(of authority: Authority) -> Date {
        switch authority.state {
        case .active: .distantFuture
        case .old where authority.ancestry != nil: authority.notAfter.adding(Self.removalMargin)
        case .old, .tainted:
            min(authority.lastSVIDNotAfter ?? authority.notAfter, authority.notAfter)
                .adding(Self.removalMargin)
        case .revoked: authority.notAfter.adding(Self.revokedKept)
        case .prepared:
            abandoned.contains(authority.id) ? .distantPast : lastMoment(of: authority)
        }
    }

    /// The last moment at which the successor of `authority` must begin to sign.
    private func lastMoment(of authority: Authority) -> Date {
        let lead = max(lifetime(of: authority) / 6, lifetimes.longestSVID / .seconds(1) * 2)
        return authority.notAfter.addingTimeInterval(-lead)
    }

    /// From notBefore to notAfter, in seconds.
    private func lifetime(of authority: Authority) -> Double {
        authority.notAfter.timeIntervalSince(authority.notBefore)
    }

    private mutating func update(_ id: String, _ change: (inout Authority) -> Void) {
        guard let index = authorities.firstIndex(where: { $0.id == id }) else { return }
        change(&authorities[index])
    }

    private mutating func finish(_ step: Step) {
        stepsUnderway.remove(step)
        stepsFailedUntil[step] = nil
    }
}

/// Why an admin's rotation is refused.
package enum RotationRefusal: Error, Hashable, Sendable, CustomStringConvertible {
    case tooManyAuthorities

    package var description: String {
        """
        this server already has \(AuthorityRotation.authoritiesMax) authorities; wait until the \
        SVIDs of an old one have expired, or revoke one
        """
    }
}

extension Date {
    fileprivate func adding(_ duration: Duration) -> Date {
        addingTimeInterval(duration / .seconds(1))
    }
}
