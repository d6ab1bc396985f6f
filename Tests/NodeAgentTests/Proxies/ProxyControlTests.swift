// SPDX-License-Identifier: Apache-2.0

import Clocks
import ControlAPI
import ControlAPIProtos
import Foundation
import GRPCCore
import GRPCPeer
import NodeAgent
import NodeSync
import Routing
import SPIFFE
import SwiftProtobuf
import Synchronization
import TestPKI
import Testing

/// The socket of proxies as a process on it sees it.
@Suite(.timeLimit(.minutes(1)))
struct ProxyControlTests {
    @Test func `a proxy is told whom to trust, and then all that it is to do`() async throws {
        try await ServingAgent.run { agent in
            let proxy = try agent.proxy("p", ["web"], policies: [[1, 2], [3]])
            try await agent.withServer([agent.own("web")], [proxy]) { _ in
                try await agent.attach { talk in
                    let trust = try await talk.trust()
                    #expect(trust.trustDomain == "example.org")
                    #expect(trust.granted == ["spiffe://example.org/web"])
                    #expect(
                        trust.bundles.map { $0.x509Authorities.map { Array($0) } }
                            == [[agent.world.authority.der]]
                    )
                    let state = try await talk.state()
                    #expect(state.sequence == 1)
                    #expect(state.revision.number == 1)
                    let read = try ProxyState(parsing: .init(serializedBytes: state.proxy))
                    #expect(read == proxy)
                    let identity = try #require(state.identities.first)
                    let leaf = try LeafCertificate(der: Array(identity.certificateChain[0]))
                    #expect(leaf.spiffeID?.path == "/web")
                    let key = try #require(NodeKey(pkcs8: Array(identity.privateKeyPkcs8)))
                    #expect(leaf.spkiSHA256 == key.spkiSHA256)
                }
            }
        }
    }

    /// One that does not know the field would refuse the whole
    /// (docs/decisions/0021-federation.md).
    @Test(arguments: [true, false])
    func `who federates is told to proxies that know of it, to others the own bundle alone`(
        _ isFederating: Bool
    ) async throws {
        try await ServingAgent.run { agent in
            let proxy = try agent.proxy("p", ["web", "db"])
            let partner = try TestAuthority.root("partner.example").bundle
            let entries = try [
                agent.own("web", federatesWith: ["partner.example"]), agent.own("db"),
            ]
            try await agent.withServer(entries, [proxy]) { _ in
                let resource = try ResourcePayload.federatedBundle(partner).resource
                let change = ResourceChange.upsert(resource.key, payload: resource.payload)
                _ = agent.receive([agent.world.delta(1, 2, [change])])
                let capabilities = isFederating ? [SyncCapability.federation] : []
                try await agent.attach(
                    hello: ServingAgent.hello(capabilities: capabilities)
                ) { talk in
                    let trust = try await talk.trust()
                    let own = Data(agent.world.authority.der)
                    let bundles = trust.bundles.map { $0.x509Authorities }
                    guard isFederating else {
                        #expect(bundles == [[own]] && trust.federations.isEmpty)
                        return
                    }
                    #expect(bundles == [[own], partner.x509Authorities.map { Data($0) }])
                    #expect(trust.federations.map(\.spiffeID) == ["spiffe://example.org/web"])
                    #expect(trust.federations.map(\.trustDomains) == [["partner.example"]])
                }
            }
        }
    }

    @Test func `the workload of the same entry has another key`() async throws {
        try await ServingAgent.run { agent in
            let proxy = try agent.proxy("p", ["web"])
            try await agent.withServer([agent.own("web")], [proxy]) { _ in
                let mine = try await agent.first().svids.map { Array($0.x509SvidKey) }
                let proxies = try await agent.attach { talk in
                    try await talk.state().identities.map { Array($0.privateKeyPkcs8) }
                }
                #expect(mine.count == 1 && proxies.count == 1)
                #expect(mine != proxies)
            }
        }
    }

    // MARK: Who is refused

    @Test func `a process that no Proxy means is refused`() async throws {
        try await ServingAgent.run { agent in
            let other = try agent.proxy("p", ["web"], selectors: ["unix:uid:4242"])
            try await agent.withServer([agent.own("web")], [other]) { _ in
                #expect(await agent.refusal() == "noProxy")
                #expect(await agent.refusal(hello: ServingAgent.hello("default/p")) == "noProxy")
            }
        }
    }

    @Test func `a process that is several Proxies says which`() async throws {
        try await ServingAgent.run { agent in
            let proxies = try ["p", "q"].map { try agent.proxy($0, ["web"]) }
            try await agent.withServer([agent.own("web")], proxies) { _ in
                #expect(await agent.refusal() == "severalProxies")
                try await agent.attach(hello: ServingAgent.hello("default/q")) { talk in
                    let state = try await talk.state()
                    let read = try ProxyState(parsing: .init(serializedBytes: state.proxy))
                    #expect(read.proxy.name == "q")
                }
                _ = agent.receive([
                    try agent.put(try agent.proxy("r", ["web"], namespace: "other"), 1)
                ])
                #expect(await agent.refusal() == "ambiguous")
                // Who may write a Proxy elsewhere shuts nobody out who says what it is.
                try await agent.attach(hello: ServingAgent.hello("default/q")) { talk in
                    _ = try await talk.state()
                }
            }
        }
    }

    @Test func `a second process is refused until the first has left or drains`() async throws {
        try await ServingAgent.run { agent in
            let proxy = try agent.proxy("p", ["web"])
            try await agent.withServer([agent.own("web")], [proxy]) { reports in
                try await agent.attach { talk in
                    _ = try await talk.state()
                    let second = ServingAgent.hello(instance: [9, 9, 9, 9, 9])
                    #expect(await agent.refusal(hello: second) == "alreadyServed")
                    talk.say { $0.draining = .init() }
                    _ = try await reports.until { $0.isEmpty }
                    try await agent.attach(hello: second) { talk in
                        _ = try await talk.state()
                    }
                }
                try await agent.attach { talk in _ = try await talk.state() }
            }
        }
    }

    @Test func `a process that says nothing, or nonsense, is refused by name`() async throws {
        try await ServingAgent.run { agent in
            let proxy = try agent.proxy("p", ["web"])
            try await agent.withServer([agent.own("web")], [proxy]) { _ in
                let short = ServingAgent.hello(instance: [1])
                #expect(await agent.refusal(hello: short) == "wire")
                #expect(await agent.refusal(hello: ServingAgent.hello("no slash")) == "wire")
                #expect(await agent.refusal(hello: ProxyMessage()) == "wire")
                let early = ProxyMessage.with { $0.answer = .with { $0.sequence = 1 } }
                #expect(await agent.refusal(hello: early) == "helloMissing")
                let twice = await reason {
                    try await agent.attach { talk in
                        _ = try await talk.state()
                        talk.say { $0 = ServingAgent.hello() }
                        try await talk.end()
                    }
                }
                #expect(twice == "helloRepeated")
                let wrong = await reason {
                    try await agent.attach { talk in
                        _ = try await talk.state()
                        talk.answer(77)
                        try await talk.end()
                    }
                }
                #expect(wrong == "answerUnexpected")
            }
        }
    }

    @Test func `one user's streams are bounded`() async throws {
        try await ServingAgent.run(proxyPlaces: WorkloadPlaces(perUser: 1, all: 2)) { agent in
            let proxy = try agent.proxy("p", ["web"])
            try await agent.withServer([agent.own("web")], [proxy]) { _ in
                try await agent.attach { talk in
                    _ = try await talk.state()
                    for _ in 0..<20 {
                        #expect(await agent.refusal() == "tooManyStreams")
                    }
                }
            }
        }
    }

    @Test func `before the first sync nobody is told anything`() async throws {
        try await ServingAgent.run { agent in
            agent.tell { $0.started(now: $1, using: &$2) }
            #expect(await agent.refusal() == "notSynced")
        }
    }

    // MARK: Who may speak for whom

    @Test func `identities of other entries, namespaces and nodes are not granted`() async throws {
        try await ServingAgent.run { agent in
            // `absent` is an identity whose entry is not in this node's scope: it never comes.
            let named = try agent.proxy("p", ["web", "absent", "elsewhere"])
            let elsewhere = try agent.own("elsewhere").with(namespace: "other")
            let entries = [try agent.own("web"), try agent.own("unnamed"), elsewhere]
            try await agent.withServer(entries, [named]) { _ in
                try await agent.attach { talk in
                    #expect(try await talk.trust().granted == ["spiffe://example.org/web"])
                    let state = try await talk.state()
                    #expect(state.identities.map(\.spiffeID) == ["spiffe://example.org/web"])
                }
            }
        }
    }

    @Test func `an entry that is deleted is taken back at once`() async throws {
        try await ServingAgent.run { agent in
            let proxy = try agent.proxy("p", ["web"])
            try await agent.withServer([agent.own("web")], [proxy]) { _ in
                try await agent.attach { talk in
                    _ = try await talk.state()
                    _ = agent.receive([
                        agent.world.delta(1, 2, [.remove(ResourceKey(.entry, "entry-web"))])
                    ])
                    #expect(try await talk.trust().granted == [])
                    #expect(try await talk.state().identities == [])
                }
            }
        }
    }

    @Test func `a Proxy that is deleted, or means somebody else, ends the stream`() async throws {
        try await ServingAgent.run { agent in
            let proxy = try agent.proxy("p", ["web"])
            try await agent.withServer([agent.own("web")], [proxy]) { reports in
                let changed = await reason {
                    try await agent.attach { talk in
                        _ = try await talk.state()
                        let other = try agent.proxy(
                            "p",
                            ["web"],
                            selectors: ["unix:uid:\(getuid())", "unix:uid:4242"]
                        )
                        _ = agent.receive([try agent.put(other, 1)])
                        try await talk.end()
                    }
                }
                #expect(changed == "selectorsChanged")
                _ = agent.receive([try agent.put(proxy, 2)])
                let gone = await reason {
                    try await agent.attach { talk in
                        _ = try await talk.state()
                        _ = agent.receive([
                            agent.world.delta(3, 4, [.remove(ResourceKey(.proxy, "default/p"))])
                        ])
                        try await talk.end()
                    }
                }
                #expect(gone == "proxyGone")
                // The keys are forgotten, but whoever left with them is told of.
                #expect(agent.core.ask { $0.cache.svidCount } == 1)
                let report = try await reports.until { $0.allSatisfy { !$0.isAttached } }
                #expect(report.map(\.proxy) == ["default/p"])
            }
        }
    }

    // MARK: What changes

    @Test func `a rotation is told as a whole state, what changes nothing as a watermark`()
        async throws
    {
        try await ServingAgent.run { agent in
            let proxy = try agent.proxy("p", ["web"])
            try await agent.withServer([agent.own("web")], [proxy]) { reports in
                try await agent.attach { talk in
                    let first = try await talk.state()
                    let other = try agent.world.entry("other", workload: ["unix:uid:4242"])
                    _ = agent.receive([try agent.put(other, 1)])
                    #expect(try await talk.watermark() == 2)
                    let number = try await reports.until { $0.first?.applied?.number == 2 }
                    #expect(number.map(\.isAttached) == [true])
                    // A change that asks for a new certificate.
                    _ = agent.receive([try agent.put(try agent.own("web").with(ttl: 600), 2)])
                    let second = try await talk.state()
                    #expect(second.sequence == 2)
                    #expect(second.proxy == first.proxy)
                    #expect(
                        second.identities[0].certificateChain
                            != first.identities[0].certificateChain
                    )
                }
            }
        }
    }

    @Test func `a refused state is reported, and the next one is told`() async throws {
        try await ServingAgent.run { agent in
            let proxy = try agent.proxy("p", ["web"])
            try await agent.withServer([agent.own("web")], [proxy]) { reports in
                try await agent.attach { talk in
                    _ = try await talk.state()
                    _ = agent.receive([
                        try agent.put(try agent.proxy("p", ["web"], policies: [[9]]), 1)
                    ])
                    guard case .state(let state) = try await talk.next().message else {
                        Issue.record("no state")
                        return
                    }
                    talk.answer(state.sequence, refusing: "policy 0: unknown condition")
                    let report = try await reports.until { $0.first?.refused != nil }
                    #expect(report[0].refused?.number == 2)
                    #expect(report[0].refusedReason == "policy 0: unknown condition")
                    #expect(report[0].applied?.number == 1)
                    _ = agent.receive([try agent.put(proxy, 2)])
                    #expect(try await talk.state().sequence == 3)
                    let mended = try await reports.until { $0.first?.refused == nil }
                    #expect(mended[0].applied?.number == 3)
                }
            }
        }
    }

    @Test func `a revocation is told at once, and the key is signed anew`() async throws {
        try await ServingAgent.run { agent in
            let proxy = try agent.proxy("p", ["web"])
            try await agent.withServer([agent.own("web")], [proxy]) { _ in
                try await agent.attach { talk in
                    let first = try await talk.state()
                    let id = try SPIFFEID("spiffe://example.org/web")
                    let before = agent.core.clock.wallTime.timeIntervalSince1970.rounded(.up)
                    let revocation = try ResourcePayload.revocation(
                        name: "web",
                        .identity(id, issuedBefore: Date(timeIntervalSince1970: before))
                    ).resource
                    _ = agent.receive([
                        agent.world.delta(
                            1,
                            2,
                            [.upsert(revocation.key, payload: revocation.payload)]
                        )
                    ])
                    let trust = try await talk.trust()
                    #expect(
                        trust.revocations.map(\.identity.issuedBeforeUnixSeconds)
                            == [Int64(before)]
                    )
                    var next = try await talk.state()
                    // Without a key first, unless the new one came meanwhile.
                    while next.identities[0].certificateChain.isEmpty {
                        next = try await talk.state()
                    }
                    #expect(
                        next.identities[0].certificateChain != first.identities[0].certificateChain
                    )
                }
            }
        }
    }

    private func reason(_ body: () async throws -> Void) async -> String {
        do {
            try await body()
            return "ended"
        } catch let error as RPCError {
            return APIError(error).reason
        } catch {
            return "\(error)"
        }
    }
}
