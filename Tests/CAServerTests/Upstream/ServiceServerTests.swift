// SPDX-License-Identifier: Apache-2.0

import CAServer
import ControlAPI
import ControlAPIProtos
import Datastore
import Foundation
import GRPCCore
import Issuance
import SPIFFE
import Telemetry
import TestBridge
import TestPKI
import Testing

/// A server whose authorities a process at a socket certifies (record 0020, "Service and agent: one
/// protocol").
@Suite(.timeLimit(.minutes(2)))
struct ServiceServerTests {
    private static let web = "spiffe://example.org/web"

    private func requireWell(_ server: TestServer, _ world: BridgedServer) async throws {
        try await world.eventuallyRetried("everything is well") {
            let unmet = try await server.unmetConditions()
            return unmet.isEmpty
        }
    }

    @Test func `at its first start a server is certified below the root that is told`() async throws
    {
        let world = try BridgedServer()
        try await world.bridging {
            try await world.serving { server in
                let bundle = try server.core.trust.bundle
                #expect(bundle.x509Authorities == [world.bridge.root.der])
                let active = try server.core.trust.issuer.authority
                #expect(active.ancestry?.chain == [world.bridge.authority.der])
                let agent = try await server.agent("web-1", selectors: ["role:web"])
                let entry = try await server.register("web")
                let request = try signingRequest(entry: entry, spiffeID: Self.web)
                let signed = try await server.sign([request], as: agent)
                #expect(signed.map(\.signed.certificateChain.count) == [3])
                #expect(try await server.records("rootPublished").count == 1)
                let requests = "signet_server_upstream_requests_total"
                let labels = "kind=\"service\",outcome=\"certified\""
                #expect(server.count(requests, labels) == 1)
                try await requireWell(server, world)
                try await server.requireIntactLog()
            }
        }
    }

    @Test func `a start that can sign nothing waits for an upstream that is away`() async throws {
        let world = try BridgedServer()
        let server = try world.server()
        func problem() -> String? {
            server.core.health.report(.ready).conditions.first { $0.name == "upstream" }?.problem
        }
        try await withThrowingTaskGroup(of: Void.self) { group in
            let (ports, announce) = AsyncStream.makeStream(of: UInt16.self)
            group.addTask {
                defer { announce.finish() }
                try await server.run { announce.yield($0) }
            }
            try await eventually("the start waits") {
                problem()?.contains(world.socket) == true
            }
            let published = try await server.core.read { try $0.bundleRoots() }
            #expect(published.isEmpty)
            try await world.bridging {
                try await world.eventuallyRetried("somebody signs") {
                    (try? server.core.trust) != nil
                }
                for await _ in ports { break }
                group.cancelAll()
                do { try await group.waitForAll() } catch is CancellationError {}
            }
        }
    }

    @Test func `an upstream that goes away is told, and asked again until it is back`() async throws
    {
        let world = try BridgedServer()
        try await world.bridging {
            try await world.serving { server in
                try await requireWell(server, world)
                let active = try server.core.trust.issuer.authority.id
                world.bridge.fail(.refuses(.unavailable))
                world.bridge.hangUp()
                try await eventually("health says so") {
                    server.upstreamProblem?.contains("the active authority signs until") == true
                }
                let refused = await refusal {
                    try await server.administration.prepareAuthority(.init())
                }
                #expect(refused?.reason == "upstream", "\(String(describing: refused))")
                #expect(try server.core.trust.issuer.authority.id == active)
                #expect(try server.core.trust.bundle.x509Authorities == [world.bridge.root.der])
                _ = try await server.agent("web-1")
                world.bridge.fail(.none)
                try await requireWell(server, world)
                _ = try await server.rotate()
            }
        }
    }

    @Test func `a chain that breaks a rule is refused by its name, and the keys are kept`()
        async throws
    {
        let world = try BridgedServer()
        try await world.bridging {
            try await world.serving { server in
                world.bridge.fail(.leavesOutAuthority)
                let refused = await refusal {
                    try await server.administration.prepareAuthority(.init())
                }
                #expect(refused?.reason == "upstream")
                let message = refused?.message ?? ""
                #expect(message.contains("rootUnknown"), "\(message)")
                let labels = "kind=\"service\",outcome=\"refused\""
                #expect(server.count("signet_server_upstream_requests_total", labels) == 1)
                #expect(try await server.records("authorityPrepared").count == 1)
                #expect(server.upstreamProblem?.contains("rootUnknown") == true)
                world.bridge.fail(.none)
                _ = try await server.rotate()
                try await requireWell(server, world)
            }
        }
    }

