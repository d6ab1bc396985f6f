// SPDX-License-Identifier: Apache-2.0

internal import AuditLog
internal import ControlAPI
internal import Datastore
internal import FoundationEssentials
internal import Issuance
internal import SPIFFE

/// What proposals need to know of nodes and authorities, and what ends them from there
/// (docs/decisions/0023-approvals.md).
extension ServerLogic {
    /// Whether a node with the selectors gets the identity of somebody who is an admin, or would be,
    /// or can have authorities certified, by what there is or by what waits for approval: who approves
    /// that has looked who gets it.
    func admits(
        _ selectors: Set<Selector>,
        anyOf subjects: AdminSubjects,
        in transaction: ReadTransaction
    ) throws -> Bool {
        let stored = try transaction.entries(node: selectors)
        if stored.contains(where: { $0.isDownstream || subjects.contains($0.spiffeID) }) {
            return true
        }
        return try !waiting(selectors, anyOf: subjects, in: transaction).isEmpty
    }

    /// What gives a node with the selectors such an identity, or lets it have authorities certified,
    /// once it is approved.
    func waiting(
        _ selectors: Set<Selector>,
        anyOf subjects: AdminSubjects,
        in transaction: ReadTransaction
    ) throws -> [ProposedGiver] {
        let shown = Set(selectors.map(\.description))
        return try transaction.proposedGivers().filter { giver in
            giver.nodeSelectors.allSatisfy(shown.contains)
                && (giver.isDownstream || giver.spiffeIDs.contains(where: subjects.contains))
        }
    }

    /// Requires that no authority is distrusted which a new machine would believe.
    ///
    /// Tokens that pin one were deleted when it was tainted, before this one was there.
    ///
    /// - Throws: `APIError` (`authorityChanged`).
    func requireTrusted(_ pins: [[UInt8]], in transaction: ReadTransaction) throws {
        for record in try transaction.distrustedAuthorities()
        where pins.contains(try authoritySPKISHA256(record.certificateDER)) {
            throw APIError(
                .unavailable,
                APIError.authorityChanged,
                "an authority of the token was tainted or revoked in this moment; retry"
            )
        }
    }

    /// Whether a machine that believes these authorities believes this server as it signs now, and no
    /// authority that is distrusted.
    func isCurrent(_ pins: [[UInt8]], in transaction: ReadTransaction) throws -> Bool {
        for record in try transaction.authorities() {
            let isPinned = pins.contains(try authoritySPKISHA256(record.certificateDER))
            switch try record.knownState() {
            case .active: if record.serverID == serverID, !isPinned { return false }
            case .revoked, .tainted: if isPinned { return false }
            case .old, .prepared: break
            }
        }
        return true
    }

    /// Ends what was proposed with something that is trusted no more, and what was approved with it
    /// counts no longer: a later look would not find a revocation that has ended.
    func strike(
        _ party: StruckParty,
        by actor: Actor,
        at now: Date,
        in transaction: Transaction
    ) throws {
        for proposal in try transaction.strike(party) {
            try transaction.append(dropped: proposal, .struck, by: actor, at: now)
        }
    }

    /// The same of a node that is banned or evicted; what would let it in ends too.
    func strike(
        node name: String,
        by actor: Actor,
        at now: Date,
        in transaction: Transaction
    ) throws {
        try strike(.node(name), by: actor, at: now, in: transaction)
        for proposal in try transaction.proposals()
        where ProposedAct.admitting.contains(proposal.topic.act) && proposal.topic.subject == name {
            try transaction.deleteProposal(id: proposal.id)
            try transaction.append(dropped: proposal, .stale, by: actor, at: now)
        }
    }
}
