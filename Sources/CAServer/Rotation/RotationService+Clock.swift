// SPDX-License-Identifier: Apache-2.0

internal import Clocks
internal import ControlAPI
internal import Datastore
internal import FoundationEssentials
internal import Issuance
internal import Logging
internal import NodeSync
internal import SPIFFE
internal import Telemetry

/// An admin says that the wall clock is right (docs/decisions/0022-backup-and-restore.md, "The
/// clock").
extension RotationService {
    /// Whether the wall clock is behind the last signature.
    func isClockBehind(_ now: Date) async throws -> Bool {
        let logic = core.logic
        return try await core.read { try logic.clockProblem(now, in: $0) != nil }
    }

    /// Performs the order, and answers it; while the upstream is asked who may sign, it is parked.
    ///
    /// - Returns: What to do next.
    func acceptClock(
        _ order: RotationDesk.Order,
        isNow: Bool,
        _ rotation: inout AuthorityRotation
    ) async -> [AuthorityRotation.Action] {
        do {
            guard let result = try await acceptClock(order.permit, isNow: isNow) else {
                core.rotationDesk.park(order)
                return []
            }
            let actions = await readAgain(&rotation)
            if let active = rotation.active { core.signs(active, now: core.clock.wallTime) }
            await core.judgeClock()
            order.finish(.success(.clock(result)))
            return actions
        } catch {
            order.finish(.failure((error as? APIError) ?? APIError(datastore: error)))
            return []
        }
    }

    private func acceptClock(
        _ permit: @escaping ActPermit,
        isNow: Bool
    ) async throws -> ClockAcceptanceResult? {
        let (core, logic, now) = (core, core.logic, core.clock.wallTime)
        let expected = core.clockGuard.expected(wall: now, boot: core.clock.bootTime)
        // Before a key is made, which nobody but an admin may have the server do.
        _ = try await core.rehearse(permit)
        // Whoever writes would wait for all that is looked at here.
        let outlook = try await core.read { transaction in
            try logic.clockOutlook(jumpedFrom: expected, now: now, in: transaction)
        }
        try outlook.require(isNow: isNow)
        var signer = ClockSigner.same
        if outlook.lastSignature != nil {
            guard let found = try await self.signer(at: now) else { return nil }
            signer = found
        }
        // Whoever is connected: nobody has a bundle yet that is made in the same commit.
        var lacking: [String] = []
        if !signer.isSame { lacking = await missing(later: 1) ?? [] }
        let result: ClockAcceptanceResult
        do throws(APIError) {
            result = try await core.write { [lacking, signer] transaction in
                let actor = try permit(transaction)
                return try logic.acceptClock(
                    outlook,
                    signer,
                    missing: lacking,
                    isNow: isNow,
                    by: actor,
                    now: now,
                    in: transaction
                )
            }
        } catch {
            forgetChain(refusedBy: error)
            throw error
        }
        if case .made(let authority, _, _, _) = signer {
            core.upstreamDesk.published(authority.id)
            core.metrics.increment(.revocationListsSigned)
        }
        core.clockGuard.accept(wall: core.clock.wallTime, boot: core.clock.bootTime)
        let revoked =
            result.outlook.authorities.map(\.id) + result.outlook.downstream.map(\.id)
            + result.again.authorities
        for id in revoked { core.distrusted(id, .revoked) }
        core.revoked(result.again.certificates)
        core.renewIdentity()
        core.logger.notice(
            "the clock is accepted as right",
            metadata: ["authorities": "\(result.outlook.authorities.count)"]
        )
        return result
    }

    /// Who can sign at `now`: whoever does, the one that is prepared, or a new one; nil while the
    /// upstream is asked for that one.
    private func signer(at now: Date) async throws -> ClockSigner? {
        let authorities = try await records().filter { $0.hasBegun(now) && $0.notAfter > now }
        if let active = authorities.first(where: { $0.state == .active }),
            try await holdsKey(of: active.id)
        {
            return .same
        }
        if let waiting = authorities.first(where: { $0.state == .prepared }),
            try await holdsKey(of: waiting.id)
        {
            return .prepared(id: waiting.id)
        }
        guard let draft = try await draft() else { return nil }
        let list = try await core.keys.apart { _ in
            try ServerLogic.firstList(of: draft.authority, signedWith: draft.signer, now: now)
        }
        let roots = core.livingRoots(at: now)
        return .made(draft.authority, list, core.configuration.keyStorage, roots: roots)
    }
}

extension Authority {
    /// Whether its certificate is valid yet; one that a clock made which was ahead is not.
    func hasBegun(_ now: Date) -> Bool { notBefore <= now }
}
