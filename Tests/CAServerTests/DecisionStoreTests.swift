// SPDX-License-Identifier: Apache-2.0

import AuditLog
import CAServer
import ControlAPI
import ControlAPIProtos
import Crypto
import Datastore
import DecisionLog
import Foundation
import GRPCCore
import HTTPSemantics
import SPIFFE
import SwiftProtobuf
import Testing

/// Segments that agents bring, what the audit log holds of them, and what people learn of them.
@Suite(.timeLimit(.minutes(2)))
struct DecisionStoreTests {
    static let instance: [UInt8] = [1, 2, 3, 4, 5]

    func id(_ count: UInt64) -> String {
        DecisionID(instance: 0x01_0203_0405, revision: 4, worker: 0, count: count).description
    }

    func record(
        _ count: UInt64,
        proxy: String = "default/web"
    ) -> Signet_Decisions_V1alpha1_SegmentRecord {
        .with {
            $0.proxy = proxy
            $0.instance = Data(Self.instance)
            $0.heardAtUnixMilliseconds = 1_700_000_000_001
            $0.decision = .with {
                $0.id = id(count)
                $0.timeUnixMilliseconds = 1_700_000_000_000
                $0.rule = -1
                $0.reason = "noMatch"
                $0.listener = "in"
                $0.identity = "spiffe://example.org/web"
                $0.peer = "spiffe://example.org/client"
                $0.peerAddress = "192.0.2.1"
                $0.port = 80
                $0.method = "GET"
                $0.path = "/rows"
                $0.revision = .with { $0.epoch = Data(repeating: 1, count: 16) }
            }
        }
    }

    func segment(
        _ number: UInt64,
        decisions: Range<UInt64> = 0..<1,
        lost: UInt64 = 0,
        proxy: String = "default/web"
    ) -> [UInt8] {
        DecisionSegment.encoded(
            DecisionSegment.Header(
                spool: Array(repeating: 9, count: DecisionSegment.spoolBytes),
                number: number,
                madeAtUnixMilliseconds: 1_700_000_000_000,
                lost: lost
            ),
            records: decisions.compactMap { DecisionSegment.encoded(record($0, proxy: proxy)) }
        )
    }

    func served(
        in directory: TestDirectory? = nil,
        _ body: (TestServer) async throws -> Void
    ) async throws {
        try await withServer(in: try directory ?? TestDirectory()) { server in
            try await eventually("the store is open") { server.core.decisions.store != nil }
            try await body(server)
        }
    }

    func send(
        _ segment: [UInt8],
        as agent: TestAgent,
        to server: TestServer
    ) async throws -> Signet_Node_V1alpha1_StoreDecisionsResponse {
        try await server.authenticated(as: try agent.identity) { client in
            try await Node.Client(wrapping: client).storeDecisions(
                .with { $0.segment = Data(segment) }
            )
        }
    }

    private func digests(_ server: TestServer) async throws -> [DecisionDigest] {
        try await server.records("decisionDigest").map { json in
            let record = try AuditRecord(parsing: Array(json.utf8))
            guard case .decisionDigest(let digest) = record.event else {
                throw CancellationError()
            }
            return digest
        }
    }

    // MARK: - Uploads

