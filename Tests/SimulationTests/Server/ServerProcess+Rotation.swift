// SPDX-License-Identifier: Apache-2.0

import CAServer
import Crypto
import Datastore
import FoundationEssentials
import Issuance
import NodeSync
import SPIFFE

/// What `RotationService` does.
extension ServerProcess {
    func startRotation() async throws {
        var authorities = try records()
        let now = clock.wallTime
        let usable = authorities.first { $0.state == .active && $0.notAfter > now }
        let hasKey = try usable.flatMap { try keys.signer(authorityID: $0.id) } != nil
        if !hasKey {
            let next = try prepare(now: now)
            try activate(
                next.id,
                retiring: authorities.first { $0.state == .active }?.id,
                missing: [],
                now: now
            )
            authorities = try records()
        }
        try reloadTrust()
        rotation = AuthorityRotation(
            authorities: authorities,
            lifetimes: logic.lifetimes,
            hold: logic.hold
        )
    }

    /// One turn of the loop of `RotationService.run`.
    func rotationTick() async throws {
        guard var rotation, !isStopped else { return }
        let now = clock.wallTime
        var pending = rotation.timerFired(now: now)
        if let next = rotation.next {
            pending += rotation.agentsApplied(id: next.id, missing: try missing(), now: now)
        }
        var wakeAt: Date?
        while !pending.isEmpty {
            let action = pending.removeFirst()
            if case .scheduleTimer(let date) = action {
                wakeAt = date
            } else {
                pending += try perform(action, &rotation)
            }
        }
        self.rotation = rotation
        let limit =
            rotation.next == nil ? RotationService.checkInterval : RotationService.countInterval
        let until = wakeAt.map { max($0.timeIntervalSince(clock.wallTime), 0.01) }
        let pause = min(limit, .seconds(until ?? limit.seconds))
        rotationTimer.set(at: scheduler.now + pause) { [self] in
            guard !isStopped else { return }
            do { try await rotationTick() } catch is ServerGone {}
        }
    }

    func destroyUnneededKeys() throws {
        let now = clock.wallTime
        let lists = try datastore.readNow { try $0.revocationLists() }
        let ended = Set(lists.filter(\.isLast).map(\.authorityID))
        try keys.sweep(keeping: AuthorityKey.kept(of: try records(), ended: ended, now: now))
    }

    func perform(
        _ action: AuthorityRotation.Action,
        _ rotation: inout AuthorityRotation
    ) throws -> [AuthorityRotation.Action] {
        let now = clock.wallTime
        do {
            switch action {
            case .activate(let id, let retiring, let missing):
                if machine.sabotage == .missedRotation { return [] }
                let last = try activate(id, retiring: retiring, missing: missing, now: now)
                try reloadTrust()
                return rotation.activated(id: id, lastSVIDNotAfter: last, now: now)
            case .prepare:
                let authority = try prepare(now: now)
                try reloadTrust()
                var actions = rotation.prepared(authority, now: now)
                actions += rotation.published(id: authority.id, now: now)
                if machine.sabotage == .hastyRotation {
                    // As if every agent had it already, and nobody had to be waited for.
                    return [.activate(id: authority.id, retiring: rotation.active?.id, missing: [])]
                }
                return actions
            case .remove(let id):
                let (logic, ledger) = (logic, ledger)
                try write(claiming: { ledger.removed(authority: id, number: $0) }) {
                    try logic.remove(id, now: now, in: $0)
                    return try $0.revision().number
                }
                try destroyUnneededKeys()
                try reloadTrust()
                return rotation.removed(id: id, now: now)
            case .scheduleTimer: return []
            }
        } catch let gone as ServerGone {
            throw gone
        } catch {
            scheduler.note("server rotation step failed")
            return rotation.stepFailed(action, now: now)
        }
    }

    func prepare(now: Date) throws -> Authority {
        let signer = try MemorySigner(pkcs8DER: SimulatedKey(using: &random).pkcs8)
        let authority = try Authority.selfSigned(
            trustDomain: logic.trustDomain,
            serverID: logic.serverID,
            lifetimes: logic.lifetimes,
            signer: signer,
            now: now,
            using: &random
        )
        try keys.keep(signer, authorityID: authority.id)
        let list = try ServerLogic.firstList(of: authority, signedWith: signer, now: now)
        let (logic, ledger, instant) = (logic, ledger, scheduler.now)
        return try write(claiming: { published, number in
            ledger.listed(ListFact(list), number: number)
            ledger.published(
                AuthorityFact(
                    id: published.id,
                    certificateDER: published.certificateDER,
                    notBefore: published.notBefore,
                    notAfter: published.notAfter,
                    publishedAt: instant,
                    bundleNumber: number
                )
            )
        }) { transaction in
            let published = try logic.publish(
                authority,
                list: list,
                keptIn: .plain,
                now: now,
                in: transaction
            )
            return (published, try transaction.revision().number)
        }.0
    }

    @discardableResult
    func activate(
        _ id: String,
        retiring: String?,
        missing: [String],
        isOrdered: Bool = false,
        now: Date
    ) throws -> Date? {
        let (logic, ledger, instant) = (logic, ledger, scheduler.now)
        return try write(claiming: { _ in
            ledger.activated(
                id,
                retiring: retiring,
                missing: missing,
                isOrdered: isOrdered,
                at: instant,
                wall: now
            )
        }) { transaction in
            try logic.activate(
                id,
                retiring: retiring,
                missing: missing,
                now: now,
                in: transaction
            )
        }
    }

    func records() throws -> [Authority] {
        let serverID = logic.serverID
        return try datastore.readNow { transaction in
            try transaction.authorities()
                .filter { $0.serverID == serverID }
                .map { try Authority($0, in: transaction) }
        }
    }

    /// Live agents that have not applied the bundle.
    func missing() throws -> [String] {
        let number = try datastore.readNow { try $0.bundleSequenceNumber() }
        return publisher.appliedState(of: number, among: .all, now: clock.bootTime)
            .waiting.map(\.name)
    }
}
