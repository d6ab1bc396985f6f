// SPDX-License-Identifier: Apache-2.0

import CAServer
import ControlAPI
import ControlAPIProtos
import FoundationEssentials
import Issuance
import NodeAttestation
import NodeSync
import SPIFFE
import SwiftProtobuf
import Synchronization
import Telemetry
import Testing

/// A value that tasks share.
private final class Shared<Value: Sendable>: Sendable {
    private let content: Mutex<Value>

    init(_ value: Value) {
        content = Mutex(value)
    }

    var value: Value {
        get { content.withLock { $0 } }
        set { content.withLock { $0 = newValue } }
    }
}

/// An authority for SVIDs of 100 s has to live 600 s; here time passes when the test says so.
@Suite(.timeLimit(.minutes(2)))
struct RotationTests {
    private static func shorten(_ configuration: inout ServerConfiguration) {
        do {
            configuration.lifetimes = try SVIDLifetimes(
                workload: .seconds(100),
                agent: .seconds(100),
                server: .seconds(100),
                authority: .seconds(600)
            )
        } catch {
            Issue.record(error)
        }
        configuration.attestationsPerSecond = 100
    }

    /// Half the life of an authority: when the next one is prepared.
    private static let halfLife: Duration = .seconds(300)
    /// Until the last moment at which the next one begins to sign: 600 - max(600/6, 2 x 100) s.
    private static let lastMoment: Duration = .seconds(400)

    /// Reads the agent's stream, and acknowledges each bundle once it is in `bundle`.
    private static func follow(
        _ server: TestServer,
        _ agent: Shared<TestAgent>,
        _ bundle: Shared<TrustBundle?>
    ) async {
        while !Task.isCancelled {
            // A stream ends with the certificate it was opened with; then comes the next.
            _ = await refusal {
                try await server.withSync(as: agent.value) { sync in
                    let (revision, resources) = try await sync.snapshot()
                    for case .bundle(let received) in resources.values { bundle.value = received }
                    sync.acknowledge(revision)
                    while true {
                        let delta = try await sync.delta()
                        for case .upsert(let key, let payload) in delta.changes {
                            if case .bundle(let received) = try ResourcePayload(key, payload) {
                                bundle.value = received
                            }
                        }
                        sync.acknowledge(delta.toRevision)
                    }
                }
            }
        }
    }

    /// The authorities in a state, as the server shows them.
    private func authorities(_ state: String, _ server: TestServer) async throws -> [String] {
        try await server.administration.listAuthorities(.init()).authorities
            .filter { $0.state == state }.map(\.id)
    }

    /// Lets time pass; the server has renewed its own certificate then.
    private func pass(
        _ duration: Duration,
        _ server: TestServer,
        _ clock: ShiftedClock
    ) async throws {
        clock.pass(duration)
        try await eventually("the server shows a certificate that is valid") {
            let call = await refusal {
                try await server.anonymously { client in
                    try await Attestation.Client(wrapping: client).getBundle(.init())
                }
            }
            return call == nil
        }
    }

    private func prepare(_ server: TestServer, _ clock: ShiftedClock) async throws -> String {
        try await pass(Self.halfLife, server, clock)
        try await eventually("the next authority is published") {
            let prepared = try await authorities("prepared", server)
            return prepared.count == 1
        }
        return try #require(try await authorities("prepared", server).first)
    }

    private func requireActive(_ id: String, _ server: TestServer) async throws {
        try await eventually("the next authority signs") {
            let active = try await authorities("active", server)
            return active == [id]
        }
    }

