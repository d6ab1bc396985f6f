// SPDX-License-Identifier: Apache-2.0

import AuditLog
import FoundationEssentials
import SPIFFE
import Testing

/// A record beside the leaf it must always become; docs/audit.md shows the same leaves.
struct GoldenRecord: CustomTestStringConvertible, Sendable {
    let record: AuditRecord
    let json: String

    var testDescription: String { record.event.name.rawValue }

    static let time = Date(timeIntervalSince1970: 1_767_323_045.678)
    static let all: [GoldenRecord] = nodes + authorities + server + issuance

    private init(_ event: AuditEvent, by actor: Actor, _ json: String) {
        record = AuditRecord(event: event, actor: actor, time: Self.time)
        self.json = json
    }

    // The texts are constants that are valid; a wrong one would end every test at once.
    static func id(_ path: String) -> SPIFFEID {
        guard let domain = try? TrustDomain("example.org"),
            let id = try? SPIFFEID(trustDomain: domain, path: path)
        else { preconditionFailure(path) }
        return id
    }

    static let partner: TrustDomain = {
        guard let domain = try? TrustDomain("partner.example") else { preconditionFailure() }
        return domain
    }()

    static func selectors(_ texts: String...) -> [Selector] {
        texts.compactMap { try? Selector($0) }
    }

    static let agent = id("/signet/agent/web-1")
    static let admin = Actor.localUser(uid: 0, host: "ca-1")
    static let later = AuditTime(time.addingTimeInterval(3600))
    static let serial = [UInt8](repeating: 0x3F, count: 16)
    static let sha256 = [UInt8](repeating: 0xAB, count: 32)
    static let keyID = [UInt8](repeating: 0xCD, count: 20)

