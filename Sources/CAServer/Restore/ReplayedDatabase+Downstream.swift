// SPDX-License-Identifier: Apache-2.0

internal import AuditLog
internal import Backup
internal import Datastore
internal import FoundationEssentials
internal import Issuance
internal import SPIFFE

/// Authorities of servers below, as far as the log brings them forward
/// (docs/decisions/0020-authorities-under-another.md, "Nested").
///
/// They are in no bundle, so that who writes a copy of the log lets nobody be believed by them.
extension ReplayedDatabase {
    /// Puts one on record, as it can be revoked only then.
    func record(_ authority: ReplayedDownstream, in transaction: Transaction) throws {
        let id = Hexadecimal.text(authority.keyID)
        let known = try transaction.downstreamAuthority(id: id)
        let read = try LeafCertificate(der: authority.certificate)
        guard read.keyIdentifier.description == id, read.notBefore == authority.notBefore,
            read.notAfter == authority.notAfter
        else {
            throw DatastoreError.constraint(
                "the log has another certificate for \(id), of a server below, than it says"
            )
        }
        guard try transaction.authority(id: id) == nil, try transaction.upstream(id: id) == nil
        else {
            throw DatastoreError.constraint(
                "the log has \(id) as the authority of a server below, and it is this one's"
            )
        }
        // Nobody is believed again.
        if let known, known.isRevoked { return }
        let ancestry = try AuthorityAncestry(
            chain: authority.above.chain,
            rootID: Hexadecimal.text(authority.above.root)
        )
        for record in try logic.unrecorded(ancestry.chain, now: authority.at, in: transaction) {
            try transaction.put(record)
        }
        try transaction.put(
            DownstreamRecord(
                id: id,
                entry: DownstreamRecord.Entry(
                    id: authority.entry.id,
                    namespace: authority.entry.namespace,
                    name: authority.entryName,
                    revision: authority.entry.revision,
                    spiffeID: authority.spiffeID.description
                ),
                node: try name(of: authority.agent),
                serverID: authority.serverID,
                certificateDER: authority.certificate,
                ancestry: ancestry,
                certifiedAt: authority.at,
                notBefore: authority.notBefore,
                notAfter: max(authority.notAfter, known?.notAfter ?? .distantPast)
            )
        )
    }

    /// Refuses one from now on; also once more, after a clock that was ahead had let its record go.
    func revokeBelow(
        _ keyID: [UInt8],
        _ why: ReplayedReason,
        in transaction: Transaction
    ) throws {
        let id = Hexadecimal.text(keyID)
        let known = try transaction.downstreamAuthority(id: id) ?? downstreamForgotten[id]
        guard let known, !known.isRevoked else { return }
        try transaction.put(
            known.revoked(
                DownstreamRecord.Revocation(
                    at: why.time,
                    reason: why.reason,
                    actor: why.actor.description
                )
            )
        )
        try recordDistrust(of: keyID, isRemoval: false, in: transaction)
    }

    /// Lets the record of one go, and keeps in mind what it was.
    mutating func forgetBelow(_ id: String, in transaction: Transaction) throws {
        guard let known = try transaction.downstreamAuthority(id: id) else { return }
        downstreamForgotten[id] = known.revoked(nil)
        try transaction.deleteDownstream(id: id)
    }
}
