// SPDX-License-Identifier: Apache-2.0

import AuditLog
import FoundationEssentials

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
            .serverRecovered(
                ServerRecovery(agents: 0, authorities: 1, documents: 3, keys: 0, nodes: 2)
            ),
            by: admin,
            #"""
            {"actor":"uid:0@ca-1","agents":0,"authorities":1,"documents":3,"event":"serverRecovered","keys":0,"nodes":2,"time":"2026-01-02T03:04:05.678Z","v":1}
            """#
        ),
    ]
}
