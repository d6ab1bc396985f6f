// SPDX-License-Identifier: Apache-2.0

import Foundation
import MTLSProxy
import NodeSync
import Reactor
import Routing
import SPIFFE
import TestPKI
import Testing

/// What becomes of connections whose authority is tainted or revoked (decision 0014).
@Suite(.timeLimit(.minutes(2)), .serialized) struct DistrustedAuthorityTests {
    private func keyID(of world: World) throws -> [UInt8] {
        try #require(try LeafCertificate(der: world.root.der).subjectKeyID)
    }

    private func streams(_ provider: TLSProvider) async throws -> World {
        let application = try Application(.echo)
        let world = try World(provider, .tcp, application: application.address)
        try await world.applyServer([World.allow()])
        try await world.applyClient()
        return world
    }

    @Test(arguments: TLSProvider.allCases)
    func `a stream ends when its peer's authority is revoked, and nobody of it comes again`(
        _ provider: TLSProvider
    ) async throws {
        let world = try await streams(provider)
        let wire = try Wire.connect(world.outboundAddress)
        wire.send("one")
        #expect(wire.read(3) == Array("one".utf8))
        let revocations = PeerRevocations(authorities: [try keyID(of: world)])
        try await world.applyServer([World.allow()], revocations: revocations)
        _ = wire.readToEnd()
        #expect(await world.server.sum().reasons[.revoked] == 1)
        // The bundle has it still: the revocation alone refuses it.
        let again = try Wire.connect(world.outboundAddress)
        again.send("two")
        #expect(again.readToEnd().isEmpty)
        #expect(await world.server.sum().handshakeFailures["revoked", default: 0] >= 1)
    }

    @Test(arguments: TLSProvider.allCases)
    func `a server whose authority is revoked is left, too`(_ provider: TLSProvider) async throws {
        let world = try await streams(provider)
        let wire = try Wire.connect(world.outboundAddress)
        wire.send("one")
        #expect(wire.read(3) == Array("one".utf8))
        let requires = world.requirements(
            expected: [try SPIFFEID(World.backendID)],
            revocations: PeerRevocations(authorities: [try keyID(of: world)])
        )
        try await world.applyClient(keepsConnections: true, requires: requires)
        _ = wire.readToEnd()
        #expect(await world.client.sum().reasons[.revoked, default: 0] >= 1)
    }

    @Test(arguments: TLSProvider.allCases)
    func `what a tainted authority signed counts, and no stream outlives it`(
        _ provider: TLSProvider
    ) async throws {
        let application = try Application(.echo)
        let world = try World(provider, .tcp, application: application.address)
        let tainted = PeerRevocations(taintedAuthorities: [try keyID(of: world)])
        let end = Date().addingTimeInterval(3)
        world.web = try world.root.leaf(World.webID) { $0.notAfter = end }
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