    @Test func `agents have every authority before it signs, through two rotations`() async throws {
        let clock = ShiftedClock()
        try await withServer(clock: clock, Self.shorten) { server in
            let first = try await server.agent("web-1", selectors: ["role:web"])
            let agent = Shared(first)
            let bundle = Shared<TrustBundle?>(nil)
            let entry = try await server.register("web")
            let request = try signingRequest(entry: entry, spiffeID: "spiffe://example.org/web")
            var signers: Set<[UInt8]> = []
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask { await Self.follow(server, agent, bundle) }
                while signers.count < 3 {
                    agent.value = try await server.readmit("web-1", key: first.key)
                    let newest = try server.core.trust.bundle.sequenceNumber
                    try await eventually("the agent has the bundle") {
                        bundle.value?.sequenceNumber == newest
                            && server.core.hub.appliedState(of: newest, amongAll: true)
                                .waiting.isEmpty
                    }
                    let has = try #require(bundle.value)
                    let results = try await server.sign([request], as: agent.value)
                    let chain = [Array(try #require(results.first).signed.certificateChain[0])]
                    let leaf = try LeafCertificate(der: chain[0])
                    // What the agent had before it asked is enough for what it was given.
                    _ = try await PeerVerifier(bundles: [has.trustDomain: has])
                        .verify(chain: chain, now: leaf.notAfter)
                    signers.insert(try #require(leaf.authorityKeyID))
                    try await pass(.seconds(15), server, clock)
                }
                group.cancelAll()
            }
            for event in ["authorityPrepared", "authorityActivated", "authorityRetired"] {
                let records = try await server.records(event)
                #expect(records.count >= 2, "\(event)")
                #expect(records.allSatisfy { !$0.contains("web-1") }, "nobody was missing")
            }
            try await eventually("the first authority is removed") {
                clock.pass(.seconds(15))
                let removed = try await server.records("authorityRemoved")
                return !removed.isEmpty
            }
            try await server.requireIntactLog()
        }
    }

    @Test func `a new authority is published for 30 s before it signs`() async throws {
        let clock = ShiftedClock()
        try await withServer(clock: clock, Self.shorten) { server in
            let next = try await prepare(server, clock)
            // Nobody has to be waited for, and yet it waits.
            clock.pass(AuthorityRotation.publicationHold - .seconds(20))
            let early = try await authorities("prepared", server)
            #expect(early == [next])
            clock.pass(.seconds(20))
            try await requireActive(next, server)
        }
    }

    @Test func `an agent that is away delays a rotation to its last moment, and is named`()
        async throws
    {
        let clock = ShiftedClock()
        try await withServer(clock: clock, Self.shorten) { server in
            let agent = try await server.agent("web-1", selectors: ["role:web"])
            // Its stream was open, so it is waited for; it never acknowledges the next bundle.
            try await server.withSync(as: agent) { sync in
                sync.acknowledge(try await sync.snapshot().revision)
            }
            let next = try await prepare(server, clock)
            try await eventually("the metric shows who is missing") {
                server.core.metrics.exposition()
                    .contains("\nsignet_server_rotation_agents_missing 1\n")
            }
            clock.pass(Self.lastMoment - Self.halfLife - .seconds(20))
            let waiting = try await authorities("prepared", server)
            #expect(waiting == [next])
            clock.pass(.seconds(20))
            try await requireActive(next, server)
            let activations = try await server.records("authorityActivated")
            #expect(activations[0].contains("/signet/agent/web-1"))
            try await eventually("nobody is missing any more") {
                server.core.metrics.exposition()
                    .contains("\nsignet_server_rotation_agents_missing 0\n")
            }
        }
    }

    @Test func `agents at work are waited for after a restart of the server`() async throws {
        let directory = try TestDirectory()
        let clock = ShiftedClock()
        let agent = try await withServer(in: directory, clock: clock, Self.shorten) { server in
            let agent = try await server.agent("web-1", selectors: ["role:web"])
            try await pass(.seconds(250), server, clock)
            return try await server.readmit("web-1", key: agent.key)
        }
        try await withServer(in: directory, clock: clock, Self.shorten) { server in
            try await pass(.seconds(50), server, clock)
            try await eventually("the next authority is published") {
                let prepared = try await authorities("prepared", server)
                return prepared.count == 1
            }
            let next = try #require(try await authorities("prepared", server).first)
            try await pass(AuthorityRotation.publicationHold + .seconds(20), server, clock)
            // It has not come back yet.
            let waiting = try await authorities("prepared", server)
            #expect(waiting == [next])
            let again = try await server.readmit("web-1", key: agent.key)
            try await server.withSync(as: again) { sync in
                sync.acknowledge(try await sync.snapshot().revision)
                try await requireActive(next, server)
            }
            let activations = try await server.records("authorityActivated")
            #expect(!activations[0].contains("/signet/agent/web-1"))
        }
    }

    @Test func `what the old authority signed stays valid after the change`() async throws {
        let clock = ShiftedClock()
        try await withServer(clock: clock, Self.shorten) { server in
            let first = try server.core.trust.bundle.x509Authorities
            let next = try await prepare(server, clock)
            let old = try await server.agent("agent-1")
            // It is live and has no bundle, so it is waited for until the last moment.
            try await pass(Self.lastMoment - Self.halfLife, server, clock)
            try await requireActive(next, server)
            let new = try await server.agent("agent-2")
            #expect(try new.leaf.authorityKeyID != old.leaf.authorityKeyID)
            let second = try server.core.trust.bundle
            let peer = try await PeerVerifier(bundles: [second.trustDomain: second])
                .verify(chain: old.chain, now: old.leaf.notAfter)
            #expect(peer.id.path == "/signet/agent/agent-1")
            #expect(second.x509Authorities.count == 2)
            #expect(Set(second.x509Authorities).isSuperset(of: first))
        }
    }

    @Test func `who asks in the moment of the change is signed for by the new authority`()
        async throws
    {
        let clock = ShiftedClock()
        try await withServer(clock: clock, Self.shorten) { server in
            let entry = try await server.register("web")
            let request = try signingRequest(entry: entry, spiffeID: "spiffe://example.org/web")
            let token = try await server.token("web-2")
            let next = try await prepare(server, clock)
            // Somebody is waited for until the last moment.
            _ = try await server.agent("away")
            try await pass(Self.lastMoment - Self.halfLife - .seconds(20), server, clock)
            let agent = try await server.agent("web-1", selectors: ["role:web"])
            // All was prepared by the old authority when the new one begins to sign.
            try await server.holdingWrites { writes in
                clock.pass(.seconds(20))
                try await writes.queued(1)
                async let signed = server.sign([request], as: agent)
                async let admitted = server.attest("web-2", secret: token.secret)
                async let renewed = server.renew(agent, key: agent.key)
                try await writes.queued(4)
                writes.release()
                let leaves = [
                    try LeafCertificate(der: Array(try await signed[0].signed.certificateChain[0])),
                    try await admitted.leaf, try await renewed.leaf,
                ]
                for leaf in leaves {
                    let authority = try #require(leaf.authorityKeyID)
                    #expect(next == hexadecimal(authority))
                }
            }
        }
    }
}
