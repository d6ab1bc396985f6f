// SPDX-License-Identifier: Apache-2.0

internal import Clocks
internal import ControlAPI
internal import Datastore
internal import FoundationEssentials
package import Issuance
internal import Logging
internal import NodeSync
internal import SPIFFE
internal import Telemetry

/// The shell of `AuthorityRotation`: it performs the steps and reports who has the next authority.
package struct RotationService: Sendable {
    /// Longest sleep between two looks at the wall clock, which may step.
    package static let checkInterval: Duration = .seconds(30)
    /// How often the agents without the next authority are counted while one is prepared.
    package static let countInterval: Duration = .seconds(1)
    /// How often keys that are of no more use are looked for: destroying one may have failed.
    package static let keyInterval: Duration = .seconds(60)
    /// How often SVIDs under tainted authorities are counted: each time all that are valid are read.
    package static let taintCountInterval: Duration = .seconds(30)

    let core: ServerCore
    private let sweepTrouble = LastTold()

    package init(core: ServerCore) {
        self.core = core
    }

    /// Makes sure that there is an active authority whose key is here: on the first start, after a
    /// restart with keys in memory, or when the last one expired while the server was down.
    package func start() async throws -> AuthorityRotation {
        let now = core.clock.wallTime
        try await removeKeyless(now: now)
        var authorities = try await records()
        let usable = authorities.first { authority in
            authority.state == .active && authority.hasBegun(now) && authority.notAfter > now
        }
        var hasKey = false
        if let usable { hasKey = try await holdsKey(of: usable.id) }
        // With a clock that is behind nothing can be made: who mends that needs the admin socket.
        let isBehind = try await isClockBehind(now)
        let waiting = authorities.first {
            $0.state == .prepared && $0.hasBegun(now) && $0.notAfter > now
        }
        if let usable, !hasKey { core.tellLost(usable, followedBy: waiting) }
        if !hasKey, !isBehind {
            let next: Authority?
            if let waiting { next = waiting } else { next = try await prepareAtStart() }
            if let next {
                try await activate(
                    next.id,
                    retiring: authorities.first { $0.state == .active }?.id,
                    missing: [],
                    now: core.clock.wallTime
                )
            }
            authorities = try await records()
        }
        // Also after a restart: it is said until verifiers have had their time.
        if let active = authorities.first(where: { $0.state == .active }) {
            core.signs(active, now: now)
        }
        await destroyUnneededKeys()
        try await core.reloadTrust()
        return AuthorityRotation(
            authorities: authorities,
            lifetimes: core.logic.lifetimes,
            hold: core.logic.hold
        )
    }

    /// A prepared authority whose key is gone (keys in memory, a lost file) can never sign: it leaves
    /// the bundle.
    private func removeKeyless(now: Date) async throws {
        let logic = core.logic
        for authority in try await records() where authority.state == .prepared {
            guard try await !holdsKey(of: authority.id) else { continue }
            try await core.write { try logic.remove(authority.id, now: now, in: $0) }
            core.tellLost(prepared: authority)
        }
    }

    /// Whether the key for certificates is here; without the one for tokens it signs all the same.
    func holdsKey(of authorityID: String) async throws -> Bool {
        try await core.keys.apart { try $0.signer(authorityID: authorityID) != nil }
    }

    /// Rotates on schedule until cancelled.
    package func run(_ rotation: consuming AuthorityRotation) async {
        var rotation = rotation
        var steps = ClockStepDetector(startingAt: reading)
        var countAt = core.clock.bootTime
        var keysAt = core.clock.bootTime + Self.keyInterval
        var disconnectAt: Duration?
        defer { core.rotationDesk.close() }
        while !Task.isCancelled {
            // What is wrong with the clock is noticed while nobody asks for anything, too.
            await core.judgeClock()
            if let step = steps.observed(reading) {
                core.metrics.increment(.clockSteps)
                core.logger.warning("the wall clock stepped", metadata: ["by": "\(step)"])
            }
            if core.isTrustStale { await core.refreshTrust() }
            core.endUnheld(now: core.clock.wallTime)
            let (orders, haveRecordsChanged) = core.rotationDesk.take()
            let now = core.clock.wallTime
            // What is due is decided by what there is, not by what an admin has just changed.
            var due = haveRecordsChanged ? await readAgain(&rotation) : []
            due += rotation.timerFired(now: now)
            due += await upstreamAnswered(&rotation)
            if let next = rotation.next, let missing = await missing() {
                core.metrics.set(.rotationAgentsMissing, to: Double(missing.count))
                due += rotation.agentsApplied(id: next.id, missing: missing, now: now)
            }
            var wakeAt = await carryOut(due, &rotation)
            // What the schedule decided is done before: two would do it twice.
            for order in orders {
                wakeAt = await carryOut(await serve(order, &rotation), &rotation) ?? wakeAt
            }
            // Whoever has just asked for it is answered before his connection ends; who asks again and
            // again does not put it off.
            if haveRecordsChanged, disconnectAt == nil {
                disconnectAt = core.clock.bootTime + Self.countInterval
            }
            if disconnectAt ?? .zero <= core.clock.bootTime {
                disconnectAt = nil
                core.disconnectDistrusted()
            }
            if countAt <= core.clock.bootTime {
                countAt = core.clock.bootTime + Self.taintCountInterval
                await countNotReplaced(rotation.authorities)
            }
            if keysAt <= core.clock.bootTime {
                keysAt = core.clock.bootTime + Self.keyInterval
                await destroyUnneededKeys()
            }
            core.endLost(rotation.authorities)
            report(rotation, wakeAt)
            let isIdle = rotation.next == nil && !core.isTrustStale && disconnectAt == nil
            let limit = isIdle ? Self.checkInterval : Self.countInterval
            let until = wakeAt.map { max($0.timeIntervalSince(core.clock.wallTime), 0.01) }
            let pause = min(limit, .seconds(until ?? limit / .seconds(1)))
            await core.rotationDesk.wait(until: core.clock.bootTime + pause, core.clock)
        }
    }

    /// Performs actions and what follows from them.
    ///
    /// - Returns: When the machine wants to be called; nil if it did not say.
    private func carryOut(
        _ actions: [AuthorityRotation.Action],
        _ rotation: inout AuthorityRotation
    ) async -> Date? {
        var pending = actions
        var wakeAt: Date?
        while !pending.isEmpty {
            let action = pending.removeFirst()
            if case .scheduleTimer(let date) = action {
                wakeAt = date
            } else {
                pending += await perform(action, &rotation)
            }
        }
        return wakeAt
    }

    private var reading: ClockReading {
        ClockReading(wall: core.clock.wallTime, boot: core.clock.bootTime)
    }

    func perform(
        _ action: AuthorityRotation.Action,
        _ rotation: inout AuthorityRotation
    ) async -> [AuthorityRotation.Action] {
        let now = core.clock.wallTime
        do {
            if case .scheduleTimer = action { return [] }
            try await core.requireClock()
            switch action {
            case .activate(let id, let retiring, let missing):
                return try await letSign(
                    id,
                    retiring: retiring,
                    missing: missing,
                    Self.schedule,
                    &rotation
                )
            case .prepare:
                // Else the upstream is being asked, and its answer is followed by this step.
                guard let draft = try await draft() else { return [] }
                return try await publish(draft, Self.schedule, &rotation)
            case .remove(let id):
                let logic = core.logic
                try await core.write { try logic.remove(id, now: now, in: $0) }
                await destroyUnneededKeys()
                await core.refreshTrust()
                await core.settleRootsOrTell()
                core.logger.notice("authority removed", metadata: ["authority": "\(id)"])
                return rotation.removed(id: id, now: now)
            case .scheduleTimer: return []
            }
        } catch {
            core.logger.error(
                "a step of rotation failed",
                metadata: ["step": "\(action)", "error": "\(error)"]
            )
            let more = rotation.stepFailed(action, now: now)
            // Somebody was quicker: what is known is not what there is.
            guard (error as? APIError)?.reason == "authorityState" else { return more }
            return more + (await readAgain(&rotation))
        }
    }

    private func letSign(
        _ id: String,
        retiring: String?,
        missing: [String],
        _ permit: @escaping ActPermit,
        settling settle: @escaping ActSettlement = { _ in },
        _ rotation: inout AuthorityRotation
    ) async throws -> [AuthorityRotation.Action] {
        let now = core.clock.wallTime
        let last = try await activate(
            id,
            retiring: retiring,
            missing: missing,
            permit,
            settling: settle,
            now: now
        )
        await core.refreshTrust()
        await destroyUnneededKeys()
        core.logger.notice("authority activated", metadata: ["authority": "\(id)"])
        let actions = rotation.activated(id: id, lastSVIDNotAfter: last, now: now)
        if let active = rotation.active { core.signs(active, now: now) }
        // What waited for it.
        core.revocationsNamed.signal()
        return actions
    }

    /// The schedule may do what it decides.
    static let schedule: ActPermit = { _ in ServerLogic.rotation }

    // MARK: - What admins do

    func serve(
        _ order: RotationDesk.Order,
        _ rotation: inout AuthorityRotation
    ) async -> [AuthorityRotation.Action] {
        if case .acceptClock(let isNow) = order.step {
            return await acceptClock(order, isNow: isNow, &rotation)
        }
        do {
            try await core.requireClock()
            let actions: [AuthorityRotation.Action]
            let result: Authority?
            switch order.step {
            case .acceptClock: (actions, result) = ([], nil)
            case .activate(let id):
                guard let next = rotation.next, next.id == id else {
                    throw Self.notPrepared(id)
                }
                let counted = await missing()
                actions = try await letSign(
                    id,
                    retiring: rotation.active?.id,
                    missing: counted ?? rotation.missingAgents ?? [],
                    order.permit,
                    settling: order.settle,
                    &rotation
                )
                result = rotation.active
            case .prepare(let acceptsPrepared, let isUrgent):
                // Before a key is made, which nobody but an admin may have the server do.
                _ = try await core.rehearse(order.permit)
                if let next = rotation.next {
                    guard acceptsPrepared else { throw Self.alreadyPrepared(next.id) }
                    (actions, result) = ([], next)
                } else {
                    if !isUrgent { try requireRoom(rotation) }
                    guard let draft = try await draft() else {
                        core.rotationDesk.park(order)
                        return []
                    }
                    actions = try await publish(draft, order.permit, &rotation)
                    result = rotation.next
                }
            }
            guard let result else { throw Self.notPrepared("") }
            order.finish(.success(.authority(result)))
            return actions
        } catch {
            order.finish(.failure((error as? APIError) ?? APIError(datastore: error)))
            return []
        }
    }

    private func requireRoom(_ rotation: AuthorityRotation) throws(APIError) {
        do throws(RotationRefusal) {
            try rotation.requireRoom()
        } catch {
            throw APIError(.failedPrecondition, "tooManyAuthorities", error.description)
        }
    }

    private static func notPrepared(_ id: String) -> APIError {
        APIError(
            .failedPrecondition,
            "authorityState",
            "authority \(id) is not prepared; make one with signet authority prepare"
        )
    }

    private static func alreadyPrepared(_ id: String) -> APIError {
        APIError(
            .failedPrecondition,
            "authorityPrepared",
            "authority \(id) is prepared already; it begins to sign by itself, or at once with "
                + "signet authority activate"
        )
    }

    /// An admin has changed records: they are read anew, and keys that are of no more use go.
    func readAgain(
        _ rotation: inout AuthorityRotation
    ) async -> [AuthorityRotation.Action] {
        await core.refreshTrust()
        do {
            let authorities = try await records()
            await destroyUnneededKeys()
            await core.settleRootsOrTell()
            return rotation.recordsChanged(authorities, now: core.clock.wallTime)
        } catch {
            core.logger.error("authorities cannot be read", metadata: ["error": "\(error)"])
            core.rotationDesk.readLater()
            return []
        }
    }

    /// Tells how far the replacement of what tainted authorities signed has come.
    private func countNotReplaced(_ authorities: [Authority]) async {
        let tainted = authorities.filter { $0.state == .tainted }
        guard !tainted.isEmpty else {
            core.metrics.set(.authoritySVIDsNotReplaced, to: 0)
            return
        }
        let now = core.clock.wallTime
        guard let issued = try? await core.read({ try $0.issued(validAt: now) }) else { return }
        let left = tainted.reduce(UInt64(0)) { $0 + (issued[$1.id]?.notReplaced ?? 0) }
        core.metrics.set(.authoritySVIDsNotReplaced, to: Double(left))
    }

    @discardableResult
    private func activate(
        _ id: String,
        retiring: String?,
        missing: [String],
        _ permit: @escaping ActPermit = RotationService.schedule,
        settling settle: @escaping ActSettlement = { _ in },
        now: Date
    ) async throws -> Date? {
        let logic = core.logic
        return try await core.write { transaction in
            let actor = try permit(transaction)
            let last = try logic.activate(
                id,
                retiring: retiring,
                missing: missing,
                by: actor,
                now: now,
                in: transaction
            )
            try settle(transaction)
            return last
        }
    }

    /// Destroys every key that the records give no use, also one that could not be destroyed before.
    ///
    /// Only this task makes keys, so none goes between its making and its publication; those that wait
    /// for the upstream are spared.
    func destroyUnneededKeys() async {
        let (serverID, now) = (core.logic.serverID, core.clock.wallTime)
        let believed = await core.isClockBelieved() ? now : nil
        do {
            let kept = try await core.read { transaction in
                let own = try transaction.authorities()
                    .filter { $0.serverID == serverID }
                    .map { try Authority($0, in: transaction) }
                let ended = try transaction.authoritiesWithLastList()
                return AuthorityKey.kept(of: own, ended: ended, now: believed)
            }
            let waiting = core.upstreamDesk.candidate.map { candidate in
                [
                    AuthorityKey(candidate.id),
                    AuthorityKey(candidate.id, for: .tokens, publicKey: candidate.tokenKeySPKI),
                ]
            }
            let spared = kept.union(waiting ?? [])
            try await core.keys.apart { try $0.sweep(keeping: spared) }
            _ = sweepTrouble.isNews(nil)
        } catch {
            // Those of no authority on record are no trouble of an admin's: the next sweep goes on.
            if (error as? KeyServiceError)?.isAbsence != true, await dropLostCandidate() { return }
            guard sweepTrouble.isNews("\(error)") else { return }
            core.logger.error(
                "keys that are of no more use cannot be destroyed; it is tried again each minute",
                metadata: ["error": "\(error)"]
            )
        }
    }

    func records() async throws -> [Authority] {
        let serverID = core.logic.serverID
        return try await core.read { transaction in
            try transaction.authorities()
                .filter { $0.serverID == serverID }
                .map { try Authority($0, in: transaction) }
        }
    }

    /// Live agents that have not applied the newest bundle; nil when that cannot be read.
    ///
    /// `later` says how many bundles later than the newest is meant.
    func missing(later: UInt64 = 0) async -> [String]? {
        guard let number = try? await core.read({ try $0.bundleSequenceNumber() }) else {
            return nil
        }
        return core.hub.appliedState(of: number + later, amongAll: true).waiting.map(\.name)
    }

    private func report(_ rotation: AuthorityRotation, _ wakeAt: Date?) {
        let text =
            if let next = rotation.next {
                "authority \(next.id.prefix(16)) is published and begins to sign when it was so for "
                    + "\(SVIDLifetimes.text(rotation.hold)) and all live agents have it"
            } else if rotation.isPreparing, core.upstream != nil {
                "the upstream is asked to certify the next authority"
            } else if rotation.active != nil {
                "the next authority is made at half life of the active one"
            } else {
                "an authority is being made"
            }
        core.rotationStatus = RotationStatus(
            text: text,
            at: wakeAt,
            latest: rotation.activation(now: core.clock.wallTime)?.latest,
            waitingFor: rotation.missingAgents ?? []
        )
        if rotation.next == nil { core.metrics.set(.rotationAgentsMissing, to: 0) }
    }
}
