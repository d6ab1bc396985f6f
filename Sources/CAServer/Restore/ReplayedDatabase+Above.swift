// SPDX-License-Identifier: Apache-2.0

internal import AuditLog
internal import Backup
internal import Datastore
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
        for der in above.chain {
            let read = try LeafCertificate(der: der)
            let id = read.keyIdentifier.description
            let known = try transaction.upstream(id: id)
            if let known, known.notAfter >= read.notAfter { continue }
            try transaction.put(
                UpstreamRecord(
                    id: id,
                    kind: known?.kind ?? .intermediate,
                    certificateDER: der,
                    publishedAt: known?.publishedAt ?? authority.publishedAt,
                    notAfter: read.notAfter,
                    distrust: known?.distrust
                )
            )
        }
        return ancestry
    }

    /// One that is not on record has nothing below it here, and is no root that the configuration
    /// could publish.
    func performAbove(
        _ keyID: [UInt8],
        _ distrust: ReplayedUpstreamDistrust,
        in transaction: Transaction
    ) throws {
        let id = Hexadecimal.text(keyID)
        let found = distrust.root.map { root in
            UpstreamRecord(
                id: id,
                kind: .root,
                certificateDER: root.certificate,
                publishedAt: root.publishedAt,
                notAfter: root.notAfter
            )
        }
        guard let known = try transaction.upstream(id: id) ?? found else { return }
        let why = distrust.why
        try transaction.put(
            UpstreamRecord(
                id: id,
                kind: known.kind,
                certificateDER: known.certificateDER,
                publishedAt: known.publishedAt,
                notAfter: known.notAfter,
                distrust: AuthorityDistrust(
                    taintedAt: distrust.isRevoked ? known.distrust?.taintedAt : why.time,
                    revokedAt: distrust.isRevoked ? why.time : nil,
                    reason: why.reason,
                    actor: why.actor.description
                )
            )
        )
        if distrust.isRevoked, known.kind == .root { try transaction.recordBundleChange() }
        try recordDistrust(of: keyID, isRemoval: false, in: transaction)
    }
}
