// SPDX-License-Identifier: Apache-2.0

import ControlAPI
import ControlAPIProtos
import Foundation
import MTLSProxy
import NodeSync
import Routing
import SPIFFE
import SwiftProtobuf
import Telemetry
import Testing

/// The proxy's end of its stream, over a real Unix socket.
@Suite(.timeLimit(.minutes(1)))
struct AgentLinkTests {
    @Test func `it says who it is, takes trust and a state, and answers`() async throws {
        try await LinkWorld.run(proxy: "default/p") { world in
            let (streams, events) = (Reader(world.streams), Reader(world.engine.events))
            let agent = try await streams.next()
            let said = Reader(agent.said)
            let hello = try await said.next().hello
            #expect(hello.proxy == "default/p")
            #expect(Array(hello.instance) == [5, 4, 3, 2, 1])
            #expect(hello.version == SignetVersion.current)
            #expect(!world.health.report(.ready).isHealthy)
            try await agent.say(world.trust())
            let trust = try await events.trusted()
            #expect(trust.trustDomain.name == "example.org")
            #expect(trust.bundles[trust.trustDomain] == world.bundle())
            #expect(trust.granted.map(\.path) == ["/web"])
            try await agent.say(world.state(1, number: 7))
            let configuration = try await events.applied()
            #expect(configuration.revision == Revision(epoch: world.epoch, number: 7))
            #expect(configuration.state == (try LinkWorld.declared()))
            let identity = try #require(configuration.identities.values.first)
            #expect(identity.id.path == "/web")
            #expect(!"\(identity)".contains("privateKey"))
            let answer = try await said.answer()
            #expect(answer.sequence == 1)
            #expect(answer.refusedReason == "")
            #expect(world.health.report(.ready).isHealthy)
            #expect(world.link.silence != nil)
            let page = world.metrics.exposition()
            #expect(page.contains("signet_proxy_state_revision 7\n"))
            #expect(page.contains("signet_proxy_states_total{result=\"applied\"} 1\n"))
        }
    }

    /// Each case is a state that must not come into force.
    static let unreadable: [(reason: String, make: @Sendable (LinkWorld) throws -> AgentMessage)] =
        [
            (
                "not a ProxyState",
                { world in
                    var message = try world.state(1)
                    message.state.proxy = Data([0xFF])
                    return message
                }
            ),
            (
                "does not know",
                { world in
                    var message = try world.state(1)
                    message.state.proxy += [0xB8, 0x3E, 0x01]
                    return message
                }
            ),
            (
                "is not the proxy's",
                { world in try world.state(1, identities: [try world.identity("other")]) }
            ),
            (
                "comes twice",
                { world in
                    let one = try world.identity("web")
                    return try world.state(1, identities: [one, one])
                }
            ),
            (
                "without the other",
                { world in
                    var one = try world.identity("web")
                    one.privateKeyPkcs8 = Data()
                    return try world.state(1, identities: [one])
                }
            ),
            (
                "is not that of",
                { world in
                    var one = try world.identity("other")
                    one.spiffeID = "spiffe://example.org/web"
                    return try world.state(1, identities: [one])
                }
            ),
            (
                "too large",
                { world in
                    var one = try world.identity("web")
                    one.certificateChain = Array(repeating: one.certificateChain[0], count: 5)
                    return try world.state(1, identities: [one])
                }
            ),
        ]

    @Test(arguments: unreadable.indices)
    func `a state that cannot be read whole is refused, and trust is obeyed all the same`(
        _ index: Int
    ) async throws {
        try await LinkWorld.run { world in
            let (streams, events) = (Reader(world.streams), Reader(world.engine.events))
            let agent = try await streams.next()
            let said = Reader(agent.said)
            try await agent.say(world.trust())
            try await agent.say(Self.unreadable[index].make(world))
            let answer = try await said.answer()
            #expect(answer.sequence == 1)
            #expect(answer.refusedReason.contains(Self.unreadable[index].reason), "\(answer)")
            #expect(!world.health.report(.ready).isHealthy)
            // What is taken away is taken away, and a state that can be read comes into force.
            try await agent.say(world.trust(granted: []))
            _ = try await events.trusted()
            #expect(try await events.trusted().granted == [])
            try await agent.say(world.state(2))
            #expect(try await events.applied().identities == [:])
            #expect(try await said.answer().refusedReason == "")
        }
    }

