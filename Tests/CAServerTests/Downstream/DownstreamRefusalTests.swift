// SPDX-License-Identifier: Apache-2.0

import CAServer
import Clocks
import ControlAPI
import ControlAPIProtos
import Crypto
import Datastore
import Foundation
import Issuance
import SPIFFE
import SwiftProtobuf
import Testing

/// Who gets no authority certified: whoever did could be anybody of the trust domain (record 0020,
/// "Nested").
@Suite(.timeLimit(.minutes(2)))
struct DownstreamRefusalTests {
    @Test func `a server whose authorities are self-signed certifies none`() async throws {
        try await withServer { server in
            let agent = try await server.agent("ca-1", selectors: ["role:ca"])
            let entry = try await server.apply(Downstream.entry("ca-east")).changes[0].uid
            let refused = await refusal {
                try await server.certify(Downstream.request(), entry: entry, as: agent)
            }
            #expect(refused?.reason == "noUpstream" && refused?.kind == .failedPrecondition)
        }
    }

    @Test func `another node's agent learns nothing of the entry`() async throws {
        try await withDownstream { nested in
            let other = try await nested.server.agent("web-1", selectors: ["role:web"])
            let refused = await nested.refused(as: other)
            let unknown = await nested.refused(entry: "none")
            #expect(refused?.reason == "entryUnknown" && unknown?.reason == "entryUnknown")
            #expect(refused?.kind == .permissionDenied)
            #expect(try await nested.server.records("downstreamAuthorityCertified").isEmpty)
            // Who was refused is on record.
            let leaves = try await nested.server.records("requestRefused")
            #expect(leaves.contains { $0.contains("certify an authority for entry") })
        }
    }

    @Test func `an entry that is not downstream gets none`() async throws {
        try await withDownstream { nested in
            let entry = try await nested.server.register("plain", node: "role:ca")
            #expect(await nested.refused(entry: entry)?.reason == "entryNotDownstream")
        }
    }

    @Test func `workloads and admins get none`() async throws {
        try await withDownstream { nested in
            let workload = try await nested.server.workload("web")
            let refused = await nested.refused(as: workload)
            #expect(refused?.kind == .permissionDenied, "\(refused?.message ?? "")")
        }
    }

    @Test func `a banned node gets none, nor does one that was evicted`() async throws {
        try await withDownstream { nested in
            _ = try await nested.server.administration.banNode(.with { $0.name = "ca-1" })
            let banned = await nested.refused()
            #expect(banned?.reason == "nodeBanned", "\(banned?.message ?? "")")
            _ = try await nested.server.administration.evictNode(.with { $0.name = "ca-1" })
            let gone = await nested.refused()
            #expect(gone?.reason == "nodeUnknown", "\(gone?.message ?? "")")
        }
    }

    @Test func `an identity that is revoked for a while gets none`() async throws {
        try await withDownstream { nested in
            _ = try await nested.server.administration.revokeIdentity(
                .with { ($0.spiffeID, $0.forSeconds) = (Downstream.id, 600) }
            )
            #expect(await nested.refused()?.reason == "identityRevoked")
        }
    }

    @Test func `what is asked for has to be what servers ask for`() async throws {
        try await withDownstream { nested in
            let requests: [(String, [UInt8])] = [
                ("certificateRequest", [1, 2, 3]),
                ("requestDiffers", try Downstream.request(profile: .intermediate)),
                ("subjectDiffers", try Downstream.request(trustDomain: "other.org")),
                ("subjectDiffers", try certificateRequest(.init())),
                (
                    "serverIDTaken",
                    try Downstream.request(nested.server.core.logic.serverID)
                ),
            ]
            for (reason, csr) in requests {
                let refused = await nested.refused(csr)
                #expect(refused?.reason == reason, "\(refused?.message ?? "")")
            }
            var broken = try Downstream.request()
            broken[broken.count - 1] ^= 1
            #expect(await nested.refused(broken)?.kind == .invalidArgument)
        }
    }

    @Test func `lifetimes are those that authorities here have`() async throws {
        try await withDownstream { nested in
            #expect(await nested.refused(lifetime: 86_401)?.reason == "lifetimeTooLong")
            #expect(await nested.refused(lifetime: 59)?.reason == "lifetimeTooShort")
            #expect(await nested.refused(lifetime: -1)?.reason == "lifetimeTooShort")
            #expect(await nested.refused(lifetime: .max)?.reason == "lifetimeTooLong")
        }
    }

    @Test func `a key stays of its entry and its node`() async throws {
        try await withDownstream { nested in
            let csr = try Downstream.request()
            _ = try await nested.certify(csr)
            let second = try await nested.server.apply(
                Downstream.entry("ca-west", spiffeID: "spiffe://example.org/ca-west")
            ).changes[0].uid
            #expect(await nested.refused(csr, entry: second)?.reason == "keyOfAnother")
            let other = try await nested.server.agent("ca-2", selectors: ["role:ca"])
            #expect(await nested.refused(csr, as: other)?.reason == "keyOfAnother")
        }
    }

