// SPDX-License-Identifier: Apache-2.0

import AuditLog
import Authorization
import CAServer
import ControlAPI
import ControlAPIProtos
import Crypto
import Datastore
import Foundation
import GRPCCore
import GRPCPeer
import Logging
import SPIFFE
import SwiftProtobuf
import Telemetry
import Testing

/// A restored server is held until somebody has looked at what may be missing
/// (docs/decisions/0022-backup-and-restore.md, "Held").
@Suite(.timeLimit(.minutes(1)))
struct HoldTests {
    private static let record = HoldRecord(
        logOrigin: "example.org/audit/former",
        logSize: 40,
        lastRecordAt: Date(timeIntervalSince1970: 1_767_355_200),
        restoredAt: Date(timeIntervalSince1970: 1_767_355_300)
    )

    /// Holds the server of a directory that is not running.
    private static func hold(
        _ directory: TestDirectory,
        documents: [HeldDocument] = [],
        authorities: Set<String> = [],
        nodes: Set<String> = []
    ) throws {
        let store = try ServerStore(path: "\(directory.path)/data/server.sqlite")
        try store.writeNow { transaction in
            try transaction.put(
                record,
                documents: documents,
                authorities: authorities,
                nodes: nodes
            )
        }
        try store.close()
    }

    @Test func `a held server signs nothing, and goes on when it is recovered`() async throws {
        let directory = try TestDirectory()
        let keys = "\(directory.path)/data/keys"
        let agent = try await withServer(in: directory) { server in
            try await server.agent("web-1", selectors: ["role:web"])
        }
        let before = try files(below: keys).sorted()
        try Self.hold(directory, nodes: ["web-1", "gone"])
        try await withHeldServer(in: directory) { server in
            let health = try await server.administration.getHealth(.init())
            #expect(!health.ready)
            let held = health.conditions.first { $0.name == "held" }
            #expect(held?.ok == false)
            #expect(held?.reason.contains("signet server recover") == true)
            #expect(server.core.metrics.exposition().contains("signet_server_held 1\n"))

            let refused = [
                await refusal {
                    try await server.administration.createToken(
                        .with { ($0.agentName, $0.ttlSeconds) = ("web-2", 60) }
                    )
                },
                await refusal { try await server.administration.prepareAuthority(.init()) },
                await refusal { try await server.administration.acceptClock(.init()) },
            ]
            #expect(refused.map { $0?.reason } == ["held", "held", "held"])
            // What is known to be missing is taken away again.
            _ = try await server.administration.banNode(
                .with { ($0.name, $0.reason) = ("web-1", "lost") }
            )
            let rehearsal = try await server.recover(rehearse: true)
            #expect(rehearsal.rehearsed && rehearsal.objections.isEmpty)
            #expect(rehearsal.logOrigin == Self.record.logOrigin && rehearsal.logSize == 40)
            #expect(rehearsal.lastRecordUnixMilliseconds == 1_767_355_200_000)
            #expect(rehearsal.nodes == ["web-1"] && rehearsal.nodeCount == 1)
            #expect(try files(below: keys).sorted() == before)

            let answer = try await server.recover()
            #expect(!answer.rehearsed)
            let port = try #require(await server.port())
            #expect(port > 0)
            let again = await refusal { try await server.recover() }
            #expect(again?.reason == "notHeld")
            try await eventually("it is ready") {
                try await server.administration.getHealth(.init()).ready
            }
            #expect(server.core.metrics.exposition().contains("signet_server_held 0\n"))
        }
        // It is held no more, and the log says who ended it.
        try await withServer(in: directory) { server in
            let records = try await server.records("serverRecovered")
            #expect(records.count == 1 && records[0].contains("\"nodes\":1"))
            #expect(records[0].contains(TestServer.actor))
            let refused = await refusal { try await server.renew(agent, key: agent.key) }
            #expect(refused != nil)
        }
    }

    @Test func `what was proposed before and signs is not approved meanwhile`() async throws {
        let directory = try TestDirectory()
        try await withServer(in: directory) { _ in }
        try Self.hold(directory)
        let acts = ["token", "authority.activate", "unban"]
        let ids = acts.indices.map { [UInt8](repeating: UInt8($0 + 1), count: 8) }
        let store = try ServerStore(path: "\(directory.path)/data/server.sqlite")
        try store.writeNow { transaction in
            for (act, id) in zip(acts, ids) {
                let proposal = ProposalRecord(
                    id: id,
                    actor: "spiffe://example.org/people/alice",
                    certificate: nil,
                    topic: ProposalTopic(act: act, subject: "web-1"),
                    content: Array("{}".utf8),
                    sha256: Array(SHA256.hash(data: Array("\(act)".utf8))),
                    madeAt: Date(),
                    endsAt: Date().addingTimeInterval(3600)
                )
                try transaction.insert(proposal)
            }
        }
        try store.close()
        try await withHeldServer(in: directory) { server in
            let approvals = Approvals.Client(wrapping: server.admin)
            var reasons: [String?] = []
            for id in ids {
                let refused = await refusal {
                    try await approvals.approve(.with { $0.id = Data(id) })
                }
                reasons.append(refused?.reason)
            }
            #expect(reasons[0] == "held" && reasons[1] == "held" && reasons[2] != "held")
        }
    }

