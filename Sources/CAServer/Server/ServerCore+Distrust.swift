// SPDX-License-Identifier: Apache-2.0

internal import Clocks
package import Datastore
package import Issuance
internal import Logging
package import NodeSync
package import SPIFFE
internal import Synchronization
internal import Telemetry

/// What becomes of those who were verified by an authority that is tainted or revoked
/// (docs/decisions/0014-life-of-an-authority.md).
extension ServerCore {
    /// How the authorities of a peer's path are distrusted; nil if they are not.
    ///
    /// Every one of them counts: whoever has the key of one that is revoked may put others between
    /// it and the leaf (docs/decisions/0020-authorities-under-another.md).
    package func standing(of peer: VerifiedPeer) -> AuthorityStanding? {
        distrustState.withLock { known in
            AuthorityStanding.worst(of: peer.path) { known[$0] }
        }
    }

    /// How an authority is distrusted; nil if it is not.
    package func standing(ofAuthority keyID: [UInt8]) -> AuthorityStanding? {
        distrustState.withLock { $0[keyID] }
    }

    /// Whether what an authority has signed is to be replaced, or counts no more.
    func isDistrusted(_ authorityID: String) -> Bool {
        standing(ofAuthority: keyIdentifier(ofAuthority: authorityID)) != nil
    }

    /// Whether a verified peer still counts.
    package func believes(_ peer: VerifiedPeer) -> Bool {
        standing(of: peer) != .revoked
            && !revokedSerials.withLock { $0.contains(peer.serial) }
    }

    /// Certificates are refused from this commit on.
    func revoked(_ certificates: [RevokedCertificate]) {
        let isNew = revokedSerials.withLock { known in
            let before = known.count
            known.formUnion(certificates.map(\.serial))
            return known.count > before
        }
        if isNew { rotationDesk.recordsChanged() }
    }

    /// Certificates that have ended need not be remembered.
    func forgotten(_ certificates: [RevokedCertificate]) {
        revokedSerials.withLock { $0.subtract(certificates.map(\.serial)) }
    }

    /// An authority is distrusted from this commit on.
    func distrusted(_ authorityID: String, _ standing: AuthorityStanding) {
        distrustState.withLock { known in
            let keyID = keyIdentifier(ofAuthority: authorityID)
            // Of two acts that end at once, the answer to the first may come last.
            known[keyID] = known[keyID] == .revoked ? .revoked : standing
        }
        distrustChanged.signal()
        rotationDesk.recordsChanged()
    }

    /// Has the server's own certificate made anew at once.
    func renewIdentity() {
        identityDue.withLock { $0 = true }
        distrustChanged.signal()
    }

    /// Something above authorities is distrusted from this commit on, and what is below it.
    func distrusted(
        _ outcome: ServerLogic.UpstreamOutcome,
        _ standing: AuthorityStanding
    ) async {
        distrusted(outcome.record.id, standing)
        for authority in outcome.changed {
            let isRevoked = authority.state == AuthorityRecord.revokedState
            distrusted(authority.id, isRevoked ? .revoked : .tainted)
        }
        logger.notice(
            "what is above authorities is distrusted",
            metadata: ["key": "\(outcome.record.id)", "state": "\(outcome.record.state)"]
        )
        // A held server destroys none, as its backup may be a wrong one: the start does.
        guard standing == .revoked, !holdGate.isHeld else { return }
        await destroyUpstreamKey(outcome.record.id)
    }

    /// A key that is never taken again is of use to a thief alone.
    func destroyUpstreamKey(_ id: String) async {
        do {
            try await keys.apart { try $0.destroyUpstream(id: id) }
        } catch {
            logger.error(
                """
                the key of a revoked upstream authority cannot be destroyed; the next start tries it \
                again, and so does who revokes it again
                """,
                metadata: ["key": "\(id)", "error": "\(error)"]
            )
        }
    }

    /// What the datastore says of all authorities, of what is above them, and of keys that the
    /// upstream has revoked.
    package func distrust(
        of authorities: [Authority],
        above upstreams: [UpstreamRecord] = [],
        refusing keys: [UpstreamRevocation] = []
    ) {
        let refused = keys.filter { !$0.isWaiting }.map(\.id)
        var new: [[UInt8]: AuthorityStanding] = [:]
        for upstream in upstreams {
            new[keyIdentifier(ofAuthority: upstream.id)] = upstream.standing
        }
        for authority in authorities {
            switch authority.state {
            case .active, .old, .prepared: continue
            case .revoked: new[keyIdentifier(ofAuthority: authority.id)] = .revoked
            case .tainted: new[keyIdentifier(ofAuthority: authority.id)] = .tainted
            }
        }
        for id in refused { new[keyIdentifier(ofAuthority: id)] = .revoked }
        distrustState.withLock { known in
            // What was committed while this was read is not taken back: a standing only rises, and
            // goes with the record alone.
            let recorded = Set(
                (authorities.map(\.id) + upstreams.map(\.id) + refused)
                    .map(keyIdentifier(ofAuthority:))
            )
            for (keyID, standing) in known where recorded.contains(keyID) {
                new[keyID] = new[keyID] == .revoked ? .revoked : standing
            }
            known = new
        }
    }

    /// Ends the connections of whoever was verified through a revoked authority or shows a revoked
    /// certificate, and of everybody but agents, who have proved the key of their node, through a
    /// tainted one.
    func disconnectDistrusted() {
        let isNeeded =
            distrustState.withLock { !$0.isEmpty } || revokedSerials.withLock { !$0.isEmpty }
        guard isNeeded else { return }
        let count = disconnect { peer in
            guard believes(peer) else { return true }
            return switch standing(of: peer) {
            case .revoked: true
            case .tainted: logic.agentName(of: peer.id) == nil
            case nil: false
            }
        }
        guard count > 0 else { return }
        logger.notice(
            "connections ended whose authority is distrusted",
            metadata: ["count": "\(count)"]
        )
    }
}