    @Test func `roots enter and leave as the upstream says`() async throws {
        let world = try BridgedServer()
        let (bridge, root) = (world.bridge, world.bridge.root)
        let next = try TestAuthority.root("example.org", now: Date())
        try await world.bridging {
            try await world.serving { server in
                func roots() throws -> Set<[UInt8]> {
                    Set(try server.core.trust.bundle.x509Authorities)
                }
                bridge.tell(roots: [root.der, next.der])
                try await eventually("both are published") { try roots() == [root.der, next.der] }
                bridge.tell(roots: [next.der])
                try await eventually("it was heard") { server.trusts("taken") >= 3 }
                // One that is named no more certifies nothing, and stays while something is below.
                let refused = await refusal {
                    try await server.administration.prepareAuthority(.init())
                }
                #expect(refused?.message.contains("rootUnknown") == true)
                #expect(try roots() == [root.der, next.der])
                bridge.sign(with: try next.intermediate())
                let (old, new) = try await server.rotate()
                #expect(try server.core.trust.issuer.authority.id == new)
                #expect(try roots() == [root.der, next.der])
                _ = try await server.revokeAuthority(old)
                try await eventually("the old one has left") { try roots() == [next.der] }
                #expect(try await server.records("rootRemoved").count == 1)
                try await server.requireIntactLog()
            }
        }
    }

    @Test func `of a word that is not taken nothing counts, and the last one stays`() async throws {
        let world = try BridgedServer()
        let (bridge, root) = (world.bridge, world.bridge.root)
        let other = try TestAuthority.root("example.com", now: Date())
        let second = try TestAuthority.root("example.org", now: Date())
        let many = (0...UpstreamLimits.revokedMax).map { number in
            (0..<20).map { UInt8(truncatingIfNeeded: number >> ($0 % 3 * 8)) }
        }
        try await world.bridging {
            try await world.serving { server in
                try await requireWell(server, world)
                let words: [([[UInt8]], Set<[UInt8]>, String)] = [
                    ([], [], "names no root"),
                    (Array(repeating: root.der, count: 33), [], "more than 32 roots"),
                    ([root.der, other.der], [], "rootOfAnother"),
                    ([root.der, [1, 2, 3]], [], "certificateMalformed"),
                    ([second.der], Set(many), "more than 4096 revoked keys"),
                    ([second.der], [[1, 2, 3]], "20 bytes"),
                ]
                for (index, (roots, revoked, why)) in words.enumerated() {
                    bridge.tell(roots, revoked: revoked)
                    try await eventually("\(why) is told") {
                        server.upstreamProblem?.contains(why) == true
                    }
                    #expect(server.trusts("refused") > index)
                    #expect(try server.core.trust.bundle.x509Authorities == [root.der])
                    bridge.tell([root.der], revoked: [])
                    try await requireWell(server, world)
                }
                #expect(try await server.records("rootPublished").count == 1)
                #expect(try await server.records("upstreamKeysRevoked").isEmpty)
            }
        }
    }

    @Test func `after a restart the last word counts until there is another one`() async throws {
        let world = try BridgedServer()
        let root = world.bridge.root.der
        let active = try await world.bridging {
            try await world.serving { try $0.core.trust.issuer.authority.id }
        }
        // The upstream is away, and then says what is not taken.
        try await world.serving { server in
            let trust = try server.core.trust
            #expect(trust.issuer.authority.id == active)
            #expect(trust.bundle.x509Authorities == [root])
        }
        world.bridge.tell(roots: [])
        try await world.bridging {
            try await world.serving { server in
                let (_, new) = try await server.rotate()
                #expect(try server.core.trust.issuer.authority.id == new)
                #expect(try server.core.trust.bundle.x509Authorities == [root])
                #expect(server.trusts("refused") > 0)
            }
        }
    }
}