    @Test func `what is open needs more than the word`() async throws {
        let directory = try TestDirectory()
        let (changed, same) = try await withServer(in: directory) { server in
            try await server.register("changed")
            try await server.register("same")
            _ = try await server.agent("web-1")
            return try await server.core.read { transaction in
                let all = try transaction.documents(limit: 10)
                return (
                    try #require(all.first { $0.key.name == "changed" }),
                    try #require(all.first { $0.key.name == "same" })
                )
            }
        }
        func key(_ name: String) -> DocumentKey {
            DocumentKey(
                group: changed.key.group,
                kind: changed.key.kind,
                namespace: changed.key.namespace,
                name: name
            )
        }
        let hash = Array(SHA256.hash(data: same.canonicalJSON))
        try Self.hold(
            directory,
            documents: [
                HeldDocument(key: changed.key, sha256: [UInt8](repeating: 1, count: 32)),
                HeldDocument(key: same.key, sha256: hash),
                HeldDocument(key: key("missing"), sha256: hash),
                HeldDocument(key: key("deleted"), sha256: nil),
            ]
        )
        // A key of an authority that no record names, and none of the one that signs.
        let keys = "\(directory.path)/data/keys"
        for file in try files(below: keys) where file.hasPrefix("authority-") {
            try FileManager.default.moveItem(
                atPath: "\(keys)/\(file)",
                toPath: "\(keys)/authority-\(String(repeating: "ab", count: 20)).key"
            )
        }
        try await withHeldServer(in: directory) { server in
            let open = try await server.recover(rehearse: true)
            #expect(open.documents.map(\.name) == ["changed", "missing"])
            #expect(open.unnamedKeys == [String(repeating: "ab", count: 20)])
            #expect(open.signerMissing && open.agentsNeedingTokens == 1)
            #expect(open.objections.count == 3)
            let refused = await refusal { try await server.recover() }
            #expect(refused?.reason == "recoveryIncomplete")
            #expect(refused?.message.contains("--now") == true)
            let health = try await server.administration.getHealth(.init())
            #expect(!health.ready)
            _ = try await server.recover(now: true)
            #expect(await server.port() != nil)
        }
    }

    @Test func `an authority of the log alone stays by its keys, not by their names`()
        async throws
    {
        let directory = try TestDirectory()
        let (agent, id) = try await withServer(in: directory) { server in
            let agent = try await server.agent("web-1")
            let authorities = try await server.core.read { try $0.authorities() }
            return (agent, authorities.first?.id ?? "")
        }
        let keys = "\(directory.path)/data/keys"
        /// Puts another key in the place of one.
        func replace(_ file: String, by other: String) throws {
            try FileManager.default.removeItem(atPath: "\(keys)/\(file)")
            try FileManager.default.copyItem(
                atPath: "\(keys)/\(other)",
                toPath: "\(keys)/\(file)"
            )
        }
        try Self.hold(directory, authorities: [id])
        try replace("jwt-\(id).key", by: "authority-\(id).key")
        try await withHeldServer(in: directory) { server in
            let open = try await server.recover(rehearse: true)
            #expect(open.tokenKeys == [id] && open.tokenKeyCount == 1)
            _ = try await server.recover()
            #expect(await server.port() != nil)
            let kept = try await server.core.read { try $0.authority(id: id) }
            #expect(kept?.state == "active" && kept?.tokenKeySPKI == nil)
        }
        let next = try await withServer(in: directory) { server in
            let told = try await server.records("serverRecovered")
            #expect(told.count == 1 && told[0].contains("\"tokenKeys\":1"))
            _ = try await server.renew(agent, key: agent.key)
            return try await server.rotate().new
        }
        try Self.hold(directory, authorities: [next])
        try replace("authority-\(next).key", by: "jwt-\(next).key")
        try await withHeldServer(in: directory) { server in
            let open = try await server.recover(rehearse: true)
            #expect(open.authorities == [next] && open.signerMissing)
            let refused = await refusal { try await server.recover() }
            #expect(refused?.reason == "recoveryIncomplete")
            _ = try await server.recover(now: true)
            #expect(await server.port() != nil)
            let ids = try await server.core.read { try $0.bundleAuthorities().map(\.id) }
            #expect(!ids.contains(next))
        }
    }

    @Test(arguments: [false, true])
    func `a key that does not open keeps no hold from being ended`(isFromLog: Bool) async throws {
        let directory = try TestDirectory()
        let (old, new) = try await withServer(in: directory) { server in
            _ = try await server.agent("web-1")
            let old = try await server.core.read { try $0.authorities() }.first?.id ?? ""
            return (old, try await server.rotate().new)
        }
        let keys = "\(directory.path)/data/keys"
        let isDamaged = FileManager.default.createFile(
            atPath: "\(keys)/authority-\(old).key",
            contents: Data("MII".utf8),
            attributes: [.posixPermissions: 0o600]
        )
        #expect(isDamaged)
        try Self.hold(directory, authorities: isFromLog ? [old, new] : [])
        try await withHeldServer(in: directory) { server in
            let open = try await server.recover(rehearse: true)
            #expect(open.objections.isEmpty && open.unnamedKeys.isEmpty)
            // Of an authority that the backup had nobody asks for proof.
            guard isFromLog else { return }
            _ = try await server.recover()
            #expect(await server.port() != nil)
            let ids = try await server.core.read { try $0.bundleAuthorities().map(\.id) }
            #expect(ids.contains(new) && !ids.contains(old))
        }
    }

    @Test func `a server that was never restored cannot be recovered`() async throws {
        try await withServer { server in
            let refused = await refusal {
                try await server.administration.recover(.with { $0.rehearse = true })
            }
            #expect(refused?.reason == "notHeld")
        }
    }

    @Test func `a held server ends when it is told to`() async throws {
        let directory = try TestDirectory()
        try await withServer(in: directory) { _ in }
        try Self.hold(directory)
        try await withHeldServer(in: directory) { _ in }
        // And is held again.
        try await withHeldServer(in: directory) { server in
            let health = try await server.administration.getHealth(.init())
            #expect(!health.ready)
        }
    }
}
