// SPDX-License-Identifier: Apache-2.0

import ControlAPI
import Crypto
import Foundation
import NodeAgent
import NodeSync
import SPIFFE
import TestPKI
import Testing

/// What agents make of other trust domains' bundles (docs/decisions/0021-federation.md).
struct AgentFederationTests {
    let world: AgentWorld
    private let partner: TestAuthority

    init() throws {
        world = try AgentWorld(now: Date(timeIntervalSince1970: 1_800_000_000))
        partner = try TestAuthority.root("partner.example")
    }

    /// The partner's bundle with a key for tokens, which has an ID of the partner's own.
    private func bundle(_ sequence: UInt64 = 1) throws -> TrustBundle {
        let key = P256.Signing.PrivateKey().publicKey
        return TrustBundle(
            trustDomain: partner.trustDomain,
            x509Authorities: [partner.der],
            x509Intermediates: [],
            jwtAuthorities: [
                JWTAuthority(
                    keyID: "of the partner",
                    key: try JSONWebKey(subjectPublicKeyInfo: Array(key.derRepresentation))
                )
            ],
            sequenceNumber: sequence,
            refreshHintSeconds: 300
        )
    }

    private func joined(_ bundles: [TrustBundle]) throws -> LogicDriver {
        var agent = LogicDriver(world, try world.stored())
        _ = agent.tell { $0.started(now: $1, using: &$2) }
        _ = agent.connect()
        let web = try world.entry(
            "web",
            workload: ["unix:uid:1"],
            federatesWith: ["partner.example"]
        )
        _ = agent.receive(
            try world.snapshot(
                1,
                [web, try world.entry("db", workload: ["unix:uid:2"])],
                bundles: bundles
            )
        )
        return agent
    }

    private func refused(_ actions: [AgentLogic.Action]) -> [ResourceKey] {
        actions.flatMap { action -> [ResourceKey] in
            guard case .sendAcknowledgement(let ack) = action else { return [] }
            return ack.refused.map(\.key)
        }
    }

    @Test func `a workload is shown the bundles that its entries name, and their token keys`()
        throws
    {
        let bundle = try bundle()
        let agent = try joined([bundle, TestAuthority.root("stranger.example").bundle])
        let (web, db): (Set<Selector>, Set<Selector>) = (
            try Set("unix:uid:1"), try Set("unix:uid:2")
        )
        let own = world.authority.bundle
        #expect(agent.logic.cache.tokenBundles(for: web) == [own, bundle])
        #expect(agent.logic.cache.tokenBundles(for: db) == [own])
        // Neither server nor own SVID is ever verified with it.
        #expect(agent.logic.bundle == own)
    }

    @Test func `a bundle that is withheld or deleted is gone at once, and comes back`() throws {
        var agent = try joined([try bundle()])
        let (id, _) = agent.subscribe(try Set("unix:uid:1"), .bundles)
        let key = ResourceKey(.federatedBundle, "partner.example")
        let removed = agent.receive([world.delta(1, 2, [.remove(key)])])
        #expect(removed.contains(.wake([id])) && refused(removed) == [])
        #expect(agent.logic.cache.tokenBundles(for: try Set("unix:uid:1")).count == 1)
        let payload = try ResourcePayload.federatedBundle(bundle(2)).resource.payload
        let back = agent.receive([world.delta(2, 3, [.upsert(key, payload: payload)])])
        #expect(back.contains(.wake([id])) && refused(back) == [])
    }

    @Test func `a bundle of the wrong type or name is refused, and what is in force stays`() throws
    {
        var agent = try joined([try bundle()])
        let before = agent.logic.cache.tokenBundles(for: try Set("unix:uid:1"))
        let foreign = try ResourcePayload.bundle(bundle(2).withoutJWTAuthorities).resource
        let own = ResourceKey(.federatedBundle, "example.org")
        let ownPayload = try world.authority.bundle.document()
        let named = ResourceKey(.federatedBundle, "Not A Name")
        let key = ResourceKey(.federatedBundle, "partner.example")
        let changes: [ResourceChange] = [
            .upsert(foreign.key, payload: foreign.payload), .upsert(own, payload: ownPayload),
            .remove(own), .upsert(named, payload: ownPayload), .remove(named),
            .upsert(key, payload: Array("{}".utf8)),
        ]
        for (index, change) in changes.enumerated() {
            let number = UInt64(index) + 1
            let actions = agent.receive([world.delta(number, number + 1, [change])])
            #expect(refused(actions).contains(change.key), "\(change)")
            #expect(agent.logic.bundle == world.authority.bundle)
        }
        #expect(agent.logic.cache.tokenBundles(for: try Set("unix:uid:1")) == before)
    }

    @Test func `a bundle without keys leaves nothing of the one before`() throws {
        var agent = try joined([try bundle()])
        let key = ResourceKey(.federatedBundle, "partner.example")
        let empty = Array(#"{"keys":[],"spiffe_sequence":9}"#.utf8)
        let actions = agent.receive([world.delta(1, 2, [.upsert(key, payload: empty)])])
        #expect(refused(actions) == [])
        let left = agent.logic.cache.tokenBundles(for: try Set("unix:uid:1"))
        #expect(left.count == 2 && left[1].x509Authorities == [] && left[1].jwtAuthorities == [])
    }

    @Test func `after a restart the bundles of before are there without the server`() throws {
        let bundle = try bundle()
        let agent = try joined([bundle])
        let stored = try world.stored(sync: agent.logic.persistedSync)
        var again = LogicDriver(world, stored)
        _ = again.tell { $0.started(now: $1, using: &$2) }
        let known = again.logic.cache.tokenBundles(for: try Set("unix:uid:1"))
        #expect(known == [world.authority.bundle, bundle])
    }
}
