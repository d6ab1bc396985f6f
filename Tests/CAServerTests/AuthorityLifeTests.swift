// SPDX-License-Identifier: Apache-2.0

import Authorization
import CAServer
import ControlAPI
import ControlAPIProtos
import Crypto
import Datastore
import Foundation
import Issuance
import NodeAttestation
import NodeSync
import SPIFFE
import SwiftProtobuf
import Testing

typealias AuthorityOutcome = Signet_Admin_V1alpha1_AuthorityActionResponse

extension TestServer {
    /// The authorities and their states, in the order of their publication.
    fileprivate func states() async throws -> [String] {
        try await administration.listAuthorities(.init()).authorities.map(\.state)
    }

    /// Has the next authority sign now.
    ///
    /// - Returns: The IDs of the one before and of the new one.
    func rotate() async throws -> (old: String, new: String) {
        let before = try await administration.listAuthorities(.init()).authorities
        let old = try #require(before.first { $0.state == "active" }).id
        let new = try await administration.prepareAuthority(.init()).authority
        #expect(new.state == "prepared")
        let active = try await administration.activateAuthority(
            .with {
                $0.id = new.id
                $0.now = true
            }
        )
        #expect(active.authority.id == new.id && active.authority.state == "active")
        return (old, new.id)
    }

    fileprivate func authorities() async throws -> [Authority] {
        try await core.read { transaction in
            try transaction.authorities().map { try Authority($0, in: transaction) }
        }
    }

    func taint(
        _ id: String,
        now: Bool = true,
        rehearse: Bool = false
    ) async throws -> AuthorityOutcome {
        try await administration.taintAuthority(
            .with {
                ($0.id, $0.reason, $0.now, $0.rehearse) = (id, "backup lost", now, rehearse)
            }
        )
    }

    func revokeAuthority(
        _ id: String,
        now: Bool = true,
        rehearse: Bool = false
    ) async throws -> AuthorityOutcome {
        try await administration.revokeAuthority(
            .with {
                ($0.id, $0.reason, $0.now, $0.rehearse) = (id, "backup lost", now, rehearse)
            }
        )
    }
}

/// Authorities whose key is trusted no more (docs/decisions/0014-life-of-an-authority.md).
@Suite(.timeLimit(.minutes(2)))
struct AuthorityLifeTests {
    private static let web = "spiffe://example.org/web"

    private func keyFiles(_ directory: TestDirectory) throws -> [String] {
        try FileManager.default.contentsOfDirectory(atPath: "\(directory.path)/data/keys")
            .filter { $0.hasPrefix("authority-") }.sorted()
    }

    @Test func `an authority is tainted, revoked and forgotten, each step in the log`() async throws
    {
        let directory = try TestDirectory()
        try await withServer(in: directory) { server in
            let (old, new) = try await server.rotate()
            #expect(try await server.states() == ["old", "active"])
            let tainted = try await server.taint(old)
            #expect(tainted.authority.state == "tainted")
            #expect(tainted.authority.distrustReason == "backup lost")
            #expect(tainted.authority.distrustedBy == TestServer.actor)
            #expect(try server.core.trust.bundle.x509Authorities.count == 2)
            // Again: nothing happens, and nothing is written.
            _ = try await server.taint(old)
            #expect(try await server.records("authorityTainted").count == 1)
            let revoked = try await server.revokeAuthority(old)
            #expect(revoked.authority.state == "revoked")
            #expect(revoked.authority.taintedAtUnixSeconds > 0)
            _ = try await server.revokeAuthority(old)
            let records = try await server.records("authorityRevoked")
            #expect(records.count == 1)
            #expect(records[0].contains("\"authority\":\"\(old)\""))
            #expect(records[0].contains("\"actor\":\"\(TestServer.actor)\""))
            try await eventually("the bundle is without it, and its key is gone") {
                try server.core.trust.bundle.x509Authorities.count == 1
                    && keyFiles(directory) == ["authority-\(new).key"]
            }
            try await server.requireIntactLog()
        }
        // A restart changes none of it.
        try await withServer(in: directory) { server in
            let states = try await server.states()
            #expect(states == ["revoked", "active"])
            #expect(try server.core.trust.bundle.x509Authorities.count == 1)
        }
    }

