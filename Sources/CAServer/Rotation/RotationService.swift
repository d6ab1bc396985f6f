// SPDX-License-Identifier: Apache-2.0

internal import Clocks
internal import Datastore
package import FoundationEssentials
package import Issuance
internal import Logging
internal import NodeSync
internal import SPIFFE
internal import Telemetry

/// What rotation does next, in words, and when.
package struct RotationStatus: Hashable, Sendable {
    package let text: String
    package let at: Date?
}

/// The shell of `AuthorityRotation`: it performs the steps and reports who has the next authority.
package struct RotationService: Sendable {
    /// Longest sleep between two looks at the wall clock, which may step.
    package static let checkInterval: Duration = .seconds(30)
    /// How often the agents without the next authority are counted while one is prepared.
    package static let countInterval: Duration = .seconds(1)

    let core: ServerCore

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
            authority.state == .active && authority.notAfter > now
        }
        var hasKey = false
        if let usable { hasKey = try await holdsKey(of: usable.id) }
        if !hasKey {
            let waiting = authorities.first { $0.state == .prepared && $0.notAfter > now }
            let next: Authority
            if let waiting { next = waiting } else { next = try await prepare(now: now) }
            try await activate(
                next.id,
                retiring: authorities.first { $0.state == .active }?.id,
                missing: [],
                now: now
            )
            authorities = try await records()
        }
        let signing = Set(authorities.filter { $0.state != .old }.map(\.id))
        try await core.keys.apart { try $0.sweep(keeping: signing) }
        try await core.reloadTrust()
        return AuthorityRotation(authorities: authorities, lifetimes: core.logic.lifetimes)
    }

    /// A prepared authority whose key is gone (keys in memory) can never sign: it leaves the bundle.
    private func removeKeyless(now: Date) async throws {
        let logic = core.logic
        for authority in try await records() where authority.state == .prepared {
            guard try await !holdsKey(of: authority.id) else { continue }
            try await core.write { try logic.remove(authority.id, now: now, in: $0) }
        }
    }

    private func holdsKey(of authorityID: String) async throws -> Bool {
        try await core.keys.apart { try $0.signer(authorityID: authorityID) != nil }
    }

    /// Rotates on schedule until cancelled.
    package func run(_ rotation: consuming AuthorityRotation) async {
        var rotation = rotation
        var steps = ClockStepDetector(startingAt: reading)
        while !Task.isCancelled {
            // What is wrong with the clock is noticed while nobody asks for anything, too.
            await core.judgeClock()
            if let step = steps.observed(reading) {
                core.metrics.increment(.clockSteps)
                core.logger.warning("the wall clock stepped", metadata: ["by": "\(step)"])
            }
            if core.isTrustStale { await core.refreshTrust() }
            let now = core.clock.wallTime
            var pending = rotation.timerFired(now: now)
            if let next = rotation.next, let missing = await missing() {
                core.metrics.set(.rotationAgentsMissing, to: Double(missing.count))
                pending += rotation.agentsApplied(id: next.id, missing: missing, now: now)
            }
            var wakeAt: Date?
            while !pending.isEmpty {
                let action = pending.removeFirst()
                if case .scheduleTimer(let date) = action {
                    wakeAt = date
                } else {
                    pending += await perform(action, &rotation)
                }
            }
            report(rotation, wakeAt)
            let isIdle = rotation.next == nil && !core.isTrustStale
            let limit = isIdle ? Self.checkInterval : Self.countInterval
            let until = wakeAt.map { max($0.timeIntervalSince(core.clock.wallTime), 0.01) }
            let pause = min(limit, .seconds(until ?? limit / .seconds(1)))
            try? await core.clock.sleep(untilBoot: core.clock.bootTime + pause)
        }
    }

    private var reading: ClockReading {
        ClockReading(wall: core.clock.wallTime, boot: core.clock.bootTime)
    }

    private func perform(
        _ action: AuthorityRotation.Action,
        _ rotation: inout AuthorityRotation
    ) async -> [AuthorityRotation.Action] {
        let now = core.clock.wallTime
        do {
            if case .scheduleTimer = action { return [] }
            try await core.requireClock()
            switch action {
            case .activate(let id, let retiring, let missing):
                let last = try await activate(id, retiring: retiring, missing: missing, now: now)
                await core.refreshTrust()
                // It signs no more: batches under way hold it for themselves.
                if let retiring { await drop(retiring) }
                core.logger.notice("authority activated", metadata: ["authority": "\(id)"])
                return rotation.activated(id: id, lastSVIDNotAfter: last, now: now)
            case .prepare:
                let authority = try await prepare(now: now)
                await core.refreshTrust()
                core.logger.notice(
                    "authority published",
                    metadata: ["authority": "\(authority.id)"]
                )
                return rotation.prepared(authority, now: now)
                    + rotation.published(id: authority.id, now: now)
            case .remove(let id):
                let logic = core.logic
                try await core.write { try logic.remove(id, now: now, in: $0) }
                await drop(id)
                await core.refreshTrust()
                core.logger.notice("authority removed", metadata: ["authority": "\(id)"])
                return rotation.removed(id: id, now: now)
            case .scheduleTimer: return []
            }
        } catch {
            core.logger.error(
                "a step of rotation failed",
                metadata: ["step": "\(action)", "error": "\(error)"]
            )
            return rotation.stepFailed(action, now: now)
        }
    }

    /// The key is on disk before the bundle names it: a crash between leaves a file without use,
    /// never an authority without key.
    private func prepare(now: Date) async throws -> Authority {
        let (logic, storage) = (core.logic, core.configuration.keyStorage)
        let signer = try await core.keys.apart { try $0.makeAuthorityKey() }
        var generator = core.randomness
        let authority = try Authority.selfSigned(
            trustDomain: logic.trustDomain,
            serverID: logic.serverID,
            lifetimes: logic.lifetimes,
            signer: signer,
            now: now,
            using: &generator
        )
        try await core.keys.apart { try $0.keep(signer, authorityID: authority.id) }
        return try await core.write {
            try logic.publish(authority, keptIn: storage, now: now, in: $0)
        }
    }

    @discardableResult
    private func activate(
        _ id: String,
        retiring: String?,
        missing: [String],
        now: Date
    ) async throws -> Date? {
        let logic = core.logic
        return try await core.write { transaction in
            try logic.activate(
                id,
                retiring: retiring,
                missing: missing,
                now: now,
                in: transaction
            )
        }
    }

    /// Destroys the key of an authority that signs no more; at the next start it would be swept.
    private func drop(_ id: String) async {
        do {
            try await core.keys.apart { try $0.drop(authorityID: id) }
        } catch {
            core.logger.error(
                "the key of a retired authority cannot be removed",
                metadata: ["authority": "\(id)", "error": "\(error)"]
            )
        }
    }

    private func records() async throws -> [Authority] {
        let serverID = core.logic.serverID
        return try await core.read { transaction in
            try transaction.authorities()
                .filter { $0.serverID == serverID }
                .map { try Authority($0, in: transaction) }
        }
    }

    /// Live agents that have not applied the newest bundle; nil when that cannot be read.
    private func missing() async -> [String]? {
        guard let number = try? await core.read({ try $0.bundleSequenceNumber() }) else {
            return nil
        }
        return core.hub.appliedState(of: number, amongAll: true).waiting.map(\.name)
    }

    private func report(_ rotation: AuthorityRotation, _ wakeAt: Date?) {
        let text =
            if let next = rotation.next {
                "authority \(next.id.prefix(16)) is published and begins to sign when all live "
                    + "agents have it"
            } else if rotation.active != nil {
                "the next authority is made at half life of the active one"
            } else {
                "an authority is being made"
            }
        core.rotationStatus = RotationStatus(text: text, at: wakeAt)
        if rotation.next == nil { core.metrics.set(.rotationAgentsMissing, to: 0) }
    }
}
