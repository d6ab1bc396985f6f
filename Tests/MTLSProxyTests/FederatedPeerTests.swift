// SPDX-License-Identifier: Apache-2.0

import Authorization
import ControlAPI
import ControlAPIProtos
import Foundation
import MTLSProxy
import Reactor
import Routing
import SPIFFE
import SwiftProtobuf
import TestPKI
import Testing

/// Peers of other trust domains at a proxy (docs/decisions/0021-federation.md).
@Suite(.timeLimit(.minutes(2)), .serialized) struct FederatedPeerTests {
    private static let partnerID = "spiffe://partner.example/web"

    private func requirements(
        _ world: World,
        _ bundle: TrustBundle?,
        federates: Bool = true
    ) throws -> PeerRequirements {
        let partner = try TrustDomain("partner.example")
        var bundles = [world.root.trustDomain: world.root.bundle]
        bundles[partner] = bundle
        return PeerRequirements(
            authorities: TLSAuthorities(provider: world.provider, bundles: bundles),
            in: world.root.trustDomain,
            federatingWith: federates ? [partner] : []
        )
    }

    /// Proxies of which the client's is a partner's.
    private func worlds(
        _ provider: TLSProvider,
        _ partner: TestAuthority,
        allowing policy: AccessPolicy
    ) async throws -> World {
        let application = try Application(.echo)
        let world = try World(provider, .tcp, application: application.address)
        world.web = try partner.leaf(Self.partnerID)
        try await world.applyServer([policy], requires: requirements(world, partner.bundle))
        try await world.applyClient()
        return world
    }

    @Test(arguments: TLSProvider.allCases)
    func `a foreign stream ends when its authority leaves the bundle, or nobody federates`(
        _ provider: TLSProvider
    ) async throws {
        let partner = try TestAuthority.root("partner.example", now: Date())
        let next = try TestAuthority.root("partner.example", now: Date())
        let policy = try World.allow(nil, Self.partnerID)
        let changes: [(World) throws -> PeerRequirements] = [
            { try requirements($0, next.bundle) }, { try requirements($0, nil) },
            { try requirements($0, partner.bundle, federates: false) },
        ]
        for (index, change) in changes.enumerated() {
            let world = try await worlds(provider, partner, allowing: policy)
            let wire = try Wire.connect(world.outboundAddress)
            wire.send("one")
            #expect(wire.read(3) == Array("one".utf8), "\(index)")
            try await world.applyServer([policy], requires: change(world))
            _ = wire.readToEnd()
            #expect(await world.server.sum().reasons[.revoked] == 1, "\(index)")
            // Nor does anybody come in again by it.
            let again = try Wire.connect(world.outboundAddress)
            again.send("two")
            #expect(again.readToEnd().isEmpty, "\(index)")
        }
    }

    @Test(arguments: TLSProvider.allCases)
    func `a partner's workload that is believed is denied by a rule without principals`(
        _ provider: TLSProvider
    ) async throws {
        let partner = try TestAuthority.root("partner.example", now: Date())
        let rule = try #require(AccessRule())
        let everybody = AccessPolicy(
            namespace: "default",
            name: "everybody",
            action: .allow,
            rules: [rule]
        )
        let world = try await worlds(provider, partner, allowing: everybody)
        let wire = try Wire.connect(world.outboundAddress)
        wire.send("one")
        #expect(wire.readToEnd().isEmpty)
        #expect(await world.server.sum().reasons[.denied] == 1)
    }

    // MARK: - What the agent says

    private func trust(
        _ federations: [(id: String, others: [String])]
    ) throws -> Signet_Proxy_V1alpha1_Trust {
        let root = try TestAuthority.root("example.org")
        return .with {
            $0.trustDomain = "example.org"
            $0.bundles = [root.bundle.message]
            $0.granted = [World.webID, World.backendID]
            $0.federations = federations.map { federation in
                .with {
                    $0.spiffeID = federation.id
                    $0.trustDomains = federation.others
                }
            }
        }
    }

    @Test func `each identity has its own federations`() throws {
        let read = try ProxyTrust(
            parsing: trust([(World.webID, ["partner.example", "other.example"])])
        )
        let (one, two) = (try TrustDomain("partner.example"), try TrustDomain("other.example"))
        #expect(read.federations == [try SPIFFEID(World.webID): [one, two]])
        #expect(try ProxyTrust(parsing: trust([])).federations == [:])
        var gate = ConfigurationGate()
        #expect(gate.received(read).federations == read.federations)
        // What is told no more is over at once.
        #expect(gate.received(try ProxyTrust(parsing: trust([]))).federations == [:])
    }

    @Test(
        arguments: [
            [("spiffe://example.org/other", ["partner.example"])],
            [("no ID", ["partner.example"])],
            [(World.webID, [])],
            [(World.webID, ["example.org"])],
            [(World.webID, ["Partner.Example"])],
            [(World.webID, ["partner.example", "partner.example"])],
            [(World.webID, ["a.example"]), (World.webID, ["b.example"])],
            [(World.webID, (0...RegistrationEntry.federatesWithMax).map { "p\($0).example" })],
        ] as [[(String, [String])]]
    )
    func `federations that cannot be read refuse the trust whole`(
        _ federations: [(String, [String])]
    ) throws {
        let message = try trust(federations.map { (id: $0.0, others: $0.1) })
        #expect(throws: WireError.self) { try ProxyTrust(parsing: message) }
    }

    @Test func `a federation with a field that is not known refuses the trust whole`() throws {
        var message = try trust([(World.webID, ["partner.example"])])
        let known: [UInt8] = try message.federations[0].serializedBytes()
        message.federations[0] = try Signet_Proxy_V1alpha1_Federation(
            serializedBytes: known + [0x18, 0x01]
        )
        let told = message
        #expect(throws: WireError.self) { try ProxyTrust(parsing: told) }
    }
}
