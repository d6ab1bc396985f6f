// SPDX-License-Identifier: Apache-2.0

import CAServer
import Datastore
import FoundationEssentials
import Issuance
import NodeSync
import SPIFFE

/// What `AdministrationService` and `RotationService` do when an admin orders something of an
/// authority (docs/decisions/0014-life-of-an-authority.md).
extension ServerProcess {
    /// Makes and publishes the next authority unless there is one; it signs by the formula.
    func prepareNext() async throws {
        guard var rotation, rotation.next == nil else { return }
        try rotation.requireRoom()
        let now = clock.wallTime
        let authority = try prepare(now: now)
        try reloadTrust()
        let actions =
            rotation.prepared(authority, now: now) + rotation.published(id: authority.id, now: now)
        try carryOut(actions, &rotation)
        self.rotation = rotation
        try await rotationTick()
    }

    /// Has the next authority sign at once, whoever does not have it.
    ///
    /// - Returns: The one that signed before; nil if no other one does.
    func rotateNow() async throws -> String? {
        try await prepareNext()
        guard var rotation, let next = rotation.next else { return nil }
        let retiring = rotation.active?.id
        let now = clock.wallTime
        let last = try activate(
            next.id,
            retiring: retiring,
            missing: missing(),
            isOrdered: true,
            now: now
        )
        try reloadTrust()
        try destroyUnneededKeys()
        let actions = rotation.activated(id: next.id, lastSVIDNotAfter: last, now: now)
        try carryOut(actions, &rotation)
        self.rotation = rotation
        try await rotationTick()
        return retiring
    }

    /// Has replaced what an old authority signed.
    func taint(_ id: String) async throws {
        guard try authorities(in: .old).contains(id) else { return }
        let (logic, now, ledger, instant) = (logic, clock.wallTime, ledger, scheduler.now)
        try write(claiming: { ledger.tainted(authority: id, number: $0, at: instant, wall: now) }) {
            transaction in
            _ = try logic.taint(
                id,
                reason: "simulation",
                by: Self.admin,
                now: now,
                in: transaction
            )
            return try transaction.revision().number
        }
        try await distrusted(id)
    }

    /// Taints the authority that signed last, if it is not tainted yet.
    func taintOld() async throws {
        guard let old = try records().first(where: { $0.state == .old }) else { return }
        try await taint(old.id)
    }

    /// Ends an authority, whoever still shows what it signed; one that is revoked stays so.
    func revoke(authority id: String) async throws {
        guard try !authorities(in: .revoked).contains(id) else { return }
        let (logic, now, ledger, instant) = (logic, clock.wallTime, ledger, scheduler.now)
        try write(claiming: { ledger.revoked(authority: id, number: $0, at: instant, wall: now) }) {
            transaction in
            _ = try logic.revokeAuthority(
                id,
                reason: "simulation",
                by: Self.admin,
                now: now,
                in: transaction
            )
            return try transaction.revision().number
        }
        try await distrusted(id)
        // Agents hear of it before.
        after(RotationService.countInterval, "server ends connections of a revoked authority") {
            [self] in disconnectDistrusted()
        }
    }

    /// Whether a peer that was verified when it connected still counts; as in `ServerCore`.
    func believes(_ peer: VerifiedPeer) -> Bool {
        // Without orders an authority is revoked only when all that it signed has ended.
        !machine.trials.orders || revokedAuthorities.isDisjoint(with: peer.path)
    }

    /// The IDs of authorities in a state.
    func authorities(in state: Authority.State) throws -> [String] {
        try records().filter { $0.state == state }.map(\.id)
    }

    private func distrusted(_ id: String) async throws {
        try destroyUnneededKeys()
        try reloadTrust()
        if ownAuthorityID == id { try renewOwnAtOnce() }
        guard var rotation else { return }
        let actions = rotation.recordsChanged(try records(), now: clock.wallTime)
        try carryOut(actions, &rotation)
        self.rotation = rotation
        try await rotationTick()
    }

    private func disconnectDistrusted() {
        let ended = streams.values.filter { !believes($0.peer) }
        for stream in ended.sorted(by: { $0.session < $1.session }) {
            stream.connection.close(from: .server)
            disconnected(stream.session)
        }
    }

    private func carryOut(
        _ actions: [AuthorityRotation.Action],
        _ rotation: inout AuthorityRotation
    ) throws {
        var pending = actions
        while !pending.isEmpty {
            let action = pending.removeFirst()
            if case .scheduleTimer = action { continue }
            pending += try perform(action, &rotation)
        }
    }
}
