// SPDX-License-Identifier: Apache-2.0

import CAServer
import ControlAPI
import ControlAPIProtos
import FoundationEssentials
import Issuance
import NodeSync
import SPIFFE
import SwiftProtobuf
import Synchronization
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

/// An authority for SVIDs of 100 s has to live 600 s; here it lives fifteen times as fast.
@Suite(.timeLimit(.minutes(3)))
struct RotationTests {
    private static let clockFactor = 15

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

    @Test func `agents have every authority before it signs, through two rotations`() async throws {
        try await withServer(clock: FastClock(factor: Self.clockFactor), Self.shorten) { server in
            let first = try await server.agent("web-1", selectors: ["role:web"])
            let agent = Shared(first)
            let bundle = Shared<TrustBundle?>(nil)
            let entry = try await server.register("web")
            let request = try signingRequest(entry: entry, spiffeID: "spiffe://example.org/web")
            var signers: Set<[UInt8]> = []
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask { await Self.follow(server, agent, bundle) }
                while signers.count < 3 {
                    // Certificates live some seconds: an attempt may come too late.
                    let back = try? await server.readmit("web-1", key: first.key)
                    agent.value = back ?? agent.value
                    guard let has = bundle.value,
                        let results = try? await server.sign([request], as: agent.value),
                        let der = results.first?.signed.certificateChain.first
                    else { continue }
                    let chain = [Array(der)]
                    let leaf = try LeafCertificate(der: chain[0])
                    // What the agent had before it asked is enough for what it was given.
                    _ = try await PeerVerifier(bundles: [has.trustDomain: has])
                        .verify(chain: chain, now: leaf.notAfter)
                    signers.insert(try #require(leaf.authorityKeyID))
                }
                group.cancelAll()
            }
            for event in ["authorityPrepared", "authorityActivated", "authorityRetired"] {
                let records = try await server.records(event)
                #expect(records.count >= 2, "\(event)")
                #expect(records.allSatisfy { !$0.contains("web-1") }, "nobody was missing")
            }
            try await eventually("the first authority is removed", attempts: 6000) {
                let removed = try await server.records("authorityRemoved")
                return !removed.isEmpty
            }
            try await server.requireIntactLog()
        }
    }

    @Test func `an agent that is away does not stop rotation, and is named`() async throws {
        try await withServer(clock: FastClock(factor: Self.clockFactor), Self.shorten) { server in
            let agent = try await server.agent("web-1", selectors: ["role:web"])
            // Its stream was open, so it is waited for; it never acknowledges the next bundle.
            try await server.withSync(as: agent) { sync in
                sync.acknowledge(try await sync.snapshot().revision)
            }
            try await eventually("the next authority signs", attempts: 6000) {
                let activations = try await server.records("authorityActivated")
                return activations.count >= 2
            }
            let activations = try await server.records("authorityActivated")
            #expect(activations[0].contains("/signet/agent/web-1"))
            let shown = try await server.administration.listAuthorities(.init()).authorities
            #expect(shown.count { $0.state == "active" } == 1)
        }
    }

    @Test func `what the old authority signed stays valid after the change`() async throws {
        try await withServer(clock: FastClock(factor: Self.clockFactor), Self.shorten) { server in
            let first = try server.core.trust.bundle.x509Authorities
            var last = try await server.agent("agent-0")
            var next = last
            var count = 0
            while try next.leaf.authorityKeyID == last.leaf.authorityKeyID {
                // Whoever asks in the moment of the change is told to ask again.
                guard let admitted = try? await server.agent("agent-\(count + 1)") else { continue }
                (last, next) = (next, admitted)
                count += 1
            }
            let second = try server.core.trust.bundle
            let peer = try await PeerVerifier(bundles: [second.trustDomain: second])
                .verify(chain: last.chain, now: last.leaf.notAfter)
            #expect(peer.id.path == "/signet/agent/agent-\(count - 1)")
            #expect(second.x509Authorities.count == 2)
            #expect(Set(second.x509Authorities).isSuperset(of: first))
        }
    }
}
