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
    static let all: [GoldenRecord] =
        nodes + authorities + server + restoration + issuance + approvals + upstreams + downstream

    init(_ event: AuditEvent, by actor: Actor, _ json: String) {
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
        GoldenRecord(
            .tokensDeleted(TokenDeletion(agent: agent, tokensDeleted: 2)),
            by: admin,
            #"""
            {"actor":"uid:0@ca-1","agent":"spiffe://example.org/signet/agent/web-1","event":"tokensDeleted","time":"2026-01-02T03:04:05.678Z","tokensDeleted":2,"v":1}
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
}