    @Test func `the engine's refusal is told, and the last state stays`() async throws {
        let engine = RecordingEngine(refusing: { $0.revision.number == 2 ? "no such rule" : nil })
        try await LinkWorld.run(engine: engine) { world in
            let (streams, events) = (Reader(world.streams), Reader(world.engine.events))
            let agent = try await streams.next()
            let said = Reader(agent.said)
            try await agent.say(world.trust())
            try await agent.say(world.state(1))
            #expect(try await said.answer().refusedReason == "")
            try await agent.say(world.state(2, number: 2))
            #expect(try await said.answer().refusedReason == "no such rule")
            #expect(world.health.report(.ready).isHealthy)
            // The refused revision was never in force, so an earlier one is no step back.
            try await agent.say(world.state(3, number: 1))
            #expect(try await said.answer().refusedReason == "")
            #expect(try await events.applied().sequence == 1)
            #expect(try await events.applied().sequence == 3)
        }
    }

    /// How a state is refused: it cannot be read, it is of an older revision, the engine refuses it.
    static let refusals: [@Sendable (inout AgentMessage, LinkWorld) -> Void] = [
        { message, _ in message.state.proxy = Data([0xFF]) },
        { message, world in
            message.state.revision = Revision(epoch: world.epoch, number: 1).message
        },
        { message, world in
            message.state.revision = Revision(epoch: world.epoch, number: 99).message
        },
    ]

    @Test(arguments: refusals.indices)
    func `the last good state goes on with the keys of one that is refused`(
        _ index: Int
    ) async throws {
        let engine = RecordingEngine(refusing: { $0.revision.number == 99 ? "no" : nil })
        try await LinkWorld.run(engine: engine) { world in
            let (streams, events) = (Reader(world.streams), Reader(world.engine.events))
            let agent = try await streams.next()
            let said = Reader(agent.said)
            try await agent.say(world.trust(granted: ["web", "other"]))
            try await agent.say(world.state(1, number: 5))
            let first = try await events.applied()
            let new = [try world.identity("web", longerBy: 60), try world.identity("other")]
            var refused = try world.state(
                2,
                number: 6,
                declared: try LinkWorld.declared(["web", "other"]),
                identities: new
            )
            Self.refusals[index](&refused, world)
            try await agent.say(refused)
            #expect(try await said.answer().refusedReason == "")
            #expect(try await said.answer().refusedReason != "")
            let renewed = try await events.applied()
            #expect(renewed.revision == first.revision)
            #expect(renewed.state == first.state)
            // What the last good state does not name is not presented.
            #expect(renewed.identities.keys.map(\.path) == ["/web"])
            let key = renewed.identities.values.first?.privateKeyPKCS8
            #expect(key == Array(new[0].privateKeyPkcs8))
            // A key that ends no later changes nothing.
            var older = try world.state(
                3,
                number: 6,
                declared: try LinkWorld.declared(["web", "other"]),
                identities: [try world.identity("web")]
            )
            Self.refusals[index](&older, world)
            try await agent.say(older)
            #expect(try await said.answer().refusedReason != "")
            try await agent.say(world.state(4, number: 7))
            #expect(try await events.applied().sequence == 4)
        }
    }

    @Test func `a lower revision is refused, unless the epoch is another`() async throws {
        try await LinkWorld.run { world in
            let (streams, events) = (Reader(world.streams), Reader(world.engine.events))
            let agent = try await streams.next()
            let said = Reader(agent.said)
            try await agent.say(world.trust())
            try await agent.say(world.state(1, number: 5))
            _ = try await said.answer()
            let other = try LinkWorld.declared(["web", "other"])
            try await agent.say(world.state(2, number: 4, declared: other))
            #expect(try await said.answer().refusedReason.contains("below 5"))
            // A watermark raises what is in force.
            try await agent.say(
                .with {
                    $0.watermark.revision = Revision(epoch: world.epoch, number: 9).message
                }
            )
            try await agent.say(world.state(3, number: 8, declared: other))
            #expect(try await said.answer().refusedReason.contains("below 9"))
            // The same state of an earlier revision is no step back, and is none of it.
            try await agent.say(world.state(4, number: 8))
            #expect(try await said.answer().refusedReason == "")
            #expect(try await events.applied().sequence == 1)
            #expect(try await events.applied().revision.number == 9)
            let epoch = try Epoch(bytes: [UInt8](repeating: 4, count: 16))
            try await agent.say(world.state(5, number: 1, epoch: epoch))
            #expect(try await said.answer().refusedReason == "")
        }
    }