    @Test func `a segment is stored once, and another one of its number is refused`() async throws {
        try await served { server in
            let agent = try await server.agent()
            let bytes = segment(1)
            for _ in 0..<2 {
                #expect(try await send(bytes, as: agent, to: server).result == .stored(.init()))
            }
            let other = try await send(segment(1, decisions: 1..<3), as: agent, to: server)
            #expect(other.refusal.code == "segmentDiffers")
            #expect(!other.refusal.retryable)
            // The numbers of another agent are its own.
            let second = try await server.agent("web-2")
            #expect(
                try await send(segment(1, decisions: 1..<3), as: second, to: server).result
                    == .stored(.init())
            )
            let page = try await server.administration.readDecisionSegments(.init())
            #expect(page.segments.map(\.sequence) == [1, 2])
            #expect(page.segments.map(\.agent) == ["web-1", "web-2"].map(Self.agentID))
            #expect(Array(page.segments[0].content) == bytes)
            #expect(!page.more)
        }
    }

    static func agentID(_ name: String) -> String {
        "spiffe://example.org/signet/agent/\(name)"
    }

    @Test func `what is torn, changed or no segment is refused for ever`() async throws {
        try await served { server in
            let agent = try await server.agent()
            var changed = segment(1)
            changed[60] ^= 1
            for bytes in [[], Array(segment(1).dropLast()), changed, [1, 2, 3]] {
                let answer = try await send(bytes, as: agent, to: server)
                #expect(answer.refusal.code == "segmentMalformed")
                #expect(!answer.refusal.retryable)
            }
            let page = try await server.administration.readDecisionSegments(.init())
            #expect(page.segments.isEmpty)
        }
    }

    @Test func `strangers and banned agents bring nothing`() async throws {
        try await served { server in
            let stranger = await refusal {
                try await server.anonymously { client in
                    try await Node.Client(wrapping: client).storeDecisions(.init())
                }
            }
            #expect(stranger?.kind == .unauthenticated)
            let agent = try await server.agent()
            _ = try await server.administration.banNode(
                .with { ($0.name, $0.reason) = ("web-1", "stolen") }
            )
            let banned = await refusal { try await send(segment(1), as: agent, to: server) }
            #expect(banned?.reason == "nodeBanned")
            let page = try await server.administration.readDecisionSegments(.init())
            #expect(page.segments.isEmpty)
        }
    }

    @Test func `one agent has its part of a second, and others theirs`() async throws {
        try await served { server in
            let agent = try SPIFFEID(Self.agentID("web-1"))
            let noise = [UInt8](repeating: 0, count: DecisionSegment.bytesMax)
            var last: APIError?
            for _ in 0..<64 where last?.reason != "decisionRate" {
                last = await refusal { try await server.core.decisions.store(noise, of: agent) }
            }
            #expect(last?.reason == "decisionRate")
            #expect(try #require(last?.retryAfter) > .zero)
            let other = try SPIFFEID(Self.agentID("web-2"))
            try await server.core.decisions.store(segment(1), of: other)
            // The smallest segments count as more than they have.
            let places = DecisionKeeper.bytesAtOnceMax / DecisionKeeper.chargedBytesMin
            let third = try SPIFFEID(Self.agentID("web-3"))
            last = nil
            var sent = 0
            while last?.reason != "decisionRate", sent < 100 * places {
                last = await refusal { try await server.core.decisions.store([], of: third) }
                sent += 1
            }
            #expect(last?.reason == "decisionRate")
        }
    }

    @Test func `a store that cannot be opened stops uploads and nothing else`() async throws {
        let directory = try TestDirectory()
        try FileManager.default.createDirectory(
            atPath: "\(directory.path)/data",
            withIntermediateDirectories: true
        )
        #expect(
            FileManager.default.createFile(
                atPath: "\(directory.path)/data/decisions.db",
                contents: Data(repeating: 0x41, count: 8_192)
            )
        )
        try await withServer(in: directory) { server in
            try await eventually("the trouble is told") {
                try await server.unmetConditions() == ["decisions"]
            }
            #expect(try await server.administration.getHealth(.init()).ready)
            let agent = try await server.agent("web-1", selectors: ["role:web"])
            let answer = try await send(segment(1), as: agent, to: server)
            #expect(answer.refusal.code == "decisionStore")
            #expect(answer.refusal.retryable)
            #expect(answer.refusal.retryAfterMilliseconds > 0)
            // Issuance and documents go on.
            let entry = try await server.register("web")
            let results = try await server.sign(
                [try signingRequest(entry: entry, spiffeID: "spiffe://example.org/web")],
                as: agent
            )
            #expect(results.first?.signed.certificateChain.count == 1)
        }
    }

    // MARK: - Digests

    @Test func `a digest is the root that anybody computes from the segments`() async throws {
        func sha256(_ parts: [UInt8]...) -> [UInt8] {
            Array(SHA256.hash(data: parts.flatMap { $0 }))
        }
        try await served { server in
            let agent = try await server.agent()
            var leaves: [[UInt8]] = []
            for number in 1...3 as ClosedRange<UInt64> {
                let bytes = segment(number, decisions: 0..<number, lost: 10 * number)
                _ = try await send(bytes, as: agent, to: server)
                let leaf =
                    Array("signet-decision-segment-v1\n".utf8) + Array(repeating: 9, count: 16)
                    + [0, 0, 0, 0, 0, 0, 0, UInt8(number)] + bytes.suffix(32)
                    + Array(Self.agentID("web-1").utf8)
                leaves.append(sha256([0], leaf))
            }
            await server.core.decisions.digest(server.core)
            let root = sha256([1], sha256([1], leaves[0], leaves[1]), leaves[2])
            let digest = try #require(try await digests(server).first)
            #expect(digest.root == root)
            #expect(digest.first == 1 && digest.last == 3 && digest.oldest == 1)
            #expect(digest.segments == 3 && digest.records == 6 && digest.lost == 60)
            #expect(digest.store == server.core.decisions.store?.id)
            // Nothing new, no leaf; then one over what is new.
            await server.core.decisions.digest(server.core)
            #expect(try await digests(server).count == 1)
            _ = try await send(segment(4), as: agent, to: server)
            await server.core.decisions.digest(server.core)
            let second = try #require(try await digests(server).first)
            #expect(second.first == 4 && second.last == 4 && second.segments == 1)
            try await server.requireIntactLog()
        }
    }

    @Test func `a restart goes on where the audit log ends, also with an older store`() async throws
    {
        let directory = try TestDirectory()
        let path = "\(directory.path)/data/decisions.db"
        var old: [String: Data] = [:]
        let agent = Mailbox()
        try await served(in: directory) { server in
            agent.value = try await server.agent()
            _ = try await send(segment(1), as: try #require(agent.value), to: server)
            await server.core.decisions.digest(server.core)
        }
        for name in ["", "-wal", "-shm"] {
            old[name] = FileManager.default.contents(atPath: path + name)
        }
        try await served(in: directory) { server in
            _ = try await send(segment(2), as: try #require(agent.value), to: server)
            await server.core.decisions.digest(server.core)
            #expect(try await digests(server).map(\.last) == [2, 1])
        }
        for name in ["", "-wal", "-shm"] {
            try? FileManager.default.removeItem(atPath: path + name)
            try old[name]?.write(to: URL(filePath: path + name))
        }
        try await served(in: directory) { server in
            _ = try await send(segment(3), as: try #require(agent.value), to: server)
            await server.core.decisions.digest(server.core)
            let digest = try #require(try await digests(server).first)
            #expect(digest.first == 3 && digest.last == 3)
            let page = try await server.administration.readDecisionSegments(.init())
            #expect(page.segments.map(\.sequence) == [1, 3])
        }
        // A store that is gone begins anew, with another ID.
        for name in ["", "-wal", "-shm"] {
            try? FileManager.default.removeItem(atPath: path + name)
        }
        try await served(in: directory) { server in
            _ = try await send(segment(4), as: try #require(agent.value), to: server)
            await server.core.decisions.digest(server.core)
            let all = try await digests(server)
            #expect(all.first?.first == 1)
            #expect(Set(all.map(\.store)).count == 2)
        }
    }

    /// What one run leaves for the next.
    private final class Mailbox {
        var value: TestAgent?
    }
}
