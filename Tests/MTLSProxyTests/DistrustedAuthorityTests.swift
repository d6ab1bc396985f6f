// SPDX-License-Identifier: Apache-2.0

import Foundation
import MTLSProxy
import NodeSync
import Reactor
import Routing
import SPIFFE
import TestPKI
import Testing

/// What becomes of connections with an authority in their peer's path that is tainted or revoked
/// (decisions 0014 and 0020).
@Suite(.timeLimit(.minutes(2)), .serialized) struct DistrustedAuthorityTests {
    private func keyID(_ authority: TestAuthority) throws -> [UInt8] {
        try LeafCertificate(der: authority.der).keyIdentifier.bytes
    }

    /// Who signs the leaves of both proxies, up to the root that they believe.
    private struct Path {
        let authorities: [TestAuthority]

        init(below root: TestAuthority) throws {
            let upper = try root.intermediate()
            authorities = [try upper.intermediate(), upper, root]
        }
    }

    /// Proxies between which nothing flows yet.
    private func streams(_ provider: TLSProvider) async throws -> (World, Path) {
        let application = try Application(.echo)
        let world = try World(provider, .tcp, application: application.address)
        let path = try Path(below: world.root)
        world.web = try path.authorities[0].leaf(World.webID)
        world.backend = try path.authorities[0].leaf(World.backendID)
        try await world.applyServer([World.allow()])
        try await world.applyClient()
        return (world, path)
    }

    @Test(arguments: TLSProvider.allCases, 0..<3)
    func `a stream ends when an authority of its peer is revoked, and nobody of it comes again`(
        _ provider: TLSProvider,
        place: Int
    ) async throws {
        let (world, path) = try await streams(provider)
        let wire = try Wire.connect(world.outboundAddress)
        wire.send("one")
        #expect(wire.read(3) == Array("one".utf8))
        let revocations = PeerRevocations(authorities: [try keyID(path.authorities[place])])
        try await world.applyServer([World.allow()], revocations: revocations)
        _ = wire.readToEnd()
        #expect(await world.server.sum().reasons[.revoked] == 1)
        // The bundle has it still: the revocation alone refuses it.
        let again = try Wire.connect(world.outboundAddress)
        again.send("two")
        #expect(again.readToEnd().isEmpty)
        #expect(await world.server.sum().handshakeFailures["revoked", default: 0] >= 1)
    }

    @Test(arguments: TLSProvider.allCases, 0..<3)
    func `a server with an authority that is revoked is left, too`(
        _ provider: TLSProvider,
        place: Int
    ) async throws {
        let (world, path) = try await streams(provider)
        let wire = try Wire.connect(world.outboundAddress)
        wire.send("one")
        #expect(wire.read(3) == Array("one".utf8))
        let requires = world.requirements(
            expected: [try SPIFFEID(World.backendID)],
            revocations: PeerRevocations(authorities: [try keyID(path.authorities[place])])
        )
        try await world.applyClient(keepsConnections: true, requires: requires)
        _ = wire.readToEnd()
        #expect(await world.client.sum().reasons[.revoked, default: 0] >= 1)
        // Nor is it gone to again.
        let again = try Wire.connect(world.outboundAddress)
        again.send("two")
        #expect(again.readToEnd().isEmpty)
        #expect(await world.client.sum().handshakeFailures["revoked", default: 0] >= 1)
    }

    @Test(arguments: TLSProvider.allCases)
    func `what a thief of a revoked key makes is refused, whatever he calls it`(
        _ provider: TLSProvider
    ) async throws {
        let (world, path) = try await streams(provider)
        let revocations = PeerRevocations(authorities: [try keyID(path.authorities[1])])
        try await world.applyServer([World.allow()], revocations: revocations)
        // Signed beside it, the same workload is let in.
        world.web = try world.root.leaf(World.webID)
        try await world.applyClient()
        let beside = try Wire.connect(world.outboundAddress)
        beside.send("one")
        #expect(beside.read(3) == Array("one".utf8))
        let thief = try path.authorities[1].intermediate { $0.hasKeyIdentifiers = false }
        world.web = try thief.leaf(World.webID)
        try await world.applyClient()
        let wire = try Wire.connect(world.outboundAddress)
        wire.send("two")
        #expect(wire.readToEnd().isEmpty)
        #expect(await world.server.sum().handshakeFailures["revoked", default: 0] >= 1)
    }

    @Test(arguments: TLSProvider.allCases)
    func `what a tainted authority vouches for counts, and no stream outlives it`(
        _ provider: TLSProvider
    ) async throws {
        let application = try Application(.echo)
        let world = try World(provider, .tcp, application: application.address)
        let path = try Path(below: world.root)
        let tainted = PeerRevocations(taintedAuthorities: [try keyID(path.authorities[1])])
        let end = Date().addingTimeInterval(3)
        world.web = try path.authorities[0].leaf(World.webID) { $0.notAfter = end }
        try await world.applyServer([World.allow()], revocations: tainted)
        try await world.applyClient()
        let wire = try Wire.connect(world.outboundAddress)
        wire.send("one")
        #expect(wire.read(3) == Array("one".utf8))
        _ = wire.readToEnd()
        #expect(Date() >= end.addingTimeInterval(-1))
        #expect(await world.server.sum().reasons[.revoked] == 1)
    }

    @Test func `what was revoked stays so, whatever an agent says later`() throws {
        let root = try TestAuthority.root("example.org", now: Date())
        func trust(
            _ authorities: [[UInt8]: AuthorityStanding],
            _ leaves: [PeerRevocations.Leaf: Date] = [:]
        ) -> ProxyTrust {
            ProxyTrust(
                trustDomain: root.trustDomain,
                bundles: [root.trustDomain: root.bundle],
                revocations: [:],
                authorities: authorities,
                leaves: leaves,
                granted: []
            )
        }
        var gate = ConfigurationGate()
        let (one, two) = (
            PeerRevocations.Leaf(authorityKeyID: [1], serial: [1]),
            PeerRevocations.Leaf(authorityKeyID: [1], serial: [2])
        )
        let end = Date()
        _ = gate.received(trust([:], [one: end]))
        #expect(gate.received(trust([:], [two: end])).leaves == [one: end, two: end])
        _ = gate.received(trust([[1]: .revoked, [2]: .tainted]))
        #expect(gate.received(trust([:])).authorities == [[1]: .revoked])
        #expect(
            gate.received(trust([[1]: .tainted, [2]: .revoked])).authorities == [
                [1]: .revoked, [2]: .revoked,
            ]
        )
    }
}