    private static let nodes: [GoldenRecord] = [
        GoldenRecord(
            .nodeAttested(
                NodeAttestation(
                    agent: agent,
                    attestor: "join_token",
                    evidence: "t-7f3a",
                    selectors: selectors("agent:web-1", "role:web"),
                    publicKeySHA256: sha256
                )
            ),
            by: .spiffe(agent),
            #"""
            {"actor":"spiffe://example.org/signet/agent/web-1","agent":"spiffe://example.org/signet/agent/web-1","attestor":"join_token","event":"nodeAttested","evidence":"t-7f3a","publicKeySHA256":"abababababababababababababababababababababababababababababababab","selectors":["agent:web-1","role:web"],"time":"2026-01-02T03:04:05.678Z","v":1}
            """#
        ),
        GoldenRecord(
            .nodeAttestationRepeated(
                NodeAttestationRepetition(
                    agent: agent,
                    attestor: "join_token",
                    evidence: "t-7f3a",
                    previousSerial: serial,
                    publicKeySHA256: sha256
                )
            ),
            by: .spiffe(agent),
            #"""
            {"actor":"spiffe://example.org/signet/agent/web-1","agent":"spiffe://example.org/signet/agent/web-1","attestor":"join_token","event":"nodeAttestationRepeated","evidence":"t-7f3a","previousSerial":"3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f","publicKeySHA256":"abababababababababababababababababababababababababababababababab","time":"2026-01-02T03:04:05.678Z","v":1}
            """#
        ),
        GoldenRecord(
            .nodeBanned(NodeStanding(agent: agent, reason: "disk \"stolen\"")),
            by: admin,
            #"""
            {"actor":"uid:0@ca-1","agent":"spiffe://example.org/signet/agent/web-1","event":"nodeBanned","reason":"disk \"stolen\"","time":"2026-01-02T03:04:05.678Z","v":1}
            """#
        ),
        GoldenRecord(
            .nodeEvicted(NodeStanding(agent: agent, reason: "")),
            by: admin,
            #"""
            {"actor":"uid:0@ca-1","agent":"spiffe://example.org/signet/agent/web-1","event":"nodeEvicted","time":"2026-01-02T03:04:05.678Z","v":1}
            """#
        ),
        GoldenRecord(
            .nodeCertificatesRevoked(
                NodeCertificates(
                    agent: agent,
                    certificates: 3,
                    identities: 1,
                    left: 2,
                    reason: "stolen",
                    revision: 42
                )
            ),
            by: admin,
            #"""
            {"actor":"uid:0@ca-1","agent":"spiffe://example.org/signet/agent/web-1","certificates":3,"event":"nodeCertificatesRevoked","identities":1,"left":2,"reason":"stolen","revision":42,"time":"2026-01-02T03:04:05.678Z","v":1}
            """#
        ),
        GoldenRecord(
            .nodeReadmitted(
                NodeReadmission(
                    agent: agent,
                    expiredAt: AuditTime(time.addingTimeInterval(-86_400)),
                    previousSerial: serial,
                    publicKeySHA256: sha256
                )
            ),
            by: .spiffe(agent),
            #"""
            {"actor":"spiffe://example.org/signet/agent/web-1","agent":"spiffe://example.org/signet/agent/web-1","event":"nodeReadmitted","expiredAt":"2026-01-01T03:04:05.678Z","previousSerial":"3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f","publicKeySHA256":"abababababababababababababababababababababababababababababababab","time":"2026-01-02T03:04:05.678Z","v":1}
            """#
        ),
        GoldenRecord(
            .nodeRenewed(
                NodeRenewal(agent: agent, previousSerial: serial, publicKeySHA256: sha256)
            ),
            by: .spiffe(agent),
            #"""
            {"actor":"spiffe://example.org/signet/agent/web-1","agent":"spiffe://example.org/signet/agent/web-1","event":"nodeRenewed","previousSerial":"3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f","publicKeySHA256":"abababababababababababababababababababababababababababababababab","time":"2026-01-02T03:04:05.678Z","v":1}
            """#
        ),
        GoldenRecord(
            .nodeUnbanned(NodeStanding(agent: agent, reason: "disk found")),
            by: .person(issuer: "https://id.example.org", subject: "alice"),
            #"""
            {"actor":"person:https://id.example.org#alice","agent":"spiffe://example.org/signet/agent/web-1","event":"nodeUnbanned","reason":"disk found","time":"2026-01-02T03:04:05.678Z","v":1}
            """#
        ),
        GoldenRecord(
            .tokenCreated(
                TokenCreation(
                    agent: agent,
                    expires: later,
                    selectors: selectors("role:web"),
                    tokenID: "t-7f3a"
                )
            ),
            by: admin,
            #"""
            {"actor":"uid:0@ca-1","agent":"spiffe://example.org/signet/agent/web-1","event":"tokenCreated","expires":"2026-01-02T04:04:05.678Z","selectors":["role:web"],"time":"2026-01-02T03:04:05.678Z","tokenID":"t-7f3a","v":1}
            """#
        ),
    ]

    private static let authorities: [GoldenRecord] = [
        GoldenRecord(
            .authorityActivated(
                AuthorityActivation(authority: keyID, previous: [1, 2, 3], missing: [agent])
            ),
            by: .system("rotation"),
            #"""
            {"actor":"system:rotation","authority":"cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd","event":"authorityActivated","missing":["spiffe://example.org/signet/agent/web-1"],"missingCount":1,"previous":"010203","time":"2026-01-02T03:04:05.678Z","v":1}
            """#
        ),
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
                    tokenKey: [1, 2, 3]
                )
            ),
            by: .system("rotation"),
            #"""
            {"actor":"system:rotation","authority":"cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd","certificate":"MAMCAQU=","certificateSHA256":"abababababababababababababababababababababababababababababababab","event":"authorityPrepared","keyStorage":"encrypted","keyType":"ec-p256","notAfter":"2026-01-02T04:04:05.678Z","notBefore":"2026-01-02T03:04:05.678Z","serverID":"one","time":"2026-01-02T03:04:05.678Z","tokenKey":"AQID","tokenKeyID":"c2lnbmV0","v":1}
            """#
        ),
        GoldenRecord(
            .revocationListSigned(
                RevocationListSigning(
                    authority: keyID,
                    number: 1_767_323_045,
                    thisUpdate: AuditTime(time),
                    nextUpdate: later,
                    certificates: 2,
                    leftOut: 0,
                    listSHA256: sha256
                )
            ),
            by: .system("lists"),
            #"""
            {"actor":"system:lists","authority":"cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd","certificates":2,"event":"revocationListSigned","leftOut":0,"listSHA256":"abababababababababababababababababababababababababababababababab","nextUpdate":"2026-01-02T04:04:05.678Z","number":1767323045,"thisUpdate":"2026-01-02T03:04:05.678Z","time":"2026-01-02T03:04:05.678Z","v":1}
            """#
        ),
        GoldenRecord(
            .authorityRemoved(AuthorityStep(authority: keyID)),
            by: .system("rotation"),
            #"""
            {"actor":"system:rotation","authority":"cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd","event":"authorityRemoved","time":"2026-01-02T03:04:05.678Z","v":1}
            """#
        ),
        GoldenRecord(
            .authorityForgotten(AuthorityStep(authority: keyID)),
            by: .system("rotation"),
            #"""
            {"actor":"system:rotation","authority":"cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd","event":"authorityForgotten","time":"2026-01-02T03:04:05.678Z","v":1}
            """#
        ),
        GoldenRecord(
            .authorityRevoked(
                AuthorityDistrustAct(authority: keyID, reason: "", tokensDeleted: 0, revision: 42)
            ),
            by: admin,
            #"""
            {"actor":"uid:0@ca-1","authority":"cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd","event":"authorityRevoked","revision":42,"time":"2026-01-02T03:04:05.678Z","tokensDeleted":0,"v":1}
            """#
        ),
        GoldenRecord(
            .authorityTainted(
                AuthorityDistrustAct(
                    authority: keyID,
                    reason: "backup lost",
                    tokensDeleted: 1,
                    revision: 42
                )
            ),
            by: admin,
            #"""
            {"actor":"uid:0@ca-1","authority":"cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd","event":"authorityTainted","reason":"backup lost","revision":42,"time":"2026-01-02T03:04:05.678Z","tokensDeleted":1,"v":1}
            """#
        ),
        GoldenRecord(
            .authorityRetired(AuthorityStep(authority: keyID)),
            by: .system("rotation"),
            #"""
            {"actor":"system:rotation","authority":"cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd","event":"authorityRetired","time":"2026-01-02T03:04:05.678Z","v":1}
            """#
        ),
    ]

    private static let server: [GoldenRecord] = [
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
                    exchangesTokens: true
                )
            ),
            by: .system("server"),
            #"""
            {"actor":"system:server","epoch":"0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e","event":"serverStarted","profiles":[{"name":"workload","sha256":"abababababababababababababababababababababababababababababababab"}],"publicURL":"https://id.example.org","revision":41,"serverID":"one","time":"2026-01-02T03:04:05.678Z","tokenExchange":"on","v":1,"version":"0.1.0"}
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

    private static let issuance: [GoldenRecord] = [
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
