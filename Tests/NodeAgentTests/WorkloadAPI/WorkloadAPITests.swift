// SPDX-License-Identifier: Apache-2.0

import ControlAPI
import ControlAPIProtos
import Crypto
import Foundation
import GRPCCore
import NodeAgent
import NodeSync
import SPIFFE
import SwiftProtobuf
import Synchronization
import TestPKI
import Testing

/// The Workload API as a client on the socket sees it.
@Suite(.timeLimit(.minutes(1)))
struct WorkloadAPITests {
    @Test func `E-2 a request without the security header is INVALID_ARGUMENT`() async throws {
        try await ServingAgent.run { agent in
            try agent.serve([agent.own("web")])
            #expect(await agent.failure(metadata: [:]) == .invalidArgument)
            #expect(
                await agent.failure(metadata: ["workload.spiffe.io": "True"]) == .invalidArgument
            )
            #expect(await agent.failure() == nil)
        }
    }

    @Test func `A-3 A-6 the first message is whole and comes at once`() async throws {
        try await ServingAgent.run { agent in
            let partner = try TestAuthority.root("partner.org").bundle
            try agent.serve(
                [agent.own("web", hint: "h", federatesWith: ["partner.org"])],
                bundles: [partner]
            )
            let message = try await agent.first()
            let svid = try #require(message.svids.first)
            #expect(message.svids.count == 1)
            #expect(svid.spiffeID == "spiffe://example.org/web")
            #expect(svid.hint == "h")
            #expect(Array(svid.bundle) == agent.world.authority.der)
            #expect(message.federatedBundles.keys.sorted() == ["spiffe://partner.org"])
            let key = try P256.Signing.PrivateKey(derRepresentation: svid.x509SvidKey)
            let leaf = try LeafCertificate(der: Array(svid.x509Svid))
            #expect(leaf.spkiSHA256 == Array(SHA256.hash(data: key.publicKey.derRepresentation)))
        }
    }

    @Test func `A-8 A-11 the oldest entry comes first and keeps its hint`() async throws {
        try await ServingAgent.run { agent in
            try agent.serve([
                agent.own("young", hint: "same", age: 1), agent.own("old", hint: "same", age: 2),
            ])
            let message = try await agent.first()
            #expect(
                message.svids.map(\.spiffeID)
                    == ["spiffe://example.org/old", "spiffe://example.org/young"]
            )
            #expect(message.svids.map(\.hint) == ["same", ""])
        }
    }

    @Test func `A-3 a rotation is sent, and what changes nothing is not`() async throws {
        try await ServingAgent.run { agent in
            try agent.serve([agent.own("web")])
            let serials = Mutex<[[UInt8]]>([])
            try await agent.fetch { message in
                let leaf = try LeafCertificate(der: Array(message.svids[0].x509Svid))
                let count = serials.withLock { serials in
                    serials.append(leaf.serial)
                    return serials.count
                }
                guard count == 1 else { return false }
                // An entry for somebody else, then a change that asks for a new certificate.
                let other = try agent.world.entry("other", workload: ["unix:uid:4242"])
                try agent.sign(agent.receive([try agent.put(other, 1)]))
                let changed = try agent.own("web").with(ttl: 600)
                try agent.sign(agent.receive([try agent.put(changed, 2)]))
                return true
            }
            let seen = serials.withLock { $0 }
            #expect(seen.count == 2)
            #expect(Set(seen).count == 2)
        }
    }

    @Test func `A-12 who is entitled to nothing is denied`() async throws {
        try await ServingAgent.run { agent in
            try agent.serve([try agent.world.entry("other", workload: ["unix:uid:4242"])])
            #expect(await agent.failure() == .permissionDenied)
            let error = await #expect(throws: RPCError.self) {
                try await agent.withClient { client in
                    try await SpiffeWorkloadAPI.Client(wrapping: client).fetchX509Bundles(
                        .init(),
                        metadata: ServingAgent.header
                    ) { response in for try await _ in response.messages {} }
                }
            }
            #expect(error?.code == .permissionDenied)
        }
    }

    @Test func `A-4 a stream whose entitlement ends is denied`() async throws {
        try await ServingAgent.run { agent in
            try agent.serve([agent.own("web")])
            let error = await #expect(throws: RPCError.self) {
                try await agent.fetch { _ in
                    _ = agent.receive([
                        agent.world.delta(1, 2, [.remove(ResourceKey(.entry, "entry-web"))])
                    ])
                    return true
                }
            }
            #expect(error?.code == .permissionDenied)
        }
    }

    @Test func `A-4 a certificate withdrawn before its replacement is there is denied at once`()
        async throws
    {
        try await ServingAgent.run { agent in
            try agent.serve([agent.own("web")])
            let other = try ResourcePayload.entry(agent.own("other")).resource
            let error = await #expect(throws: RPCError.self) {
                try await agent.fetch { _ in
                    _ = agent.receive([
                        agent.world.delta(
                            1,
                            2,
                            [
                                .remove(ResourceKey(.entry, "entry-web")),
                                .upsert(other.key, payload: other.payload),
                            ]
                        )
                    ])
                    return true
                }
            }
            #expect(error?.code == .permissionDenied)
            #expect(error?.message.contains("withdrawn") == true)
        }
    }

    @Test func `one user's open requests are bounded, and their places come back`() async throws {
        try await ServingAgent.run(places: WorkloadPlaces(perUser: 2, all: 4)) { agent in
            try agent.serve([agent.own("web")])
            try await agent.fetch { _ in
                try await agent.fetch { _ in
                    #expect(await agent.failure() == .resourceExhausted)
                    return false
                }
                return false
            }
            await agent.untilStreams(are: 0)
            #expect(await agent.failure() == nil)
        }
    }

    @Test func `places are counted for each user and for all together`() {
        let places = WorkloadPlaces(perUser: 2, all: 3)
        #expect(places.enter(uid: 1))
        #expect(places.enter(uid: 1))
        #expect(!places.enter(uid: 1))
        #expect(places.enter(uid: 2))
        #expect(!places.enter(uid: 3))
        places.leave(uid: 1)
        #expect(places.enter(uid: 3))
        #expect(!places.enter(uid: 1))
    }

    @Test func `E-5 before the first sync the answer is UNAVAILABLE`() async throws {
        try await ServingAgent.run { agent in
            agent.tell { $0.started(now: $1, using: &$2) }
            #expect(await agent.failure() == .unavailable)
        }
    }

    @Test func `an entitled workload waits until its certificate is signed`() async throws {
        try await ServingAgent.run { agent in
            let actions = try agent.receive([agent.own("web")])
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask {
                    let message = try await agent.first()
                    #expect(message.svids.map(\.spiffeID) == ["spiffe://example.org/web"])
                }
                await agent.untilStreams(are: 1)
                try agent.sign(actions)
                try await group.waitForAll()
            }
        }
    }

    @Test func `A-6 bundles hold the own trust domain and those it federates with`() async throws {
        try await ServingAgent.run { agent in
            let partner = try TestAuthority.root("partner.org").bundle
            let stranger = try TestAuthority.root("stranger.org").bundle
            _ = try agent.receive(
                [agent.own("web", federatesWith: ["partner.org"])],
                bundles: [partner, stranger]
            )
            let names = try await agent.withClient { client in
                try await SpiffeWorkloadAPI.Client(wrapping: client).fetchX509Bundles(
                    .init(),
                    metadata: ServingAgent.header
                ) { response in
                    for try await message in response.messages {
                        return message.bundles.keys.sorted()
                    }
                    return []
                }
            }
            #expect(names == ["spiffe://example.org", "spiffe://partner.org"])
        }
    }

    @Test func `A-4 A-7 a trust domain without an authority of the profile is left out`() throws {
        let key = P256.Signing.PrivateKey().publicKey
        let tokens = JWTAuthority(
            keyID: "k",
            key: try JSONWebKey(subjectPublicKeyInfo: Array(key.derRepresentation))
        )
        func bundle(_ name: String, x509: [[UInt8]], _ jwt: [JWTAuthority]) throws -> TrustBundle {
            TrustBundle(
                trustDomain: try TrustDomain(name),
                x509Authorities: x509,
                x509Intermediates: [],
                jwtAuthorities: jwt,
                sequenceNumber: 1,
                refreshHintSeconds: 300
            )
        }
        let view = WorkloadView(
            state: .ready,
            svids: [],
            bundle: try bundle("example.org", x509: [[1]], []),
            federatedBundles: [
                try bundle("both.example", x509: [[2]], [tokens]),
                try bundle("none.example", x509: [], []),
                try bundle("tokens.example", x509: [], [tokens]),
                try bundle("x509.example", x509: [[3]], []),
            ]
        )
        let x509 = ["spiffe://both.example", "spiffe://x509.example"]
        #expect(view.x509SVIDResponse.federatedBundles.keys.sorted() == x509)
        // the own one is always there.
        let own = "spiffe://example.org"
        #expect(view.x509BundlesResponse.bundles.keys.sorted() == [x509[0], own, x509[1]])
        #expect(
            view.jwtBundlesResponse.bundles.keys.sorted()
                == ["spiffe://both.example", own, "spiffe://tokens.example"]
        )
    }

    @Test func `A-1 the profiles not provided are UNIMPLEMENTED`() async throws {
        try await ServingAgent.run { agent in
            try agent.serve([agent.own("web")])
            let codes = try await agent.withClient { client in
                let api = SpiffeWorkloadAPI.Client(wrapping: client)
                let header = ServingAgent.header
                return [
                    await code {
                        try await api.fetchWITSVID(.init(), metadata: header) { response in
                            for try await _ in response.messages {}
                        }
                    },
                    await code {
                        try await api.fetchWITBundles(.init(), metadata: header) { response in
                            for try await _ in response.messages {}
                        }
                    },
                ]
            }
            #expect(codes == Array(repeating: .unimplemented, count: 2))
        }
    }

    @Test func `a client that leaves leaves nothing behind`() async throws {
        try await ServingAgent.run { agent in
            try agent.serve([agent.own("web")])
            for _ in 0..<3 { _ = try await agent.first() }
            await agent.untilStreams(are: 0)
        }
    }

    @Test func `root and the agent's own user may ask about a process`() async throws {
        try await ServingAgent.run { agent in
            try agent.serve([
                agent.own("web"), try agent.world.entry("far", workload: ["unix:uid:4242"]),
            ])
            let explanation = try await agent.withClient { client in
                try await Signet_Agent_V1alpha1_AgentLocal.Client(wrapping: client)
                    .explainWorkload(.with { $0.pid = getpid() })
            }
            #expect(explanation.spiffeIds == ["spiffe://example.org/web"])
            let grant = try #require(explanation.grantingEntries.first)
            #expect(explanation.grantingEntries.count == 1)
            #expect(grant.entry == "default/web" && grant.entryID == "entry-web")
            #expect(grant.spiffeID == "spiffe://example.org/web")
            #expect(Set(grant.matched).isSubset(of: explanation.selectors))
            #expect(!grant.matched.isEmpty)
            #expect(explanation.nearMisses.map(\.entry) == ["default/far"])
            #expect(explanation.attestationError.isEmpty)
            // These tests run as somebody who may write their own program.
            #expect(explanation.notes.contains { $0.hasPrefix("unix:path is left out: ") })
            let status = try await agent.withClient { client in
                try await Signet_Agent_V1alpha1_AgentLocal.Client(wrapping: client)
                    .getStatus(.init())
            }
            #expect(status.name == "web-1")
            #expect(status.entries == 2)
            #expect(status.notReadyReasons.isEmpty)
        }
    }

    private func code(_ body: () async throws -> Void) async -> RPCError.Code? {
        do {
            try await body()
            return nil
        } catch {
            return (error as? RPCError)?.code
        }
    }
}

extension ServingAgent {
    /// A delta that puts one entry.
    func put(_ entry: RegistrationEntry, _ from: UInt64) throws -> SyncMessage {
        let resource = try ResourcePayload.entry(entry).resource
        return world.delta(
            from,
            from + 1,
            [.upsert(resource.key, payload: resource.payload)]
        )
    }

    /// Returns when so many workload streams are open.
    func untilStreams(are count: Int) async {
        while core.ask({ $0.status.streamCount }) != count { await Task.yield() }
    }
}

extension RegistrationEntry {
    func with(ttl: Int? = nil, namespace: String? = nil) -> RegistrationEntry {
        RegistrationEntry(
            id: id,
            namespace: namespace ?? self.namespace,
            name: name,
            revision: revision + 1,
            createdAt: createdAt,
            spiffeID: spiffeID,
            nodeSelectors: nodeSelectors,
            workloadSelectors: workloadSelectors,
            x509SVIDTTLSeconds: ttl
        )
    }
}
