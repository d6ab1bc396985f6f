// SPDX-License-Identifier: Apache-2.0

import AuditLog
import FoundationEssentials
import SPIFFE

extension GoldenRecord {
    /// What is done so that a server is not lost, and when it was.
    static let restoration: [GoldenRecord] = [
        GoldenRecord(
            .backupMade(
                BackupMaking(id: serial, bytes: 1_048_621, sha256: sha256, revision: 42)
            ),
            by: admin,
            #"""
            {"actor":"uid:0@ca-1","backupID":"3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f","bytes":1048621,"event":"backupMade","revision":42,"sha256":"abababababababababababababababababababababababababababababababab","time":"2026-01-02T03:04:05.678Z","v":1}
            """#
        ),
        GoldenRecord(
            .clockAccepted(
                ClockAcceptance(
                    lastSignature: later,
                    expected: nil,
                    authorities: 1,
                    revocations: 2,
                    left: 0
                )
            ),
            by: admin,
            #"""
            {"actor":"uid:0@ca-1","authorities":1,"event":"clockAccepted","lastSignature":"2026-01-02T04:04:05.678Z","left":0,"revocations":2,"time":"2026-01-02T03:04:05.678Z","v":1}
            """#
        ),
        GoldenRecord(
            .rollbackProved(
                SetBackProof(
                    agent: agent,
                    seenSize: 4711,
                    seenRoot: MerkleHash([UInt8](repeating: 0xAB, count: 32)) ?? .emptyRoot,
                    size: 4000
                )
            ),
            by: .spiffe(agent),
            #"""
            {"actor":"spiffe://example.org/signet/agent/web-1","agent":"spiffe://example.org/signet/agent/web-1","event":"rollbackProved","seenRoot":"abababababababababababababababababababababababababababababababab","seenSize":4711,"size":4000,"time":"2026-01-02T03:04:05.678Z","v":1}
            """#
        ),
        GoldenRecord(
            .serverRecovered(
                ServerRecovery(
                    agents: 0,
                    authorities: 1,
                    documents: 3,
                    keys: 0,
                    nodes: 2,
                    tokenKeys: 1
                )
            ),
            by: admin,
            #"""
            {"actor":"uid:0@ca-1","agents":0,"authorities":1,"documents":3,"event":"serverRecovered","keys":0,"nodes":2,"time":"2026-01-02T03:04:05.678Z","tokenKeys":1,"v":1}
            """#
        ),
        GoldenRecord(
            .serverRestored(
                ServerRestoration(
                    backup: .init(id: serial, time: AuditTime(time)),
                    formerEpoch: [UInt8](repeating: 1, count: 16),
                    epoch: [UInt8](repeating: 2, count: 16),
                    former: Checkpoint(
                        origin: "example.org/audit/7f3a91c0",
                        size: 4711,
                        root: MerkleHash([UInt8](repeating: 0xAB, count: 32)) ?? .emptyRoot
                    ),
                    lastRecordAt: AuditTime(time),
                    records: 12,
                    authority: keyID
                )
            ),
            by: admin,
            #"""
            {"actor":"uid:0@ca-1","authority":"cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd","backupID":"3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f","backupTime":"2026-01-02T03:04:05.678Z","epoch":"02020202020202020202020202020202","event":"serverRestored","formerEpoch":"01010101010101010101010101010101","formerLog":"example.org/audit/7f3a91c0","formerRoot":"abababababababababababababababababababababababababababababababab","formerSize":4711,"lastRecordTime":"2026-01-02T03:04:05.678Z","records":12,"time":"2026-01-02T03:04:05.678Z","v":1}
            """#
        ),
    ]
}