    @Test func `a key that is above, an authority's or a leaf's becomes none`() async throws {
        try await withDownstream { nested in
            // The agent's own.
            let agent = try MemorySigner(pkcs8DER: Array(nested.agent.key.derRepresentation))
            let refused = await nested.refused(try Downstream.request(signer: agent))
            #expect(refused?.reason == "keyOfLeaf", "\(refused?.message ?? "")")
            let active = try nested.server.core.trust.issuer.authority.id
            let path = "\(nested.fixture.directory.path)/data/keys/authority-\(active).key"
            let own = try MemorySigner(
                pkcs8DER: Array(try Data(contentsOf: URL(filePath: path)))
            )
            let taken = await nested.refused(try Downstream.request(signer: own))
            #expect(taken?.reason == "keyOfAuthority", "\(taken?.message ?? "")")
        }
    }

    @Test func `while something above is tainted, nothing is certified below it`() async throws {
        try await withDownstream { nested in
            let above = try nested.server.core.trust.issuer.authority.ancestry?.issuerID ?? ""
            let csr = try Downstream.request()
            _ = try await nested.certify(csr)
            // As the act would, were the active authority below another one.
            try await nested.server.core.write { transaction in
                guard let record = try transaction.upstream(id: above) else {
                    throw CancellationError()
                }
                try transaction.put(
                    UpstreamRecord(
                        id: record.id,
                        kind: record.kind,
                        certificateDER: record.certificateDER,
                        publishedAt: record.publishedAt,
                        notAfter: record.notAfter,
                        distrust: AuthorityDistrust(
                            taintedAt: record.publishedAt,
                            revokedAt: nil,
                            reason: "",
                            actor: "uid:0@host"
                        )
                    )
                )
            }
            nested.pass()
            // Neither the answer of before, nor another one.
            for request in [csr, try Downstream.request()] {
                let refused = await nested.refused(request)
                #expect(refused?.reason == "upstreamRefused", "\(refused?.message ?? "")")
                #expect(refused?.message.contains("distrusted") == true)
                nested.pass()
            }
        }
    }

    @Test func `an agent whose own certificate is of a tainted authority renews it first`()
        async throws
    {
        try await withDownstream { nested in
            let (old, _) = try await nested.server.rotate()
            _ = try await nested.server.taint(old)
            let refused = await nested.refused()
            #expect(refused?.reason == "authorityDistrusted", "\(refused?.message ?? "")")
            let renewed = try await nested.server.renew(nested.agent, key: nested.agent.key)
            _ = try await nested.certify(as: renewed)
        }
    }

    @Test func `a clock that is behind certifies none`() async throws {
        try await withDownstream { nested in
            _ = try await nested.certify()
            nested.clock.stepWall(by: -30)
            let refused = await nested.refused()
            #expect(refused?.reason == "clockBehind", "\(refused?.message ?? "")")
            #expect(try await nested.server.records("downstreamAuthorityCertified").count == 1)
            nested.clock.stepWall(by: 30)
        }
    }

    @Test func `there are only so many in all, and the same key takes no other place`()
        async throws
    {
        try await withDownstream { nested in
            let csr = try Downstream.request()
            _ = try await nested.certify(csr, lifetime: 600)
            let peer = try await nested.server.verified(nested.agent.chain)
            let logic = nested.server.core.logic
            let ground = DownstreamGround(
                roots: [nested.fixture.rootID],
                countMax: 1,
                now: nested.clock.wallTime + 400
            )
            for (request, expected) in [(try Downstream.request(), "downstreamFull"), (csr, nil)] {
                let order = try Downstream.order(request, entry: nested.entry)
                let refused = await refusal {
                    try await nested.server.core.read { transaction in
                        let basis = try logic.downstreamBasis(
                            of: order,
                            for: peer,
                            on: ground,
                            in: transaction
                        )
                        try logic.requireRoom(for: basis, on: ground, in: transaction)
                    }
                }
                #expect(refused?.reason == expected)
            }
        }
    }

    @Test func `who is refused again and again fills no log`() async throws {
        try await withDownstream { nested in
            for _ in 0..<6 {
                #expect(await nested.refused(entry: "none")?.reason == "entryUnknown")
            }
            let leaves = try await nested.server.records("requestRefused")
            #expect(leaves.count == 3)
        }
    }

    @Test func `a node that is banned while it is certified is given nothing`() async throws {
        try await withDownstream { nested in
            let (core, now) = (nested.server.core, nested.clock.wallTime)
            try await nested.server.holdingWrites { held in
                async let banned: Void = core.write { transaction in
                    try transaction.banNode(named: "ca-1", reason: "stolen", now: now)
                }
                try await held.queued(1)
                async let refused = nested.refused()
                // It was certified by now, and waits to be recorded.
                try await held.queued(2)
                held.release()
                try await banned
                #expect(await refused?.reason == "nodeBanned")
            }
            let records = try await core.read { try $0.downstreamAuthorities() }
            #expect(records.isEmpty)
        }
    }
}
