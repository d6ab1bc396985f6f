// SPDX-License-Identifier: Apache-2.0

import AuditLog
import SPIFFE

extension GoldenRecord {
    private static let proposal: [UInt8] = [0x0A, 0x1B, 0x2C, 0x3D, 0x4E, 0x5F, 0x60, 0x71]

    static let approvals: [GoldenRecord] = [
        GoldenRecord(
            .changeApproved(
                ChangeApproval(
                    proposal: proposal,
                    contentSHA256: sha256,
                    approved: 1,
                    needed: 1,
                    isCarriedOut: true,
                    struck: ["spiffe://example.org/people/bob"]
                )
            ),
            by: admin,
            #"""
            {"actor":"uid:0@ca-1","approved":1,"carriedOut":1,"contentSHA256":"abababababababababababababababababababababababababababababababab","event":"changeApproved","needed":1,"proposal":"0a1b2c3d4e5f6071","struck":["spiffe://example.org/people/bob"],"time":"2026-01-02T03:04:05.678Z","v":1}
            """#
        ),
        GoldenRecord(
            .changeDropped(ChangeDrop(proposal: proposal, cause: .expired)),
            by: .system("server"),
            #"""
            {"actor":"system:server","cause":"expired","event":"changeDropped","proposal":"0a1b2c3d4e5f6071","time":"2026-01-02T03:04:05.678Z","v":1}
            """#
        ),
        GoldenRecord(
            .changeProposed(
                ChangeProposal(
                    proposal: proposal,
                    contentSHA256: sha256,
                    act: "documents",
                    endsAt: later,
                    documents: [
                        DocumentChange(
                            key: DocumentKey(
                                group: "core.signet",
                                kind: "Role",
                                namespace: "signet-system",
                                name: "joiner"
                            ),
                            verb: .create,
                            sha256: sha256
                        )
                    ]
                )
            ),
            by: .spiffe(id("/people/alice")),
            #"""
            {"act":"documents","actor":"spiffe://example.org/people/alice","contentSHA256":"abababababababababababababababababababababababababababababababab","documents":[{"group":"core.signet","kind":"Role","name":"joiner","namespace":"signet-system","sha256":"abababababababababababababababababababababababababababababababab","verb":"create"}],"endsAt":"2026-01-02T04:04:05.678Z","event":"changeProposed","proposal":"0a1b2c3d4e5f6071","time":"2026-01-02T03:04:05.678Z","v":1}
            """#
        ),
    ]
}
