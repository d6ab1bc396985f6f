// SPDX-License-Identifier: Apache-2.0

import AuditLog
import CAServer
import ControlAPI
import ControlAPIProtos
import Crypto
import Datastore
import Foundation
import GRPCCore
import SPIFFE
import SwiftProtobuf
import Testing

extension TestServer {
    /// Renews an agent's certificate, and returns what came of the audit log.
    fileprivate func checkpoint(
        _ agent: TestAgent,
        _ have: Signet_Node_V1alpha1_CheckpointHave
    ) async throws -> Signet_Node_V1alpha1_CheckpointUpdate {
        let csr = try certificateRequest(agent.key)
        return try await authenticated(as: try agent.identity) { client in
            try await Node.Client(wrapping: client).renew(
                .with {
                    $0.csr = Data(csr)
                    $0.checkpointHave = have
                }
            ).checkpoint
        }
    }

    /// Opens a stream with a note, and reads the first answer.
    fileprivate func hello(_ agent: TestAgent, note: String) async throws {
        let (requests, say) = AsyncStream.makeStream(of: Signet_Node_V1alpha1_SyncRequest.self)
        say.yield(.with { $0.hello = .with { $0.checkpointHave = .with { $0.note = note } } })
        try await authenticated(as: try agent.identity) { client in
            try await Node.Client(wrapping: client).sync(
                requestProducer: { writer in
                    for await request in requests { try await writer.write(request) }
                },
                onResponse: { response in
                    defer { say.finish() }
                    for try await _ in response.messages { return }
                }
            )
        }
    }
}

