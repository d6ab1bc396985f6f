// SPDX-License-Identifier: Apache-2.0

import CAServer
import ControlAPI
import ControlAPIProtos
import Datastore
import Foundation
import Issuance
import NodeSync
import SPIFFE
import TestBridge
import TestPKI
import Testing

/// What an upstream says is revoked (record 0020, "Service and agent: one protocol").
@Suite(.timeLimit(.minutes(2)))
struct UpstreamRevocationTests {
    private static let web = "spiffe://example.org/web"
    private static let strange = Array(repeating: UInt8(7), count: 20)

    private func bytes(_ id: String) throws -> [UInt8] { try #require(Hexadecimal.bytes(id)) }

    /// Whether agents are told that a key is revoked.
    private func isTold(_ keyID: [UInt8], _ server: TestServer) async throws -> Bool {
        let messages = try await server.core.read { try SyncContent.snapshot(node: [], in: $0) }
        let name = AuthorityRecord.revocationName(of: Hexadecimal.text(keyID))
        return messages.contains { message in
            guard case .snapshotPage(_, let resources) = message else { return false }
            return resources.contains { $0.key == ResourceKey(.revocation, name) }
        }
    }

    private func keys(_ server: TestServer) async throws -> [UpstreamRevocation] {
        try await server.core.read { try $0.upstreamRevocations() }
    }

    private func active(_ server: TestServer) throws -> Authority {
        try server.core.trust.issuer.authority
    }

    /// Waits until another authority than this one signs.
    private func successor(
        of id: String,
        _ server: TestServer,
        _ world: BridgedServer
    ) async throws -> Authority {
        try await world.eventuallyRetried("another authority signs") {
            try active(server).id != id
        }
        return try active(server)
    }

    @Test func `a key that nothing here has is refused by everybody, after a restart too`()
        async throws
    {
        let world = try BridgedServer()
        let strange = Self.strange
        try await world.bridging {
            try await world.serving { server in
                world.bridge.tell(revoked: [strange])
                try await eventually("it is refused") {
                    server.core.standing(ofAuthority: strange) == .revoked
                }
                #expect(try await isTold(strange, server))
                let records = try await server.records("upstreamKeysRevoked")
                #expect(records.count == 1)
                #expect(records.first?.contains(Hexadecimal.text(strange)) == true)
                #expect(records.first?.contains("\"actor\":\"system:upstream\"") == true)
                // Named again and again, it is put down once; named no more, it stays.
                world.bridge.tell(revoked: [])
                let taken = server.trusts("taken")
                try await eventually("it was heard") { server.trusts("taken") >= taken }
                #expect(try await keys(server).map(\.id) == [Hexadecimal.text(strange)])
            }
        }
        // The upstream is away.
        try await world.serving { server in
            #expect(server.core.standing(ofAuthority: strange) == .revoked)
            #expect(try await isTold(strange, server))
            #expect(try await server.records("upstreamKeysRevoked").count == 1)
            try await server.requireIntactLog()
        }
    }

    @Test func `an old authority is revoked as by an admin, without approval`() async throws {
        let world = try BridgedServer()
        try await world.bridging {
            try await world.serving({ $0.approvals = 1 }) { server in
                let old = try active(server).id
                let prepared = try await server.administration.prepareAuthority(.init())
                world.clock.pass(.seconds(31))
                let new = try await successor(of: old, server, world)
                #expect(new.id == prepared.authority.id)
                world.bridge.tell(revoked: [try bytes(old)])
                try await eventually("it is revoked") {
                    server.core.standing(ofAuthority: try bytes(old)) == .revoked
                }
                #expect(try await server.state(of: old) == "revoked")
                let records = try await server.records("authorityRevoked")
                #expect(records.count == 1 && records[0].contains(old))
                #expect(records.first?.contains("\"actor\":\"system:upstream\"") == true)
                #expect(try await server.records("changeProposed").isEmpty)
                // It is on a record of its own.
                #expect(try await keys(server).isEmpty)
                #expect(try active(server).id == new.id)
                try await server.requireIntactLog()
            }
        }
    }

    @Test func `what is above the one that signs waits for another, which is made at once`()
        async throws
    {
        let world = try BridgedServer()
        let bridge = world.bridge
        let first = try keyID(of: bridge.authority)
        try await world.bridging {
            try await world.serving { server in
                let old = try active(server).id
                let agent = try await server.agent("web-1", selectors: ["role:web"])
                let entry = try await server.register("web")
                // What it goes on to certify below the same key is refused.
                bridge.tell(revoked: [first.bytes])
                try await eventually("it waits") {
                    server.upstreamProblem?.contains("the upstream revoked \(first)") == true
                }
                try await world.eventuallyRetried("nothing is made below it") {
                    server.upstreamProblem?.contains("distrusted") == true
                }
                #expect(try active(server).id == old)
                #expect(server.core.standing(ofAuthority: first.bytes) == nil)
                #expect(try await !isTold(first.bytes, server))
                #expect(try await keys(server).map(\.isWaiting) == [true])
                let request = try signingRequest(entry: entry, spiffeID: Self.web)
                let signed = try await server.sign([request], as: agent)
                #expect(signed.map(\.signed.certificateChain.count) == [3])

                bridge.sign(with: try bridge.root.intermediate())
                try await world.eventuallyRetried("another is prepared") {
                    let known = try await server.administration.listAuthorities(.init())
                    return known.authorities.contains { $0.state == "prepared" }
                }
                let new = try await successor(of: old, server, world)
                #expect(new.ancestry?.issuerID != first.description)
                try await eventually("it is revoked") {
                    server.core.standing(ofAuthority: first.bytes) == .revoked
                }
                #expect(try await isTold(first.bytes, server))
                #expect(try await server.state(of: old) == "revoked")
                #expect(try await server.state(of: first.description) == "revoked")
                let records = try await server.records("upstreamRevoked")
                #expect(records.count == 1)
                #expect(records.first?.contains("\"authorities\":[\"\(old)\"]") == true)
                #expect(records.first?.contains("\"certificate\":\"") == true)
                #expect(try await keys(server).isEmpty)
                #expect(try server.core.trust.bundle.x509Authorities == [bridge.root.der])
                try await server.requireIntactLog()
            }
        }
    }

    @Test
    func `an agent that applies nothing puts off no revocation, and no token pins what waits`()
        async throws
    {
        let world = try BridgedServer()
        try await world.bridging {
            try await world.serving { server in
                let old = try active(server).id
                let agent = try await server.agent("web-1", selectors: ["role:web"])
                // Its stream was open, so it is waited for by what is not urgent.
                try await server.withSync(as: agent) { sync in
                    sync.acknowledge(try await sync.snapshot().revision)
                }
                world.bridge.tell(revoked: [try bytes(old)])
                try await eventually("another is prepared") {
                    let known = try await server.administration.listAuthorities(.init())
                    return known.authorities.contains { $0.state == "prepared" }
                }
                let refused = await refusal { try await server.token("web-2") }
                #expect(refused?.reason == "revocationWaits", "\(refused?.message ?? "")")
                #expect(try active(server).id == old)
                world.clock.pass(AuthorityRotation.publicationHold)
                world.clock.pass(.seconds(1))
                try await eventually("another authority signs") { try active(server).id != old }
                let activated = try await server.records("authorityActivated")
                // The newest first.
                #expect(activated.first?.contains("/signet/agent/web-1") == true, "\(activated)")
                try await eventually("it is revoked") {
                    server.core.standing(ofAuthority: try bytes(old)) == .revoked
                }
                _ = try await server.token("web-2")
                try await server.requireIntactLog()
            }
        }
    }

    @Test func `the authority that signs is revoked once another one does`() async throws {
        let world = try BridgedServer()
        try await world.bridging {
            try await world.serving { server in
                let old = try active(server).id
                _ = try await server.token("unused")
                world.bridge.tell(revoked: [try bytes(old)])
                _ = try await successor(of: old, server, world)
                try await eventually("it is revoked") {
                    server.core.standing(ofAuthority: try bytes(old)) == .revoked
                }
                #expect(try await server.state(of: old) == "revoked")
                // It pinned the authority.
                let records = try await server.records("authorityRevoked")
                #expect(records.first?.contains("\"tokensDeleted\":1") == true)
                try await world.eventuallyRetried("health is well") {
                    server.upstreamProblem == nil
                }
            }
        }
    }

    @Test func `a root that is revoked leaves once another authority signs`() async throws {
        let world = try BridgedServer()
        let bridge = world.bridge
        let (root, next) = (bridge.root, try TestAuthority.root("example.org", now: Date()))
        let rootID = try keyID(of: root)
        try await world.bridging {
            try await world.serving { server in
                let old = try active(server).id
                bridge.sign(with: try next.intermediate())
                bridge.tell([root.der, next.der], revoked: [rootID.bytes])
                _ = try await successor(of: old, server, world)
                try await eventually("the root has left") {
                    try server.core.trust.bundle.x509Authorities == [next.der]
                }
                #expect(try await server.state(of: rootID.description) == "revoked")
                // Named once more as a root, it does not come back.
                let taken = server.trusts("taken")
                bridge.tell([root.der, next.der], revoked: [])
                try await eventually("it was heard") { server.trusts("taken") > taken }
                #expect(try server.core.trust.bundle.x509Authorities == [next.der])
            }
        }
    }

    @Test func `a root that nobody knew is not published with its revocation`() async throws {
        let world = try BridgedServer()
        let bridge = world.bridge
        let next = try TestAuthority.root("example.org", now: Date())
        let nextID = try keyID(of: next)
        try await world.bridging {
            try await world.serving { server in
                bridge.tell([bridge.root.der, next.der], revoked: [nextID.bytes])
                try await eventually("it is refused") {
                    server.core.standing(ofAuthority: nextID.bytes) == .revoked
                }
                let taken = server.trusts("taken")
                bridge.tell([bridge.root.der, next.der], revoked: [])
                try await eventually("it was heard") { server.trusts("taken") > taken }
                #expect(try server.core.trust.bundle.x509Authorities == [bridge.root.der])
                #expect(try await server.records("rootPublished").count == 1)
            }
        }
    }

    @Test func `an authority that is prepared below it is not the next one`() async throws {
        let world = try BridgedServer()
        let bridge = world.bridge
        let first = try keyID(of: bridge.authority)
        try await world.bridging {
            try await world.serving { server in
                let old = try active(server).id
                let prepared = try await server.administration.prepareAuthority(.init()).authority
                bridge.sign(with: try bridge.root.intermediate())
                bridge.tell(revoked: [first.bytes])
                let new = try await successor(of: old, server, world)
                #expect(new.id != prepared.id)
                #expect(try await server.state(of: prepared.id) == "revoked")
                try await eventually("what waited is revoked") {
                    server.core.standing(ofAuthority: first.bytes) == .revoked
                }
                let activated = try await server.records("authorityActivated")
                #expect(!activated.contains { $0.contains(prepared.id) })
            }
        }
    }

    @Test func `what waits is not forgotten by a restart, nor by an upstream that is silent`()
        async throws
    {
        let world = try BridgedServer()
        let bridge = world.bridge
        let first = try keyID(of: bridge.authority)
        let old = try await world.bridging {
            try await world.serving { server in
                bridge.tell(revoked: [first.bytes])
                try await eventually("it waits") {
                    let known = try await keys(server)
                    return known.map(\.isWaiting) == [true]
                }
                #expect(try await server.records("upstreamKeysRevoked").count == 1)
                return try active(server).id
            }
        }
        bridge.tell(revoked: [])
        bridge.sign(with: try bridge.root.intermediate())
        try await world.bridging {
            try await world.serving { server in
                _ = try await successor(of: old, server, world)
                try await eventually("it is revoked") {
                    server.core.standing(ofAuthority: first.bytes) == .revoked
                }
                #expect(try await server.state(of: old) == "revoked")
                try await server.requireIntactLog()
            }
        }
    }

    @Test func `keys that wait for a certificate and are revoked become no authority`() async throws
    {
        let world = try BridgedServer()
        let bridge = world.bridge
        try await world.bridging {
            try await world.serving { server in
                let before = bridge.certified
                bridge.fail(.leavesOutAuthority)
                _ = await refusal { try await server.administration.prepareAuthority(.init()) }
                #expect(bridge.certified > before)
                let keyID = try #require(bridge.lastKeyID)
                bridge.tell(revoked: [keyID])
                try await eventually("the key is refused") {
                    server.core.standing(ofAuthority: keyID) == .revoked
                }
                bridge.fail(.none)
                let (_, new) = try await server.rotate()
                #expect(new != Hexadecimal.text(keyID))
            }
        }
    }
}
