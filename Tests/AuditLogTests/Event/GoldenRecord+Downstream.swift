// SPDX-License-Identifier: Apache-2.0

import AuditLog
import SPIFFE

extension GoldenRecord {
    /// Authorities of servers below.
    static let downstream: [GoldenRecord] = [
        GoldenRecord(
            .downstreamAuthorityCertified(
                DownstreamCertification(
                    authority: keyID,
                    certificate: [0x30, 3, 2, 1, 5],
                    above: .init(chain: [[0x30, 0]], issuer: [1, 2], root: [1, 3]),
                    agent: agent,
                    entry: .init(id: "5e0c", namespace: "infra", revision: 7),
                    entryName: "ca-east",
                    spiffeID: id("/ca-east"),
                    serverID: "east",
                    notBefore: AuditTime(time),
                    notAfter: later
                )
            ),
            by: .spiffe(agent),
            #"""
            {"actor":"spiffe://example.org/signet/agent/web-1","agent":"spiffe://example.org/signet/agent/web-1","authority":"cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd","certificate":"MAMCAQU=","chain":["MAA="],"entry":"5e0c","entryName":"ca-east","entryRevision":7,"event":"downstreamAuthorityCertified","issuer":"0102","namespace":"infra","notAfter":"2026-01-02T04:04:05.678Z","notBefore":"2026-01-02T03:04:05.678Z","root":"0103","serverID":"east","spiffeID":"spiffe://example.org/ca-east","time":"2026-01-02T03:04:05.678Z","v":1}
            """#
        ),
        GoldenRecord(
            .downstreamAuthorityRevoked(
                DownstreamRevocation(
                    authority: keyID,
                    cause: .node,
                    entry: "5e0c",
                    namespace: "infra",
                    spiffeID: id("/ca-east"),
                    reason: "stolen",
                    revision: 42
                )
            ),
            by: admin,
            #"""
            {"actor":"uid:0@ca-1","authority":"cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd","cause":"node","entry":"5e0c","event":"downstreamAuthorityRevoked","namespace":"infra","reason":"stolen","revision":42,"spiffeID":"spiffe://example.org/ca-east","time":"2026-01-02T03:04:05.678Z","v":1}
            """#
        ),
    ]
}
