// SPDX-License-Identifier: Apache-2.0

import AuditLog
import FoundationEssentials
import SPIFFE

extension GoldenRecord {
    static let server: [GoldenRecord] = [
        GoldenRecord(
            .clockRefused(ClockRefusal(problem: .behind, expected: later)),
            by: .system("clock"),
            #"""
            {"actor":"system:clock","event":"clockRefused","expected":"2026-01-02T04:04:05.678Z","problem":"behind","time":"2026-01-02T03:04:05.678Z","v":1}
            """#
        ),
        GoldenRecord(
            .decisionDigest(
                DecisionDigest(
                    store: Array(repeating: 0x0E, count: 16),
                    first: 120,
                    last: 131,
                    segments: 12,
                    records: 2310,
                    lost: 40,
                    oldest: 7,
                    root: MerkleHash(sha256) ?? .emptyRoot
                )
            ),
            by: .system("decisions"),
            #"""
            {"actor":"system:decisions","event":"decisionDigest","first":120,"last":131,"lost":40,"oldest":7,"records":2310,"root":"abababababababababababababababababababababababababababababababab","segments":12,"store":"0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e","time":"2026-01-02T03:04:05.678Z","v":1}
            """#
        ),
        GoldenRecord(
            .documentsApplied(
                DocumentChanges(
                    documents: [
                        DocumentChange(
                            key: DocumentKey(
                                group: "core.signet",
                                kind: "Namespace",
                                namespace: "",
                                name: "shop"
                            ),
                            verb: .create,
                            sha256: sha256
                        ),
                        DocumentChange(
                            key: DocumentKey(
                                group: "core.signet",
                                kind: "RegistrationEntry",
                                namespace: "shop",
                                name: "web"
                            ),
                            verb: .delete,
                            sha256: nil
                        ),
                    ],
                    revision: 42
                )
            ),
            by: admin,
            #"""
            {"actor":"uid:0@ca-1","documents":[{"group":"core.signet","kind":"Namespace","name":"shop","sha256":"abababababababababababababababababababababababababababababababab","verb":"create"},{"group":"core.signet","kind":"RegistrationEntry","name":"web","namespace":"shop","verb":"delete"}],"event":"documentsApplied","revision":42,"time":"2026-01-02T03:04:05.678Z","v":1}
            """#
        ),
        GoldenRecord(
            .serverStarted(
                ServerStart(
                    epoch: [UInt8](repeating: 0x0E, count: 16),
                    revision: 41,
                    serverID: "one",
                    version: "0.1.0",
                    publicURL: "https://id.example.org",
                    profiles: [
                        ServerStart.Profile(
                            name: "workload",
                            sha256: [UInt8](repeating: 0xAB, count: 32)
                        )
                    ],
                    exchangesTokens: true,
                    approvals: 1
                )
            ),
            by: .system("server"),
            #"""
            {"actor":"system:server","approvals":1,"epoch":"0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e","event":"serverStarted","profiles":[{"name":"workload","sha256":"abababababababababababababababababababababababababababababababab"}],"publicURL":"https://id.example.org","revision":41,"serverID":"one","time":"2026-01-02T03:04:05.678Z","tokenExchange":"on","v":1,"version":"0.1.0"}
            """#
        ),
        GoldenRecord(
            .unauthenticatedSummary(
                UnauthenticatedSummary(
                    count: 17,
                    kind: "joinTokenRefused",
                    minute: AuditTime(time.addingTimeInterval(-65.678))
                )
            ),
            by: .system("attestation"),
            #"""
            {"actor":"system:attestation","count":17,"event":"unauthenticatedSummary","kind":"joinTokenRefused","minute":"2026-01-02T03:03:00.000Z","time":"2026-01-02T03:04:05.678Z","v":1}
            """#
        ),
    ]

    static let issuance: [GoldenRecord] = [
        GoldenRecord(
            .certificateRevoked(
                CertificateRevocation(
                    serial: serial,
                    spiffeID: id("/ns/shop/sa/web"),
                    node: "web-1",
                    authority: keyID,
                    reason: "copied",
                    revision: 42
                )
            ),
            by: admin,
            #"""
            {"actor":"uid:0@ca-1","authority":"cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd","event":"certificateRevoked","node":"web-1","reason":"copied","revision":42,"serial":"3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f","spiffeID":"spiffe://example.org/ns/shop/sa/web","time":"2026-01-02T03:04:05.678Z","v":1}
            """#
        ),
        GoldenRecord(
            .identityRevoked(
                IdentityRevocation(
                    spiffeID: id("/ns/shop/sa/web"),
                    issuedBefore: later,
                    reason: "stolen",
                    revision: 42
                )
            ),
            by: admin,
            #"""
            {"actor":"uid:0@ca-1","event":"identityRevoked","issuedBefore":"2026-01-02T04:04:05.678Z","reason":"stolen","revision":42,"spiffeID":"spiffe://example.org/ns/shop/sa/web","time":"2026-01-02T03:04:05.678Z","v":1}
            """#
        ),
        GoldenRecord(
            .federatedBundleChanged(
                FederatedBundleChange(
                    trustDomain: partner,
                    cause: .fetched,
                    sequenceNumber: .max,
                    content: .init(
                        documentSHA256: sha256,
                        authorities: [sha256],
                        tokenKeys: ["q6urq6urq6urq6urq6urq6urq6urq6urq6urq6urq6s"]
                    )
                )
            ),
            by: .system("federation"),
            #"""
            {"actor":"system:federation","authorities":["abababababababababababababababababababababababababababababababab"],"cause":"fetched","documentSHA256":"abababababababababababababababababababababababababababababababab","event":"federatedBundleChanged","sequence":"18446744073709551615","time":"2026-01-02T03:04:05.678Z","tokenKeys":["q6urq6urq6urq6urq6urq6urq6urq6urq6urq6urq6s"],"trustDomain":"partner.example","v":1}
            """#
        ),
        GoldenRecord(
            .federatedBundleRefused(
                FederatedBundleRefusal(
                    trustDomain: partner,
                    reason: "sequenceWentBack",
                    sequenceNumber: 41,
                    documentSHA256: sha256
                )
            ),
            by: .system("federation"),
            #"""
            {"actor":"system:federation","documentSHA256":"abababababababababababababababababababababababababababababababab","event":"federatedBundleRefused","reason":"sequenceWentBack","sequence":"41","time":"2026-01-02T03:04:05.678Z","trustDomain":"partner.example","v":1}
            """#
        ),
        GoldenRecord(
            .requestRefused(
                RequestRefusal(
                    what: "sign",
                    reason: "the entry \u{201C}web\u{201D} is not scoped to this node\n",
                    namespace: "shop",
                    spiffeID: id("/ns/shop/sa/web")
                )
            ),
            by: .spiffe(agent),
            #"""
            {"actor":"spiffe://example.org/signet/agent/web-1","event":"requestRefused","namespace":"shop","reason":"the entry “web” is not scoped to this node\n","spiffeID":"spiffe://example.org/ns/shop/sa/web","time":"2026-01-02T03:04:05.678Z","v":1,"what":"sign"}
            """#
        ),
        GoldenRecord(
            .delegatedTokenIssued(
                DelegatedTokenIssuance(
                    agent: agent,
                    authority: keyID,
                    keyID: "c2lnbmV0",
                    entry: .init(id: "e-1", namespace: "shop", revision: 42),
                    subject: id("/ns/shop/sa/web"),
                    actors: [id("/ns/shop/sa/cart"), id("/ns/shop/sa/order")],
                    audience: "ledger",
                    tokenID: "dG9rZW4",
                    notAfter: later,
                    signingInputSHA256: sha256,
                    subjectTokenID: "c3ViamVjdA",
                    subjectTokenSHA256: sha256,
                    policies: [
                        .init(namespace: "shop", name: "cart", version: 3),
                        .init(namespace: "shop", name: "order", version: 1),
                    ]
                )
            ),
            by: .spiffe(agent),
            #"""
            {"actor":"spiffe://example.org/signet/agent/web-1","actors":["spiffe://example.org/ns/shop/sa/cart","spiffe://example.org/ns/shop/sa/order"],"agent":"spiffe://example.org/signet/agent/web-1","audience":"ledger","authority":"cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd","entry":"e-1","entryRevision":42,"event":"delegatedTokenIssued","keyID":"c2lnbmV0","namespace":"shop","notAfter":"2026-01-02T04:04:05.678Z","policies":[{"policy":"shop/cart","version":3},{"policy":"shop/order","version":1}],"signingInputSHA256":"abababababababababababababababababababababababababababababababab","subject":"spiffe://example.org/ns/shop/sa/web","subjectTokenID":"c3ViamVjdA","subjectTokenSHA256":"abababababababababababababababababababababababababababababababab","time":"2026-01-02T03:04:05.678Z","tokenID":"dG9rZW4","v":1}
            """#
        ),
        GoldenRecord(
            .jwtSVIDsIssued(
                JWTSVIDIssuance(
                    agent: agent,
                    authority: keyID,
                    keyID: "c2lnbmV0",
                    tokens: [
                        IssuedJWTSVID(
                            spiffeID: id("/ns/shop/sa/web"),
                            audiences: ["api.example.org"],
                            tokenID: "dG9rZW4",
                            notAfter: later,
                            signingInputSHA256: sha256,
                            entry: .init(id: "e-1", namespace: "shop", revision: 42)
                        )
                    ]
                )
            ),
            by: .spiffe(agent),
            #"""
            {"actor":"spiffe://example.org/signet/agent/web-1","agent":"spiffe://example.org/signet/agent/web-1","authority":"cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd","event":"jwtSVIDsIssued","keyID":"c2lnbmV0","time":"2026-01-02T03:04:05.678Z","tokens":[{"audiences":["api.example.org"],"entry":"e-1","entryRevision":42,"namespace":"shop","notAfter":"2026-01-02T04:04:05.678Z","signingInputSHA256":"abababababababababababababababababababababababababababababababab","spiffeID":"spiffe://example.org/ns/shop/sa/web","tokenID":"dG9rZW4"}],"v":1}
            """#
        ),
        GoldenRecord(
            .svidsIssued(
                SVIDIssuance(
                    agent: agent,
                    authority: keyID,
                    profile: .workload,
                    svids: [
                        IssuedSVID(
                            spiffeID: id("/ns/shop/sa/web"),
                            serial: serial,
                            notAfter: later,
                            tbsSHA256: sha256,
                            entry: .init(id: "e-1", namespace: "shop", revision: 42),
                            proxy: "shop/web"
                        )
                    ]
                )
            ),
            by: .spiffe(agent),
            #"""
            {"actor":"spiffe://example.org/signet/agent/web-1","agent":"spiffe://example.org/signet/agent/web-1","authority":"cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd","event":"svidsIssued","profile":"workload","svids":[{"entry":"e-1","entryRevision":42,"namespace":"shop","notAfter":"2026-01-02T04:04:05.678Z","proxy":"shop/web","serial":"3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f","spiffeID":"spiffe://example.org/ns/shop/sa/web","tbsSHA256":"abababababababababababababababababababababababababababababababab"}],"time":"2026-01-02T03:04:05.678Z","v":1}
            """#
        ),
    ]
}