    @Test func `the authority that signs is neither tainted nor revoked`() async throws {
        try await withServer { server in
            let active = try await server.administration.listAuthorities(.init()).authorities[0].id
            let refusals = [
                await refusal { try await server.taint(active) },
                await refusal { try await server.revokeAuthority(active) },
                await refusal { try await server.revokeAuthority(active, rehearse: true) },
            ]
            #expect(refusals.map { $0?.reason } == Array(repeating: "authoritySigns", count: 3))
            #expect(refusals[0]?.message.contains("signet authority rotate --now") == true)
            let unknown = await refusal { try await server.taint("00") }
            #expect(unknown?.kind == .notFound)
            #expect(try await server.states() == ["active"])
        }
    }

    @Test func `an authority that has signed nothing is revoked, not tainted, and made anew`()
        async throws
    {
        try await withServer { server in
            let prepared = try await server.administration.prepareAuthority(.init()).authority
            let twice = await refusal {
                try await server.administration.prepareAuthority(.init())
            }
            #expect(twice?.reason == "authorityPrepared")
            let same = try await server.administration.prepareAuthority(
                .with { $0.unlessPrepared = true }
            )
            #expect(same.authority.id == prepared.id)
            #expect(
                await refusal { try await server.taint(prepared.id) }?.reason == "authorityState"
            )
            _ = try await server.revokeAuthority(prepared.id, now: false)
            try await eventually("another one can be prepared") {
                await refusal { try await server.administration.prepareAuthority(.init()) } == nil
            }
            let reused = await refusal {
                try await server.administration.activateAuthority(
                    .with { ($0.id, $0.now) = (prepared.id, true) }
                )
            }
            #expect(reused?.reason == "authorityState")
        }
    }

    @Test func `who holds an SVID that was not replaced keeps it from being revoked`() async throws
    {
        try await withServer { server in
            let agent = try await server.agent("web-1", selectors: ["role:web"])
            let entry = try await server.register("web")
            let request = try signingRequest(entry: entry, spiffeID: Self.web)
            _ = try await server.sign([request], as: agent)
            let (old, _) = try await server.rotate()
            let outlook = try await server.revokeAuthority(old, now: false, rehearse: true)
            #expect(outlook.rehearsed && outlook.authority.state == "old")
            // The workload's, the agent's own and the server's.
            #expect(outlook.validSvids == 3 && outlook.notReplacedSvids == 3)
            #expect(outlook.notReplacedIds.contains(Self.web))
            #expect(outlook.waitingAgents == ["web-1"])
            #expect(outlook.objections.count == 2)
            let refused = await refusal { try await server.revokeAuthority(old, now: false) }
            #expect(refused?.reason == "authorityInUse")
            #expect(refused?.message.contains("--now") == true)
            #expect(try await server.states() == ["old", "active"])
            #expect(outlook.objections[0].contains("signet authority taint has them replaced"))
            // What is replaced counts no more.
            _ = try await server.taint(old)
            let waits = try await server.revokeAuthority(old, now: false, rehearse: true)
            #expect(waits.objections[0].contains("it is tainted"), "\(waits.objections)")
            _ = try await server.sign([request], as: agent)
            _ = try await server.renew(agent, key: agent.key)
            try await eventually("nothing is left but what the server replaces itself") {
                let shown = try await server.administration.listAuthorities(.init()).authorities
                return shown.first { $0.id == old }?.notReplacedSvids == 0
            }
            let left = try await server.revokeAuthority(old, now: false, rehearse: true)
            #expect(left.validSvids == 3 && left.notReplacedSvids == 0)
        }
    }

    @Test func `what was committed while trust was read is not taken back`() async throws {
        try await withServer { server in
            let (old, _) = try await server.rotate()
            let keyID = try #require(Hexadecimal.bytes(old))
            let stale = try await server.authorities()
            _ = try await server.taint(old)
            server.core.distrust(of: stale)
            #expect(server.core.standing(ofAuthority: keyID) == .tainted)
            let tainted = try await server.authorities()
            _ = try await server.revokeAuthority(old)
            server.core.distrust(of: tainted)
            #expect(server.core.standing(ofAuthority: keyID) == .revoked)
            // It goes with its record alone.
            server.core.distrust(of: stale.filter { $0.id != old })
            #expect(server.core.standing(ofAuthority: keyID) == nil)
        }
    }

    @Test func `while the clock is doubted nothing is replaced, so that it has to be asked for`()
        async throws
    {
        let clock = ShiftedClock()
        try await withServer(clock: clock) { server in
            let (old, _) = try await server.rotate()
            clock.stepWall(by: 365 * 86_400)
            let outlook = try await server.taint(old, now: false, rehearse: true)
            #expect(outlook.objections.contains { $0.contains("clock is not believed") })
            for verb in ["taint", "revoke"] {
                let refused = await refusal {
                    verb == "taint"
                        ? try await server.taint(old, now: false)
                        : try await server.revokeAuthority(old, now: false)
                }
                #expect(refused?.reason == "authorityInUse")
                #expect(refused?.message.contains("clock is not believed") == true)
            }
            #expect(try await server.states() == ["old", "active"])
            _ = try await server.taint(old)
            _ = try await server.revokeAuthority(old)
            #expect(try await server.states().first == "revoked")
        }
    }

    @Test func `a peer by a revoked authority is not believed, and its key brings it back`()
        async throws
    {
        try await withServer { server in
            let agent = try await server.agent("web-1", selectors: ["role:web"])
            let entry = try await server.register("web")
            let request = try signingRequest(entry: entry, spiffeID: Self.web)
            let (old, _) = try await server.rotate()
            _ = try await server.taint(old)
            // A tainted one's agents go on.
            #expect(try await server.sign([request], as: agent).map(\.refusal.code) == [""])
            try await server.withSync(as: agent) { sync in
                sync.acknowledge(try await sync.snapshot().revision)
                _ = try await server.revokeAuthority(old)
                // It is told, and its connection ends.
                let ended = await refusal { while true { _ = try await sync.delta() } }
                #expect(ended != nil)
            }
            #expect(await refusal { try await server.sign([request], as: agent) } != nil)
            let again = try await server.readmit("web-1", key: agent.key)
            #expect(try await server.sign([request], as: again).map(\.refusal.code) == [""])
            _ = try await server.verified(again.chain)
        }
    }

    @Test func `agents are told which authority is tainted, and which is revoked`() async throws {
        try await withServer { server in
            let agent = try await server.agent("web-1")
            let (old, _) = try await server.rotate()
            let fresh = try await server.renew(agent, key: agent.key)
            try await server.withSync(as: fresh) { sync in
                sync.acknowledge(try await sync.snapshot().revision)
                func told() async throws -> [ResourcePayload] {
                    let delta = try await sync.delta()
                    sync.acknowledge(delta.toRevision)
                    return try delta.changes.compactMap { change in
                        guard case .upsert(let key, let payload) = change else { return nil }
                        return try ResourcePayload(key, payload)
                    }
                }
                _ = try await server.taint(old)
                let keyID = try #require(try agent.leaf.authorityKeyID)
                let name = "authority:\(old)"
                #expect(
                    try await told() == [.revocation(name: name, .taintedAuthority(keyID: keyID))]
                )
                _ = try await server.revokeAuthority(old)
                let changes = try await told()
                #expect(changes.contains(.revocation(name: name, .authority(keyID: keyID))))
                let bundles = changes.compactMap { payload in
                    if case .bundle(let bundle) = payload {
                        bundle.x509Authorities.count
                    } else {
                        nil
                    }
                }
                #expect(bundles == [1])
            }
            // Who comes later learns it too.
            try await server.withSync(as: fresh) { sync in
                let resources = try await sync.snapshot().resources.values
                let isTold = resources.contains { payload in
                    if case .revocation(_, .authority) = payload { true } else { false }
                }
                #expect(isTold)
            }
        }
    }

    @Test func `unused join tokens pin it no more, and new ones do not`() async throws {
        try await withServer { server in
            let token = try await server.token("web-1")
            let (old, _) = try await server.rotate()
            _ = try await server.taint(old)
            let late = await refusal { try await server.attest("web-1", secret: token.secret) }
            #expect(late?.reason == "joinTokenRefused")
            #expect(try await server.records("authorityTainted")[0].contains("\"tokensDeleted\":1"))
            #expect(try await server.token("web-2").authorityPins.count == 1)
        }
    }

    @Test func `an admin by a tainted authority is refused on the network, an agent is not`()
        async throws
    {
        let ops = try SPIFFEID("spiffe://example.org/ops")
        try await withServer({ $0.admins.append(.spiffe(ops)) }) { server in
            let admin = try await server.workload("ops")
            func list(_ caller: TestAgent) async -> APIError? {
                await refusal {
                    try await server.authenticated(as: try caller.identity) { client in
                        try await Administration.Client(wrapping: client).listNodes(.init())
                    }
                }
            }
            #expect(await list(admin) == nil)
            let (old, _) = try await server.rotate()
            _ = try await server.taint(old)
            #expect(await list(admin)?.reason == "authorityDistrusted")
            #expect(await list(try await server.workload("other"))?.kind == .permissionDenied)
        }
    }

    @Test func `each act has a verb of its own, and a rehearsal needs it too`() async throws {
        let ops = try SPIFFEID("spiffe://example.org/ops")
        try await withServer { server in
            let (old, _) = try await server.rotate()
            let next = try await server.administration.prepareAuthority(.init()).authority.id
            try await server.apply(
                """
                apiVersion: core.signet/v1alpha1
                kind: Role
                metadata: {name: tainter, namespace: signet-system}
                spec: {rules: [{verbs: [authority.taint]}]}
                ---
                apiVersion: core.signet/v1alpha1
                kind: RoleBinding
                metadata: {name: tainters, namespace: signet-system}
                spec: {role: tainter, subjects: [\(ops)]}
                """
            )
            let caller = try await server.workload("ops")
            try await server.authenticated(as: try caller.identity) { client in
                let service = Administration.Client(wrapping: client)
                let denied: [@Sendable () async throws -> Void] = [
                    { _ = try await service.prepareAuthority(.with { $0.rehearse = true }) },
                    { _ = try await service.prepareAuthority(.with { $0.unlessPrepared = true }) },
                    { _ = try await service.activateAuthority(.with { $0.id = next }) },
                    { _ = try await service.revokeAuthority(.with { $0.id = old }) },
                    {
                        _ = try await service.revokeAuthority(
                            .with { ($0.id, $0.rehearse) = (old, true) }
                        )
                    },
                ]
                for call in denied {
                    #expect(await refusal(call)?.kind == .permissionDenied)
                }
                _ = try await service.taintAuthority(.with { ($0.id, $0.now) = (old, true) })
            }
            #expect(try await server.states() == ["tainted", "active", "prepared"])
            let records = try await server.records("authorityTainted")
            #expect(records[0].contains("\"actor\":\"\(ops)\""))
        }
    }

    @Test func `a rehearsal changes nothing and says whom it would hurt`() async throws {
        try await withServer { server in
            _ = try await server.agent("web-1")
            let (old, _) = try await server.rotate()
            let before = try await server.core.read { try $0.revision() }
            let outlook = try await server.taint(old, rehearse: true)
            #expect(outlook.rehearsed && outlook.waitingAgents == ["web-1"])
            let plan = try await server.administration.prepareAuthority(
                .with { $0.rehearse = true }
            )
            #expect(plan.rehearsed && plan.authority.state == "active")
            #expect(plan.waitingAgentCount == 1 && plan.objections.isEmpty)
            #expect(try await server.core.read { try $0.revision() } == before)
            #expect(try await server.states() == ["old", "active"])
        }
    }
}
