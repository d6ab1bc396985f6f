// SPDX-License-Identifier: Apache-2.0

internal import AuditLog
internal import Backup
internal import Datastore
internal import FoundationEssentials
internal import Issuance
internal import SPIFFE

/// What is above authorities, as far as the log brings it forward.
///
/// No root enters the bundle by a record: who writes a copy of the log would be everybody. The
/// configuration names them, at the start (`ServerLogic.settleRoots`).
extension ReplayedDatabase {
    /// What certified an authority, with upstream authorities that are not on record yet.
    func ancestry(
        _ authority: ReplayedAuthority,
        in transaction: Transaction
    ) throws -> AuthorityAncestry? {
        guard let above = authority.above else { return nil }
        let ancestry = try AuthorityAncestry(
            chain: above.chain,
            rootID: Hexadecimal.text(above.root)
        )
        for id in ancestry.keyIDs { try requireNoAuthority(id, in: transaction) }
        let unrecorded = try logic.unrecorded(
            above.chain,
            now: authority.publishedAt,
            in: transaction
        )
        for record in unrecorded { try transaction.put(record) }
        return ancestry
    }

    /// Refuses what the key of something above signs, though nothing need be below it here: a thief has
    /// it too.
    ///
    /// Whatever its certificate says, one that the record alone knows is put down as no root: it is in
    /// no bundle, tainted ones included, until the configuration names it, and distrusted then.
    func performAbove(
        _ keyID: [UInt8],
        _ distrust: ReplayedUpstreamDistrust,
        in transaction: Transaction
    ) throws {
        let (id, why) = (Hexadecimal.text(keyID), distrust.why)
        try requireNoAuthority(id, in: transaction)
        let read = try LeafCertificate(der: distrust.certificate)
        guard read.keyIdentifier.description == id else {
            throw DatastoreError.constraint(
                "the log has a certificate of another key for \(id), which is above authorities"
            )
        }
        let known = try transaction.upstream(id: id)
        // Nothing is trusted again.
        if let known, known.isRevoked, !distrust.isRevoked { return }
        try transaction.put(
            UpstreamRecord(
                id: id,
                kind: known?.kind ?? .intermediate,
                certificateDER: known?.certificateDER ?? distrust.certificate,
                publishedAt: known?.publishedAt ?? why.time,
                notAfter: known?.notAfter ?? read.notAfter,
                distrust: AuthorityDistrust(
                    taintedAt: distrust.isRevoked ? known?.distrust?.taintedAt : why.time,
                    revokedAt: distrust.isRevoked ? why.time : nil,
                    reason: why.reason,
                    actor: why.actor.description
                )
            )
        )
        if distrust.isRevoked, known?.kind == .root { try transaction.recordBundleChange() }
        try recordDistrust(of: keyID, isRemoval: false, in: transaction)
    }

    /// Puts down a key that the upstream has revoked, whatever the backup knew of it.
    mutating func name(
        _ keyID: [UInt8],
        isWaiting: Bool,
        at time: Date,
        in transaction: Transaction
    ) throws {
        let id = Hexadecimal.text(keyID)
        // One that is revoked on a record of its own needs no other.
        guard try !isRevoked(id, in: transaction) else { return }
        let known = try transaction.upstreamRevocation(id: id)
        if known == nil,
            try transaction.upstreamRevocationCount() >= UpstreamRevocation.countMax
        {
            revocationsLeft += 1
            return
        }
        try transaction.put(
            UpstreamRevocation(
                id: id,
                namedAt: max(time, known?.namedAt ?? time),
                isWaiting: isWaiting
            )
        )
        if !isWaiting { try recordDistrust(of: keyID, isRemoval: false, in: transaction) }
    }

    private func isRevoked(_ id: String, in transaction: ReadTransaction) throws -> Bool {
        let own = try transaction.authority(id: id)?.state
        let isAboveRevoked = try transaction.upstream(id: id)?.isRevoked ?? false
        let isBelowRevoked = try transaction.downstreamAuthority(id: id)?.isRevoked ?? false
        return own == AuthorityRecord.revokedState || isAboveRevoked || isBelowRevoked
    }

    /// The server had forgotten the key, as the upstream named it no more.
    func forget(_ keyID: [UInt8], in transaction: Transaction) throws {
        let id = Hexadecimal.text(keyID)
        guard try transaction.deleteUpstreamRevocation(id: id) else { return }
        try recordDistrust(of: keyID, isRemoval: true, in: transaction)
    }

    /// Agents are told of both by their key IDs: one key is never both.
    private func requireNoAuthority(_ id: String, in transaction: Transaction) throws {
        guard try transaction.authority(id: id) == nil else {
            throw DatastoreError.constraint(
                "the log has authority \(id) above authorities, where none ever is"
            )
        }
    }
}
