// SPDX-License-Identifier: Apache-2.0

import AuditLog
import CAServer
import ControlAPI
import Datastore
import FoundationEssentials
import Issuance
import NodeSync
import SPIFFE

extension ServerLogic {
    /// What `ServerCore.signOwn` records of the server's own certificate.
    func recordOwn(
        _ certificate: PreparedCertificate,
        now: Date,
        in transaction: Transaction
    ) throws {
        if let highWater = try transaction.clockHighWater(),
            now < highWater.addingTimeInterval(-Self.clockBehindMax)
        {
            throw APIError(.unavailable, "clockBehind", "the server's clock went back")
        }
        try transaction.raiseClockHighWater(to: now)
        try transaction.record(
            [certificate],
            profile: .server,
            agent: nil,
            node: "",
            by: .system("server"),
            now: now
        )
    }
}

extension Transaction {
    /// Sabotage: a commit that does not ask whether anything has changed since it was prepared.
    func recordUnchecked(
        _ certificates: [PreparedCertificate],
        for peer: VerifiedPeer,
        on basis: SigningBasis,
        now: Date
    ) throws {
        try record(
            certificates,
            profile: .workload,
            agent: peer.id,
            node: basis.node.name,
            by: .spiffe(peer.id),
            now: now
        )
    }

    fileprivate func record(
        _ certificates: [PreparedCertificate],
        profile: SVIDIssuance.Profile,
        agent: SPIFFEID?,
        node: String,
        by actor: Actor,
        now: Date
    ) throws {
        guard let first = certificates.first else { return }
        let issuance = SVIDIssuance(
            agent: agent,
            authority: stride(from: 0, to: first.authorityID.utf8.count, by: 2).map { offset in
                let digits = first.authorityID.dropFirst(offset).prefix(2)
                return UInt8(digits, radix: 16) ?? 0
            },
            profile: profile,
            svids: certificates.map { certificate in
                IssuedSVID(
                    spiffeID: certificate.id,
                    serial: certificate.serial.bytes,
                    notAfter: AuditTime(certificate.notAfter),
                    tbsSHA256: certificate.tbsSHA256,
                    entry: certificate.entry.map {
                        IssuedSVID.Entry(id: $0.id, namespace: "default", revision: $0.revision)
                    }
                )
            }
        )
        let leaf = try append(.svidsIssued(issuance), by: actor, at: now)
        let revision = try revision().number
        try record(
            certificates.map { certificate in
                IssuanceIntent(
                    serial: certificate.serial.bytes,
                    authorityID: certificate.authorityID,
                    spiffeID: certificate.id.description,
                    entryID: certificate.entry?.id,
                    entryRevision: certificate.entry?.revision,
                    tbsSHA256: certificate.tbsSHA256,
                    notAfter: certificate.notAfter,
                    node: node,
                    revision: revision,
                    leafIndex: leaf
                )
            }
        )
    }
}