    @Test func `a state without a key keeps the proxy's own, until it is not granted`() async throws
    {
        try await LinkWorld.run { world in
            let (streams, events) = (Reader(world.streams), Reader(world.engine.events))
            let agent = try await streams.next()
            let said = Reader(agent.said)
            try await agent.say(world.trust())
            let keyless = [try world.identity("web", hasKey: false)]
            try await agent.say(world.state(1, identities: keyless))
            #expect(try await events.applied().identities == [:])
            // The next state follows an answer, as an agent does it.
            _ = try await said.answer()
            try await agent.say(world.state(2))
            let first = try await events.applied().identities
            #expect(first.count == 1)
            _ = try await said.answer()
            try await agent.say(world.state(3, identities: keyless))
            #expect(try await events.applied().identities == first)
            _ = try await said.answer()
            try await agent.say(world.trust(granted: []))
            try await agent.say(world.trust())
            try await agent.say(world.state(4, identities: keyless))
            #expect(try await events.applied().identities == [:])
        }
    }

    @Test func `the proxy's own certificate is revoked like a peer's, and for good`() async throws {
        try await LinkWorld.run { world in
            let (streams, events) = (Reader(world.streams), Reader(world.engine.events))
            let agent = try await streams.next()
            let identity = try world.identity("web")
            let leaf = try LeafCertificate(der: Array(identity.certificateChain[0]))
            let issued = leaf.notBefore.addingTimeInterval(60)
            try await agent.say(world.trust(revoked: ["web": issued]))
            try await agent.say(world.state(1, identities: [identity]))
            #expect(try await events.applied().identities.count == 1, "issued in that second")
            try await agent.say(world.trust(revoked: ["web": issued.addingTimeInterval(1)]))
            try await agent.say(world.state(2, identities: [identity]))
            #expect(try await events.applied().identities == [:])
            // An agent that knows nothing of it any more does not bring it back.
            try await agent.say(world.trust())
            let trust = try await events.trusted()
            #expect(trust.revokes(try #require(leaf.spiffeID), leafNotBefore: leaf.notBefore))
            try await agent.say(world.state(3, identities: [identity]))
            #expect(try await events.applied().identities == [:])
        }
    }

    @Test func `trust that comes while a state is brought into force is told again after it`()
        async throws
    {
        let (started, startOutlet) = AsyncStream.makeStream(of: Void.self)
        let (go, goOutlet) = AsyncStream.makeStream(of: Void.self)
        let engine = RecordingEngine(applying: { _ in
            startOutlet.finish()
            for await _ in go {}
        })
        try await LinkWorld.run(engine: engine) { world in
            let (streams, events) = (Reader(world.streams), Reader(world.engine.events))
            let agent = try await streams.next()
            try await agent.say(world.trust())
            try await agent.say(world.state(1))
            for await _ in started {}
            try await agent.say(world.trust(granted: []))
            _ = try await events.trusted()
            // It waits for nothing.
            #expect(try await events.trusted().granted == [])
            goOutlet.finish()
            #expect(try await events.applied().identities.count == 1)
            #expect(try await events.trusted().granted == [])
        }
    }

    @Test func `an agent that breaks the protocol is left, and found again`() async throws {
        try await LinkWorld.run { world in
            let streams = Reader(world.streams)
            let broken: [@Sendable (AgentTalk) async throws -> Void] = [
                { try await $0.say(world.state(1)) },
                {
                    try await $0.say(world.trust())
                    try await $0.say(world.state(2))
                },
                { try await $0.say(AgentMessage()) },
                {
                    var trust = try world.trust()
                    trust.trust.bundles = []
                    try await $0.say(trust)
                },
            ]
            for attack in broken {
                let agent = try await streams.next()
                try await attack(agent)
                for await _ in agent.said {}
            }
            let agent = try await streams.next()
            try await agent.say(world.trust())
            try await agent.say(world.state(1))
            #expect(try await Reader(agent.said).answer().refusedReason == "")
        }
    }

