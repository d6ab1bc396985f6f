// SPDX-License-Identifier: Apache-2.0

import Authorization
import ControlAPIProtos
import Crypto
import Foundation
import HTTPSemantics
import MTLSProxy
import NodeSync
import Reactor
import Routing
import SPIFFE
import SwiftProtobuf
import Synchronization
import Telemetry
import TestPKI
import Testing

/// What of many decisions the agent is told for the decision log.
struct DecisionTellingTests {
    private static let instance: UInt64 = 7
    private let policies: CompiledPolicySet
    private let telling: DecisionTelling
    private let epoch: Epoch

    init() throws {
        let root = try TestAuthority.root("example.org", now: Date())
        let leaf = try root.leaf(World.backendID)
        let identity = TLSIdentity(
            chain: leaf.chain,
            privateKeyPKCS8: Array(leaf.key.derRepresentation)
        )
        policies = try CompiledPolicySet([World.allow()])
        let listener = InboundListener(
            name: "in",
            address: try World.freeAddress(),
            identity: try SPIFFEID(World.backendID),
            trafficProtocol: .http,
            forward: .address(try World.freeAddress()),
            forwardUIDs: [0],
            workloadPort: 80
        )
        let route = InboundRoute(
            listener: listener,
            context: try TLSContext(
                provider: .boringSSL,
                role: .server,
                identities: [identity]
            ),
            requirements: PeerRequirements(
                authorities: TLSAuthorities(
                    provider: .boringSSL,
                    bundles: [root.trustDomain: root.bundle]
                ),
                in: root.trustDomain,
                revocations: .none,
                expected: nil
            ),
            policies: policies
        )
        var generator = SystemRandomNumberGenerator()
        epoch = Epoch(using: &generator)
        let memory = DecisionMemory()
        memory.remember(
            ProxySnapshot(generation: 1, revision: 3, inbound: [route], outbound: []),
            revision: Revision(epoch: epoch, number: 3)
        )
        telling = DecisionTelling(memory: memory, metrics: MetricRegistry(of: .proxy))
    }

    private func record(
        _ number: UInt64,
        of peer: String,
        path: String = "/",
        revision: UInt64 = 3
    ) throws -> ProxyRecord {
        let id = try SPIFFEID(peer)
        let address = try #require(IPAddress("192.0.2.1"))
        let access = policies.access(of: id, in: id.trustDomain, at: address, port: 80)
        let decision = policies.decide(access)
        var record = ProxyRecord(
            decision,
            id: DecisionID(
                instance: Self.instance,
                revision: revision,
                worker: 0,
                count: number
            ),
            kind: .request,
            time: 1_000,
            listener: "in",
            peer: id,
            address: address,
            revision: revision
        )
        record.path = path
        record.isSample = decision.isAllowed
        return record
    }

    private func denials(of peers: Int, each count: Int) throws -> [ProxyRecord] {
        try (0..<peers * count).map { number in
            try record(UInt64(number), of: "spiffe://example.org/other/\(number % peers)")
        }
    }

    @Test func `of one peer 100 denials a second are told, and the rest is counted`() throws {
        let flood = try denials(of: 1, each: 150)
        let other = try (0..<20).map { try record(1_000 + $0, of: "spiffe://example.org/b") }
        let messages = telling.messages(of: flood + other, lost: 4, now: .seconds(9))
        let message = try #require(messages.first)
        #expect(messages.count == 1)
        #expect(message.denials.count == DecisionTelling.denialsPerCauseMax + 20)
        #expect(message.dropped == 54)
        // The next second has its own hundred.
        let next = telling.messages(of: flood, lost: 0, now: .seconds(10))
        #expect(next.first?.denials.count == DecisionTelling.denialsPerCauseMax)
    }

    @Test func `of all peers 1,000 denials a second are told, in messages that an agent takes`()
        throws
    {
        let messages = telling.messages(of: try denials(of: 60, each: 50), lost: 0, now: .zero)
        #expect(messages.reduce(0) { $0 + $1.denials.count } == DecisionTelling.denialsMax)
        #expect(messages.reduce(0) { $0 + $1.dropped } == 2_000)
        for message in messages {
            let bytes: [UInt8] = try message.serializedBytes()
            #expect(bytes.count <= DecisionTelling.messageBytesMax)
        }
    }

    @Test func `what is told has names, no account of rules, and a path without its tail`() throws {
        let long = "/" + String(repeating: "a", count: 5_000)
        let records = [
            try record(1, of: "spiffe://example.org/b", path: long),
            try record(2, of: World.webID),
            // Its snapshot is not known.
            try record(3, of: World.webID, revision: 2),
        ]
        let messages = telling.messages(of: records, lost: 0, now: .zero)
        let message = try #require(messages.first)
        #expect(message.dropped == 1)
        let denial = try #require(message.denials.first)
        #expect(denial.rules.isEmpty)
        #expect(denial.reason == "noMatch")
        #expect(denial.rule == -1)
        #expect(!denial.nearestMiss.isEmpty)
        #expect(denial.path.utf8.count == 1_024)
        #expect(denial.identity == World.backendID)
        #expect(Array(denial.revision.epoch) == epoch.bytes)
        let sample = try #require(message.samples.first)
        #expect(sample.allowed)
        #expect(sample.policyNamespace == "default")
        #expect(sample.policy == "p")
        #expect(sample.rule == 0)
        #expect(sample.port == 80)
    }

    @Test func `records that nobody takes in time are dropped and counted, a log's before denials`()
        throws
    {
        let calls = Mutex(0)
        let queue = RecordQueue { calls.withLock { $0 += 1 } }
        var answers = Array(
            repeating: try record(1, of: World.webID),
            count: RecordQueue.recordsMax
        )
        for place in answers.indices { answers[place].isSample = false }
        let answered = UInt64(answers.count)
        #expect(queue.add(&answers) == answered - UInt64(RecordQueue.accessRecordsMax))
        #expect(answers.isEmpty)
        var denied = try denials(of: 1, each: RecordQueue.recordsMax)
        let room = RecordQueue.recordsMax - RecordQueue.accessRecordsMax
        #expect(queue.add(&denied) == UInt64(RecordQueue.recordsMax - room))
        let taken = queue.take()
        #expect(taken.records.count == RecordQueue.recordsMax)
        #expect(taken.dropped == UInt64(RecordQueue.recordsMax - room))
        #expect(taken.accessDropped == answered - UInt64(RecordQueue.accessRecordsMax))
        #expect(queue.take().dropped == 0)
        // The reader is called once for each time that there are many.
        #expect(calls.withLock { $0 } == 1)
        var few = try denials(of: 1, each: 10)
        _ = queue.add(&few)
        #expect(calls.withLock { $0 } == 1)
        var many = try denials(of: 1, each: RecordQueue.recordsMax)
        _ = queue.add(&many)
        #expect(calls.withLock { $0 } == 2)
    }

    @Test func `counts are split into messages that an agent takes`() {
        let counts = (0..<2 * DecisionTelling.countsMax + 1).map { number in
            Signet_Proxy_V1alpha1_DecisionCount.with { $0.count = UInt64(number) }
        }
        let messages = DecisionTelling.messages(of: counts)
        #expect(messages.map(\.counts.count) == [1_000, 1_000, 1])
        #expect(messages.flatMap(\.counts) == counts)
    }
}
