// SPDX-License-Identifier: Apache-2.0

import CAServer
import Clocks
import ControlAPI
import ControlAPIProtos
import Datastore
import FoundationEssentials
import NodeSync
import SPIFFE
import SwiftProtobuf
import Testing

extension TestServer {
    @discardableResult
    func revoke(
        _ id: String = "spiffe://example.org/web",
        forSeconds: UInt32 = 0
    ) async throws -> Signet_Admin_V1alpha1_RevokeIdentityResponse {
        try await administration.revokeIdentity(
            .with {
                $0.spiffeID = id
                $0.reason = "stolen"
                $0.forSeconds = forSeconds
            }
        )
    }
}

@Suite(.timeLimit(.minutes(1)))
struct IdentityRevocationTests {
    static let web = "spiffe://example.org/web"

    @Test func `what was issued before is refused, what is issued later is not`() async throws {
        let clock = ShiftedClock()
        try await withServer(clock: clock) { server in
            let agent = try await server.agent("web-1", selectors: ["role:web"])
            let entry = try await server.register("web")
            let request = try signingRequest(entry: entry, spiffeID: Self.web)
            func issued() async throws -> Date {
                let results = try await server.sign([request], as: agent)
                let chain = try #require(results.first?.signed.certificateChain.first)
                return try LeafCertificate(der: Array(chain)).notBefore + 60
            }
            let before = try await issued()
            let revoked = try await server.revoke()
            let moment = Date(timeIntervalSince1970: Double(revoked.issuedBeforeUnixSeconds))
            #expect(before < moment)
            #expect(moment <= server.core.clock.wallTime + 1)
            #expect(revoked.entries == ["default/web"])
            clock.stepWall(by: 2)
            #expect(try await issued() >= moment)
            let records = try await server.records("identityRevoked") { $0.spiffeID = Self.web }
            #expect(records.count == 1)
            #expect(records.first?.contains("\"reason\":\"stolen\"") == true)
            #expect(records.first?.contains("\"actor\":\"\(TestServer.actor)\"") == true)
        }
    }

    @Test func `nothing is signed before the moment, and the agent is told when to ask`()
        async throws
    {
        let clock = ShiftedClock()
        try await withServer(clock: clock) { server in
            let agent = try await server.agent("web-1", selectors: ["role:web"])
            let entry = try await server.register("web")
            let other = try await server.register("api")
            try await server.revoke(forSeconds: 600)
            let results = try await server.sign(
                [
                    try signingRequest(entry: entry, spiffeID: Self.web),
                    try signingRequest(entry: other, spiffeID: "spiffe://example.org/api"),
                ],
                as: agent
            )
            #expect(results.map(\.refusal.code) == ["identityRevoked", ""])
            #expect(results[0].refusal.retryable)
            #expect((570_000...601_000).contains(results[0].refusal.retryAfterMilliseconds))
            clock.stepWall(by: 601)
            let request = try signingRequest(entry: entry, spiffeID: Self.web)
            let later = try await server.sign([request], as: agent)
            #expect(later.map(\.refusal.code) == [""])
        }
    }