    @Test func `while the agent is away the state stays, and it is told again where it listens`()
        async throws
    {
        try await LinkWorld.run { world in
            let (streams, events) = (Reader(world.streams), Reader(world.engine.events))
            let agent = try await streams.next()
            try await agent.say(world.trust())
            try await agent.say(world.state(1, number: 5))
            let first = try await events.applied().identities
            world.link.listening([
                ProxyListening(
                    listener: "http",
                    identity: try SPIFFEID("spiffe://example.org/web"),
                    address: try #require(.init("192.0.2.1:443"))
                )
            ])
            let said = Reader(agent.said)
            while try await said.next().listening.listeners.isEmpty {}
            agent.end()
            let second = try await streams.next()
            let again = Reader(second.said)
            #expect(try await again.next().hello.version == SignetVersion.current)
            #expect(try await again.next().listening.listeners.map(\.listener) == ["http"])
            #expect(world.health.report(.ready).isHealthy)
            // Sequences begin anew; revision and keys are those from before.
            try await second.say(world.trust())
            let other = try LinkWorld.declared(["web", "other"])
            try await second.say(world.state(1, number: 4, declared: other))
            #expect(try await again.answer().refusedReason.contains("below 5"))
            try await second.say(
                world.state(2, number: 5, identities: [try world.identity("web", hasKey: false)])
            )
            #expect(try await events.applied().identities == first)
        }
    }

    @Test func `a process whose Proxy is gone serves nothing, whatever of its stream ends first`()
        async throws
    {
        try await LinkWorld.run { world in
            let (streams, events) = (Reader(world.streams), Reader(world.engine.events))
            // The end of the stream and that of its states are told by two tasks.
            for _ in 0..<10 {
                let agent = try await streams.next()
                try await agent.say(world.trust())
                #expect(try await events.trusted().granted.map(\.path) == ["/web"])
                agent.refuse(APIError(.permissionDenied, "proxyGone", "forget its keys"))
                #expect(try await events.trusted().granted == [])
            }
        }
    }

    @Test func `questions are answered with their limit, unknown ones refused`() async throws {
        try await LinkWorld.run { world in
            let streams = Reader(world.streams)
            let agent = try await streams.next()
            let said = Reader(agent.said)
            _ = try await said.next()
            try await agent.say(
                .with {
                    $0.question.id = 3
                    $0.question.limit = 9
                    $0.question.query.counters = .init()
                }
            )
            let answer = try await said.next().queryAnswer
            #expect(answer.id == 3)
            #expect(answer.reply.counters.samples == ["limit": 9])
            try await agent.say(.with { $0.question.id = 4 })
            #expect(try await said.next().queryAnswer.reply.refusal.code == "queryUnknown")
        }
    }

    @Test func `a question that asks nothing is word of the agent, and breaks nothing`()
        async throws
    {
        try await LinkWorld.run { world in
            let streams = Reader(world.streams)
            let agent = try await streams.next()
            let said = Reader(agent.said)
            _ = try await said.next()
            #expect(world.link.silence == nil)
            try await agent.say(.with { $0.question = .init() })
            #expect(try await said.next().queryAnswer.id == 0)
            #expect(world.link.silence != nil)
            try await agent.say(world.trust())
            try await agent.say(world.state(1))
            #expect(try await said.answer().refusedReason == "")
        }
    }

    @Test func `records that nobody takes are dropped and counted`() async throws {
        try await LinkWorld.run { world in
            let streams = Reader(world.streams)
            let agent = try await streams.next()
            let said = Reader(agent.said)
            _ = try await said.next()
            for number in 0..<1_000 {
                world.link.record(
                    .with { $0.counts = [.with { $0.count = UInt64(number) }] }
                )
            }
            var (taken, dropped) = (0, UInt64(0))
            while UInt64(taken) + dropped < 1_000 {
                let records = try await said.next().records
                taken += records.counts.count
                dropped += records.dropped
                // The next one tells how many were lost.
                world.link.record(.init())
            }
            #expect(UInt64(taken) + dropped == 1_000)
            world.link.drain()
            while true { if case .draining = try await said.next().message { break } }
        }
    }
}