/// `#require` of an optional within an asynchronous function frees what Swift 6.3 did not allocate
/// last.
private func required<Value>(_ value: Value?) throws -> Value { try #require(value) }

/// What agents are told of the log that a restore began, and what they tell of one that was set back
/// (docs/decisions/0022-backup-and-restore.md, "Agents").
@Suite(.timeLimit(.minutes(2)))
struct SuccessionTests {
    /// A restored server, what an agent has seen of the former log, and the agent.
    private struct Restored {
        let fixture: RestoreFixture
        let agent: TestAgent
        let seen: SignedCheckpoint
        /// Of the former log.
        let key: NoteVerifierKey
    }

    private static func restored() async throws -> Restored {
        let fixture = try RestoreFixture()
        let (agent, seen, key) = try await fixture.serving { server in
            let agent = try await server.agent("web-1")
            try await server.requireIntactLog()
            let seen = try required(server.core.audit.checkpoint)
            try await fixture.makeBackup(server)
            try await server.register("later")
            return (agent, seen, server.core.audit.key)
        }
        try await fixture.restore()
        try await withHeldServer(in: fixture.directory) { server in
            _ = try await server.recover(now: true)
            #expect(await server.port() != nil)
        }
        return Restored(fixture: fixture, agent: agent, seen: seen, key: key)
    }

    @Test func `an agent is led from the log that it knows to the present one`() async throws {
        let restored = try await Self.restored()
        let checkpoint = restored.seen.checkpoint
        try await restored.fixture.serving { server in
            let update = try await server.checkpoint(
                restored.agent,
                .with { ($0.origin, $0.size) = (checkpoint.origin, checkpoint.size) }
            )
            #expect(update.successions.count == 1)
            let key = server.core.audit.key
            var memory = try CheckpointMemory(key: restored.key, note: restored.seen.note)
            let succession = try required(update.successions.first)
            let proof = succession.consistencyProof.compactMap { MerkleHash(Array($0)) }
            let followed = memory.follow(Array(succession.note.utf8), proof: proof)
            let following = try required(followed)
            #expect(following.isProved && memory.key == key)
            let note = Array(update.note.utf8)
            #expect(memory.received(note: note, proof: nil) == .remember(note: note))

            // Who does not say which log it has would raise an alarm that lasts.
            let old = try await server.checkpoint(
                restored.agent,
                .with { $0.size = checkpoint.size }
            )
            #expect(old.note.isEmpty && old.successions.isEmpty)
            // Who has the present one is told as ever.
            let present = try await server.checkpoint(
                restored.agent,
                .with { $0.origin = key.name }
            )
            #expect(!present.note.isEmpty && present.successions.isEmpty)
        }
    }

    @Test(arguments: [false, true])
    func `a damaged file of the log is no proof that the server was set back, and told`(
        isMissing: Bool
    ) async throws {
        let fixture = try RestoreFixture()
        try await fixture.serving(isWhole: false) { server in
            let agent = try await server.agent("web-1")
            try await server.requireIntactLog()
            let seen = server.core.audit.checkpoint
            for name in ["one", "two", "three"] { try await server.register(name) }
            try await server.requireIntactLog()
            let published = server.core.audit.checkpoint
            guard let seen, let published else {
                Issue.record("nothing is published")
                return
            }
            // The hashes of the first record, and of the first one that the agent has not seen.
            let file = URL(
                fileURLWithPath: "\(fixture.data)/audit/tile/0/000.p/\(published.checkpoint.size)"
            )
            var hashes = try Data(contentsOf: file)
            for leaf in [0, Int(seen.checkpoint.size)] {
                hashes[hashes.startIndex + leaf * MerkleHash.byteCount] ^= 1
            }
            try hashes.write(to: file)
            if isMissing { try FileManager.default.removeItem(at: file) }
            #expect(try await !server.unmetConditions().contains("auditFiles"))
            try await server.hello(agent, note: String(decoding: seen.note, as: UTF8.self))
            #expect(try await server.core.read { try $0.hold() } == nil)
            #expect(try await server.unmetConditions().contains("auditFiles"))
        }
    }

    @Test func `a server that was set back ends at the first agent that saw more`() async throws {
        let fixture = try RestoreFixture()
        let agent = try await fixture.serving { try await $0.agent("web-1") }
        let snapshot = "\(fixture.directory.path)/snapshot"
        try FileManager.default.copyItem(atPath: fixture.data, toPath: snapshot)
        let seen = try await fixture.serving { server in
            try await server.register("web")
            _ = try await server.renew(agent, key: agent.key)
            try await server.requireIntactLog()
            return try required(server.core.audit.checkpoint)
        }
        try FileManager.default.removeItem(atPath: fixture.data)
        try FileManager.default.copyItem(atPath: snapshot, toPath: fixture.data)
        let note = String(decoding: seen.note, as: UTF8.self)
        await #expect(throws: ServerStartError.self) {
            try await fixture.serving(isWhole: false) { server in
                // A note that says nothing against it, and one that nobody signed, end nothing.
                let own = try required(server.core.audit.checkpoint)
                try await server.hello(agent, note: String(decoding: own.note, as: UTF8.self))
                try await server.hello(agent, note: note.replacing("\n", with: "\n0"))
                let refused = await refusal { try await server.hello(agent, note: note) }
                // The server ends at once: its word may not get out any more.
                #expect(["setBack", "transport"].contains(refused?.reason))
            }
        }
        let hold = try fixture.read { try $0.hold() }
        #expect(hold?.reason == .rollbackProved)
        let leaves = try fixture.read { transaction in
            var filter = AuditLeafFilter()
            filter.event = AuditEvent.Name.rollbackProved.rawValue
            return try transaction.queryLeaves(filter, limit: 2, newestFirst: true)
        }
        #expect(leaves.count == 1)
        try await withHeldServer(in: fixture.directory) { server in
            let refused = await refusal { try await server.recover(now: true) }
            #expect(refused?.reason == "rollbackProved")
        }
        // Only a restore leads on. What is missing was done before the last record that is there.
        let report = try await fixture.restore(.inPlace)
        let size = seen.checkpoint.size
        #expect(report.lines.contains { $0.contains("an agent has seen \(size), from a moment") })
        let restored = try fixture.read { try $0.hold() }
        #expect(restored?.reason == .restored && restored?.lastRecordAt == nil)
        // Nor does another restore know more.
        try await fixture.restore(.inPlace)
        let again = try fixture.read { try $0.hold() }
        #expect(again?.reason == .restored && again?.lastRecordAt == nil)
    }
}
