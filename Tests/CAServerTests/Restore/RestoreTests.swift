// SPDX-License-Identifier: Apache-2.0

import AuditLog
import CAServer
import ControlAPI
import ControlAPIProtos
import Datastore
import Foundation
import GRDB
import Issuance
import NodeSync
import SPIFFE
import SwiftProtobuf
import Testing

/// What a restore makes of a backup, the log and the keys
/// (docs/decisions/0022-backup-and-restore.md, "Restore").
@Suite(.timeLimit(.minutes(2)))
struct RestoreTests {
    @Test func `a backup is brought forward by the log, and the server held`() async throws {
        let fixture = try RestoreFixture()
        let before = try await fixture.serving { server in
            try await server.register("web")
            _ = try await server.agent("banned", selectors: ["role:web"])
            try await fixture.makeBackup(server)
            let revision = try await server.core.read { try $0.revision() }
            _ = try await server.agent("later")
            _ = try await server.administration.banNode(
                .with { ($0.name, $0.reason) = ("banned", "lost") }
            )
            try await server.register("later")
            _ = try await server.rotate()
            return revision
        }
        let formerKey = try fixture.logKey(
            try fixture.read { try #require(try $0.identity()).firstLogOrigin },
            in: "\(fixture.data)/keys"
        )
        let note = try Data(contentsOf: URL(fileURLWithPath: "\(fixture.data)/audit/checkpoint"))
        let size = try SignedCheckpoint(parsing: Array(note), key: formerKey).checkpoint.size
        let authorities = try fixture.read { try $0.authorities().map { [$0.id, $0.state] } }
        let report = try await fixture.restore()
        #expect(report.lines.contains { $0.contains("1 document(s) changed since") })
        try fixture.read { (restored: ReadTransaction) throws in
            let identity = try #require(try restored.identity())
            #expect(identity.epoch != before.epoch)
            #expect(try restored.revision().number > before.number + Transaction.revisionGap)
            #expect(try restored.bundleSequenceNumber() > Transaction.revisionGap)
            #expect(try restored.node(named: "banned")?.ban != nil)
            #expect(try restored.heldNames(.node) == ["later"])
            #expect(try restored.authorities().map { [$0.id, $0.state] } == authorities)
            #expect(try restored.heldDocuments().map(\.key.name) == ["later"])
            let hold = try #require(try restored.hold())
            #expect(hold.logOrigin == formerKey.name && hold.logSize == size)
            // The new log has one record, which says what it follows.
            #expect(try restored.auditOrigin() == identity.restoredLogOrigin)
            let leaf = try #require(try restored.leaves(from: 0, limit: 2).first)
            guard case .serverRestored(let event) = try AuditRecord(parsing: leaf.bytes).event
            else {
                Issue.record("\(String(decoding: leaf.bytes, as: UTF8.self))")
                return
            }
            #expect(event.former.origin == formerKey.name && event.former.size == size)
            #expect(event.epoch == identity.epoch.bytes)
            #expect(event.formerEpoch == before.epoch.bytes)
            // What was issued is before all that will be.
            #expect(try restored.earlierLogIntentCount() > 0)
            #expect(try restored.firstIntentLeaf() == nil)
        }
        try requirePlaced(fixture, formerKey: formerKey, size: size)
    }

    /// Requires that every file is where it belongs.
    private func requirePlaced(
        _ fixture: RestoreFixture,
        formerKey: NoteVerifierKey,
        size: UInt64
    ) throws {
        let epoch = try fixture.read { try #require(try $0.identity()).epoch.hex }
        let names = try FileManager.default.contentsOfDirectory(atPath: fixture.data)
        #expect(!names.contains("restoring") && !names.contains("audit"))
        let replaced = try files(below: "\(fixture.data)/replaced-\(epoch)")
        #expect(replaced.contains("server.sqlite"))
        #expect(!replaced.contains { $0.hasPrefix("restoring") })
        let note = try Data(
            contentsOf: URL(fileURLWithPath: "\(fixture.data)/logs/\(epoch)/succession")
        )
        let succession = try LogSuccession(parsing: Array(note), key: formerKey)
        #expect(succession.former.size == size)
        let newKey = try fixture.logKey(
            "\(formerKey.name)/\(epoch)",
            in: "\(fixture.data)/keys"
        )
        #expect(succession.newKey == newKey && newKey.publicKey != formerKey.publicKey)
        try requireLed(fixture, from: formerKey, epoch: epoch)
    }

    /// Requires that a former log and what says that another one follows lie in one place.
    private func requireLed(
        _ fixture: RestoreFixture,
        from formerKey: NoteVerifierKey,
        epoch: String
    ) throws {
        let log = "\(fixture.data)/logs/\(epoch)"
        let note = try Data(contentsOf: URL(fileURLWithPath: "\(log)/succession"))
        let succession = try LogSuccession(parsing: Array(note), key: formerKey)
        let verdict = AuditVerifier(key: formerKey) { file in
            Array(try Data(contentsOf: URL(fileURLWithPath: "\(log)/\(file)")))
        }.verify()
        guard case .intact(let intact) = verdict else {
            Issue.record("\(verdict)")
            return
        }
        #expect(intact.checkpoint.checkpoint == succession.former)
    }

    private func move(_ path: String, to target: String) throws {
        try FileManager.default.createDirectory(
            atPath: String(target.prefix(upTo: target.lastIndex(of: "/") ?? target.startIndex)),
            withIntermediateDirectories: true
        )
        try FileManager.default.moveItem(atPath: path, toPath: target)
    }

    @Test func `agents are led on by a log that was not read from its place`() async throws {
        let fixture = try RestoreFixture()
        try await fixture.serving { server in
            for name in ["first", "second"] { _ = try await server.agent(name) }
            try await fixture.makeBackup(server)
        }
        try fixture.copy(["audit"])
        try await fixture.serving { server in
            _ = try await server.administration.banNode(.with { $0.name = "first" })
        }
        let origin = try fixture.read { try #require(try $0.identity()).firstLogOrigin }
        let key = try fixture.logKey(origin, in: "\(fixture.data)/keys")
        // An older copy has taken the place of the log, which lies beside it.
        let other = String(repeating: "ab", count: Epoch.byteCount)
        try move("\(fixture.data)/audit", to: "\(fixture.data)/logs/\(other)")
        try move("\(fixture.copies)/audit", to: "\(fixture.data)/audit")
        try await fixture.restore()
        let first = try fixture.read { try #require(try $0.identity()).epoch.hex }
        try requireLed(fixture, from: key, epoch: first)
        try await recoverAndBan("second", fixture)

        // The first log and the one that followed it have changed places in the copies.
        try fixture.copy(["keys"])
        let note = "\(fixture.data)/logs/\(first)/succession"
        try move(note, to: "\(fixture.copies)/logs/\(first)/succession")
        try move("\(fixture.data)/logs/\(first)", to: "\(fixture.copies)/audit")
        try move("\(fixture.data)/audit", to: "\(fixture.copies)/logs/\(other)")
        try FileManager.default.removeItem(atPath: fixture.data)
        try await fixture.restore(copies: fixture.copies)
        for name in ["first", "second"] {
            #expect(try fixture.read { try $0.node(named: name) }?.ban != nil, "\(name)")
        }
        try requireLed(fixture, from: key, epoch: first)
        let second = try fixture.read { try #require(try $0.identity()).epoch.hex }
        let next = try fixture.logKey("\(origin)/\(first)", in: "\(fixture.copies)/keys")
        try requireLed(fixture, from: next, epoch: second)
    }

    @Test func `a restored server goes on when it is recovered, on another machine`() async throws {
        let fixture = try RestoreFixture()
        let (agent, entry) = try await fixture.serving { server in
            let agent = try await server.agent("web-1", selectors: ["role:web"])
            let entry = try await server.register("web")
            try await fixture.makeBackup(server)
            return (agent, entry)
        }
        try fixture.copy()
        try FileManager.default.removeItem(atPath: fixture.data)
        try await fixture.restore(copies: fixture.copies)
        try await withHeldServer(in: fixture.directory) { server in
            let rehearsal = try await server.recover(rehearse: true)
            #expect(rehearsal.objections.isEmpty)
            _ = try await server.recover()
            #expect(await server.port() != nil)
        }
        // Keys, nodes and entries are there: nobody needs a token.
        try await fixture.serving { server in
            let renewed = try await server.renew(agent, key: agent.key)
            _ = try await server.leaf(
                try signingRequest(entry: entry, spiffeID: "spiffe://example.org/web"),
                as: renewed
            )
            let restored = try await server.records("serverRestored")
            #expect(restored.count == 1)
            // By this log alone: its first record says who signs.
            let (findings, summary) = try await server.recheck()
            #expect(findings == [])
            #expect((summary.notJudgedReasons["earlierLog"] ?? 0) > 0)
        }
    }

    @Test func `what happened after a restore is brought forward by the next one too`()
        async throws
    {
        let fixture = try RestoreFixture()
        try await fixture.serving { server in
            for name in ["first", "second"] { _ = try await server.agent(name) }
            try await fixture.makeBackup(server)
            _ = try await server.administration.banNode(.with { $0.name = "first" })
        }
        try await fixture.restore()
        try await recoverAndBan("second", fixture)
        let (sequence, second) = try fixture.read {
            (
                try $0.bundleSequenceNumber(),
                try #require(try $0.identity()).restoredLogOrigin
            )
        }
        // The same backup, which is of the first log.
        try await fixture.restore()
        try fixture.read { (restored: ReadTransaction) throws in
            for name in ["first", "second"] {
                #expect(try restored.node(named: name)?.ban != nil, "\(name)")
            }
            #expect(try restored.bundleSequenceNumber() > sequence)
            #expect(try restored.hold()?.logOrigin == second)
        }
        let logs = try FileManager.default.contentsOfDirectory(atPath: "\(fixture.data)/logs")
        #expect(logs.count == 2)
    }

    /// Serves a held server, ends its hold, and bans a node; all of it is published then.
    private func recoverAndBan(_ name: String, _ fixture: RestoreFixture) async throws {
        try await withHeldServer(in: fixture.directory) { server in
            _ = try await server.recover(now: true)
            #expect(await server.port() != nil)
            _ = try await server.administration.banNode(.with { $0.name = name })
            try await eventually("all is published") {
                let log = try await server.audit.getCheckpoint(.init())
                guard !log.note.isEmpty else { return false }
                let signed = try SignedCheckpoint(
                    parsing: Array(log.note.utf8),
                    key: NoteVerifierKey(parsing: log.verifierKey)
                )
                return signed.checkpoint.size == log.committedSize
            }
        }
    }

    @Test func `a second restore in place forgets nothing that the first one found`() async throws {
        let fixture = try RestoreFixture()
        try await fixture.serving { server in
            try await fixture.makeBackup(server)
            try await server.register("later")
            _ = try await server.agent("later")
            _ = try await server.rotate()
        }
        /// The names and the time that a hold has.
        func found() throws -> ([String], Date?) {
            try fixture.read { transaction in
                let documents = try transaction.heldDocuments().map(\.key.name)
                let names = try transaction.heldNames(.node) + transaction.heldNames(.authority)
                return (documents + names, try transaction.hold()?.lastRecordAt)
            }
        }
        try await fixture.restore()
        let first = try found()
        #expect(first.0.count == 3 && first.1 != nil)
        try await fixture.restore(.inPlace)
        let second = try found()
        #expect(second.0 == first.0 && second.1 == first.1)
    }

    @Test func `a log that was restored without its files leads on all the same`() async throws {
        let fixture = try RestoreFixture()
        try await fixture.serving { server in
            _ = try await server.agent("web-1")
            try await fixture.makeBackup(server)
        }
        // The log is lost, and its key is not.
        try FileManager.default.removeItem(atPath: "\(fixture.data)/audit")
        try await fixture.restore()
        try await recoverAndBan("web-1", fixture)
        try await fixture.restore()
        #expect(try fixture.read { try $0.node(named: "web-1") }?.ban != nil)
    }

    @Test func `of a log that was restored, a lowered number is no amnesty`() async throws {
        let fixture = try RestoreFixture()
        let agent = try await fixture.serving { server in
            let agent = try await server.agent("web-1")
            _ = try await server.agent("web-2")
            try await fixture.makeBackup(server)
            return agent
        }
        try await fixture.restore()
        try await recoverAndBan("web-2", fixture)
        let renewed = try await fixture.serving { server in
            try await server.renew(agent, key: agent.key)
        }
        let serial = try LeafCertificate(der: renewed.chain[0]).serial
        let database = try DatabaseQueue(path: fixture.database)
        try await database.write { database in
            try database.execute(
                sql: "UPDATE intents SET leaf = -1 WHERE serial = ?",
                arguments: [Data(serial)]
            )
            // One that no log has, and that begins after the restore.
            try database.execute(
                sql: """
                    INSERT INTO intents (serial, authority, spiffe_id, entry_id, entry_revision,
                        tbs_sha256, not_before, not_after, node, revision, leaf)
                    SELECT x'0102', authority, spiffe_id, entry_id, entry_revision, tbs_sha256,
                        not_after, not_after, node, revision, -1
                    FROM intents WHERE serial = ?
                    """,
                arguments: [Data(serial)]
            )
        }
        try database.close()
        try await fixture.serving { server in
            let (findings, summary) = try await server.recheck()
            let lowered = Hexadecimal.text(serial)
            #expect(findings.contains { $0.name == "leafDiffers" && $0.serial == lowered })
            #expect(findings.contains { $0.name == "leafMissing" && $0.serial == "0102" })
            #expect((summary.notJudgedReasons["earlierLog"] ?? 0) > 0)
        }
    }

    @Test func `a machine that was set back is restored in place`() async throws {
        let fixture = try RestoreFixture()
        try await fixture.serving { server in
            _ = try await server.agent("web-1")
            _ = try await server.register("web")
        }
        let snapshot = "\(fixture.directory.path)/snapshot"
        try FileManager.default.copyItem(atPath: fixture.database, toPath: snapshot)
        try await fixture.serving { server in
            _ = try await server.administration.banNode(.with { $0.name = "web-1" })
        }
        // The database alone went back: the log has what it forgot.
        for suffix in ["", "-wal", "-shm"] {
            try? FileManager.default.removeItem(atPath: fixture.database + suffix)
        }
        try FileManager.default.copyItem(atPath: snapshot, toPath: fixture.database)
        try await fixture.restore(.inPlace)
        try fixture.read { (restored: ReadTransaction) throws in
            #expect(try restored.node(named: "web-1")?.ban != nil)
            #expect(try restored.documents(limit: 10).count == 1)
            #expect(try restored.hold() != nil)
        }
    }

    @Test func `an authority of the log alone leaves unless its key is here`() async throws {
        let fixture = try RestoreFixture()
        let (old, new) = try await fixture.serving { server in
            try await fixture.makeBackup(server)
            return try await server.rotate()
        }
        try fixture.copy()
        for name in ["authority-\(new).key", "jwt-\(new).key"] {
            try FileManager.default.removeItem(atPath: "\(fixture.copies)/keys/\(name)")
        }
        try FileManager.default.removeItem(atPath: fixture.data)
        try await fixture.restore(copies: fixture.copies)
        #expect(try fixture.read { try $0.heldNames(.authority) } == [new])
        try await withHeldServer(in: fixture.directory) { server in
            let refused = await refusal { try await server.recover() }
            #expect(refused?.reason == "recoveryIncomplete")
            _ = try await server.recover(now: true)
            #expect(await server.port() != nil)
            let ids = try await server.core.read { try $0.bundleAuthorities().map(\.id) }
            #expect(!ids.contains(new) && ids.contains(old))
        }
    }
}
