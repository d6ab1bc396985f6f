// SPDX-License-Identifier: Apache-2.0

import AuditLog
import SPIFFE

extension GoldenRecord {
    /// What is above authorities, and an authority below it.
    static let upstreams: [GoldenRecord] = [
        GoldenRecord(
            .authorityPrepared(
                AuthorityPreparation(
                    authority: keyID,
                    certificateSHA256: sha256,
                    notBefore: AuditTime(time),
                    notAfter: later,
                    serverID: "one",
                    key: .init(type: "ec-p256", storage: "encrypted"),
                    tokenKeyID: "c2lnbmV0",
                    certificate: [0x30, 3, 2, 1, 5],
                    tokenKey: [1, 2, 3],
                    above: .init(chain: [[0x30, 0]], issuer: [1, 2], root: [1, 3])
                )
            ),
            by: .system("rotation"),
            #"""
            {"actor":"system:rotation","authority":"cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd","certificate":"MAMCAQU=","certificateSHA256":"abababababababababababababababababababababababababababababababab","chain":["MAA="],"event":"authorityPrepared","issuer":"0102","keyStorage":"encrypted","keyType":"ec-p256","notAfter":"2026-01-02T04:04:05.678Z","notBefore":"2026-01-02T03:04:05.678Z","root":"0103","serverID":"one","time":"2026-01-02T03:04:05.678Z","tokenKey":"AQID","tokenKeyID":"c2lnbmV0","v":1}
            """#
        ),
        GoldenRecord(
            .rootPublished(
                RootPublication(
                    root: keyID,
                    certificate: [0x30, 3, 2, 1, 5],
                    notAfter: later,
                    revision: 42
                )
            ),
            by: .system("upstream"),
            #"""
            {"actor":"system:upstream","certificate":"MAMCAQU=","event":"rootPublished","notAfter":"2026-01-02T04:04:05.678Z","revision":42,"root":"cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd","time":"2026-01-02T03:04:05.678Z","v":1}
            """#
        ),
        GoldenRecord(
            .rootRemoved(RootRemoval(root: keyID, revision: 42)),
            by: .system("upstream"),
            #"""
            {"actor":"system:upstream","event":"rootRemoved","revision":42,"root":"cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd","time":"2026-01-02T03:04:05.678Z","v":1}
            """#
        ),
        GoldenRecord(
            .upstreamKeysForgotten(UpstreamKeys(keys: [keyID], revision: 43)),
            by: .system("upstream"),
            #"""
            {"actor":"system:upstream","event":"upstreamKeysForgotten","keys":["cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd"],"revision":43,"time":"2026-01-02T03:04:05.678Z","v":1}
            """#
        ),
        GoldenRecord(
            .upstreamKeysRevoked(UpstreamKeys(keys: [keyID], waiting: [[1, 2]], revision: 42)),
            by: .system("upstream"),
            #"""
            {"actor":"system:upstream","event":"upstreamKeysRevoked","keys":["cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd"],"revision":42,"time":"2026-01-02T03:04:05.678Z","v":1,"waiting":["0102"]}
            """#
        ),
        GoldenRecord(
            .upstreamRevoked(
                UpstreamDistrustAct(
                    upstream: keyID,
                    certificate: [0x30, 3, 2, 1, 5],
                    authorities: [[1, 2], [1, 3]],
                    reason: "module stolen",
                    tokensDeleted: 1,
                    revision: 42
                )
            ),
            by: admin,
            #"""
            {"actor":"uid:0@ca-1","authorities":["0102","0103"],"certificate":"MAMCAQU=","event":"upstreamRevoked","reason":"module stolen","revision":42,"time":"2026-01-02T03:04:05.678Z","tokensDeleted":1,"upstream":"cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd","v":1}
            """#
        ),
        GoldenRecord(
            .upstreamTainted(
                UpstreamDistrustAct(
                    upstream: keyID,
                    certificate: [0x30, 3, 2, 1, 5],
                    authorities: [],
                    reason: "",
                    tokensDeleted: 0,
                    revision: 42
                )
            ),
            by: admin,
            #"""
            {"actor":"uid:0@ca-1","authorities":[],"certificate":"MAMCAQU=","event":"upstreamTainted","revision":42,"time":"2026-01-02T03:04:05.678Z","tokensDeleted":0,"upstream":"cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd","v":1}
            """#
        ),
    ]
}