    @Test func `a batch that was approved before is not signed after the revocation`() async throws
    {
        try await withServer { server in
            let agent = try await server.agent("web-1", selectors: ["role:web"])
            let entry = try await server.register("web")
            let request = try signingRequest(entry: entry, spiffeID: Self.web)
            try await server.holdingWrites { writes in
                async let revoked = server.revoke(forSeconds: 60)
                try await writes.queued(1)
                async let signed = server.sign([request], as: agent)
                try await writes.queued(2)
                writes.release()
                _ = try await revoked
                #expect(try await signed.map(\.refusal.code) == ["identityRevoked"])
            }
            #expect(
                try await server.records("svidsIssued") { $0.spiffeID = Self.web }.isEmpty
            )
        }
    }

    @Test func `the moment lies after what a fast clock has issued, and only rises`() async throws {
        let clock = ShiftedClock()
        try await withServer(clock: clock) { server in
            let agent = try await server.agent("web-1", selectors: ["role:web"])
            let entry = try await server.register("web")
            clock.stepWall(by: 8)
            let request = try signingRequest(entry: entry, spiffeID: Self.web)
            let results = try await server.sign([request], as: agent)
            let chain = try #require(results.first?.signed.certificateChain.first)
            let issued = try LeafCertificate(der: Array(chain)).notBefore + 60
            clock.stepWall(by: -8)
            let first = try await server.revoke()
            #expect(Double(first.issuedBeforeUnixSeconds) > issued.timeIntervalSince1970)
            let long = try await server.revoke(forSeconds: 3600)
            #expect(long.issuedBeforeUnixSeconds > first.issuedBeforeUnixSeconds)
            let again = try await server.revoke()
            #expect(again.issuedBeforeUnixSeconds == long.issuedBeforeUnixSeconds)
            let listed = try await server.administration.listRevocations(.init()).revocations
            #expect(listed.map(\.spiffeID) == [Self.web])
            #expect(listed[0].endsUnixSeconds >= long.issuedBeforeUnixSeconds + 60)
            #expect(listed[0].actor == TestServer.actor)
        }
    }

    @Test func `it is forgotten when nothing is left that it refuses`() async throws {
        let clock = ShiftedClock()
        try await withServer(clock: clock) { server in
            try await server.register("web")
            try await server.revoke()
            let ends = try await server.administration.listRevocations(.init()).revocations[0]
                .endsUnixSeconds
            func left(at time: Date) async throws -> Int {
                try await server.core.endRevocations(now: time)
                return try await server.administration.listRevocations(.init()).revocations.count
            }
            #expect(try await left(at: Date(timeIntervalSince1970: Double(ends) - 1)) == 1)
            #expect(try await left(at: Date(timeIntervalSince1970: Double(ends) + 1)) == 0)
        }
    }

    @Test func `only an identity that can exist is revoked, by who may`() async throws {
        try await withServer { server in
            try await server.register("web")
            for (id, reason) in [
                ("spiffe://example.org/none", "identityUnknown"),
                ("spiffe://example.org/signet/agent/web-1", "identityNotRevocable"),
                ("spiffe://other.org/web", "identityNotRevocable"),
                ("spiffe://example.org", "identityNotRevocable"), ("web", "spiffeID"),
            ] {
                let refused = await refusal { try await server.revoke(id) }
                #expect(refused?.reason == reason, "\(id)")
            }
            let long = await refusal { try await server.revoke(forSeconds: 30 * 86_400 + 1) }
            #expect(long?.reason == "revocationTooLong")
            #expect(try await server.records("identityRevoked").isEmpty)
        }
    }

    @Test func `entries that give it by variables are named, and what one may not get is counted`()
        async throws
    {
        try await withServer { server in
            try await server.register("web")
            try await server.register(
                "any",
                spiffeID: "spiffe://example.org/w{unix.user}",
                more: "  variables:\n    unix.user: {prefix: e}"
            )
            try await server.register(
                "other",
                spiffeID: "spiffe://example.org/x{unix.user}",
                more: "  variables:\n    unix.user: {prefix: e}"
            )
            let all = try await server.revoke()
            #expect(all.entries == ["default/web"])
            #expect(all.templateEntries == ["default/any"])
            #expect(all.hiddenEntries == 0)
            #expect(!all.entriesCut)
            try await server.apply(
                """
                apiVersion: core.signet/v1alpha1
                kind: Role
                metadata: {name: revoker, namespace: signet-system}
                spec:
                  rules:
                    - verbs: [revoke]
                ---
                apiVersion: core.signet/v1alpha1
                kind: RoleBinding
                metadata: {name: revokers, namespace: signet-system}
                spec:
                  role: revoker
                  subjects: [spiffe://example.org/revoker]

                """
            )
            let revoker = try await server.workload("revoker")
            try await server.authenticated(as: try revoker.identity) { client in
                let revoked = try await Administration.Client(wrapping: client).revokeIdentity(
                    .with { $0.spiffeID = Self.web }
                )
                #expect(revoked.entries.isEmpty)
                #expect(revoked.templateEntries.isEmpty)
                #expect(revoked.hiddenEntries == 2)
            }
        }
    }

    @Test func `no more are revoked than agents hold, but one that is may be again`() async throws {
        try await withServer { server in
            try await server.register("web")
            try await server.register("api")
            let now = server.core.clock.wallTime
            try await server.core.datastore.write { transaction in
                let number = try transaction.advanceRevision().number
                for index in 1..<RevokedIdentity.countMax {
                    let id = try SPIFFEID("spiffe://example.org/other/\(index)")
                    let other = RevokedIdentity(
                        spiffeID: id,
                        name: "identity:\(index)",
                        issuedBefore: now,
                        ends: now.addingTimeInterval(3600),
                        reason: "",
                        actor: "uid:0@host",
                        revokedAt: now
                    )
                    try transaction.put(other, number: number)
                }
            }
            try await server.revoke()
            let refused = await refusal { try await server.revoke("spiffe://example.org/api") }
            #expect(refused?.reason == "tooManyRevocations")
            try await server.revoke()
            try await server.core.endRevocations(now: now.addingTimeInterval(3601))
            try await server.revoke("spiffe://example.org/api")
        }
    }

    @Test func `agents hear of it before everything else, whatever their scope`() async throws {
        try await withServer { server in
            try await server.register("web")
            let agent = try await server.agent("db-1", selectors: ["role:db"])
            try await server.withSync(as: agent, capabilities: [SyncCapability.proxy]) { sync in
                let (revision, _) = try await sync.snapshot()
                sync.acknowledge(revision)
                let revoked = try await server.revoke()
                let delta = try await sync.delta()
                #expect(delta.changes.count == 1)
                guard case .upsert(let key, let payload)? = delta.changes.first,
                    case .revocation(_, let revocation) = try ResourcePayload(key, payload)
                else {
                    Issue.record("\(delta)")
                    return
                }
                let before = Date(timeIntervalSince1970: Double(revoked.issuedBeforeUnixSeconds))
                #expect(revocation == .identity(try SPIFFEID(Self.web), issuedBefore: before))
                sync.acknowledge(delta.toRevision)
            }
            try await server.withSync(as: agent, capabilities: [SyncCapability.proxy]) { sync in
                guard case .snapshotBegin = try await sync.nextState(),
                    case .snapshotPage(0, let page) = try await sync.nextState()
                else {
                    Issue.record("no snapshot")
                    return
                }
                #expect(page.first?.key.type == .revocation)
            }
        }
    }
}
