// SPDX-License-Identifier: Apache-2.0

import AuditLog
import CAServer
import ControlAPIProtos
import Datastore
import Foundation
import GRDB
import Issuance
import SPIFFE
import Testing

/// What `signet ca recheck` finds of somebody who writes the database and has no key of the log.
@Suite(.timeLimit(.minutes(2)))
struct RecheckLogTests {
    private static let web = "spiffe://example.org/web"

    /// A server with a workload's certificate, of which everything is published.
    private func withIssued(
        _ body: (TestServer, IssuanceIntent) async throws -> Void
    ) async throws {
        try await withServer { server in
            _ = try await server.workload("web")
            #expect(try await server.recheck().findings == [])
            try await body(server, try await server.intent(of: Self.web))
        }
    }

    /// Writes to the database past the server; triggers that keep leaves as they are go before.
    private func steal(_ server: TestServer, _ sql: String) async throws {
        let thief = try DatabaseQueue(path: server.core.configuration.databasePath)
        try await thief.write { database in
            for trigger in ["keep_content", "stay"] {
                try database.execute(sql: "DROP TRIGGER IF EXISTS audit_leaves_\(trigger)")
            }
            try database.execute(sql: sql)
        }
        try thief.close()
    }

    /// Takes the intents of a certificate away.
    private func forget(_ web: IssuanceIntent, on server: TestServer) async throws {
        try await server.forge { $0.serial == web.serial ? [] : [$0] }
    }

    @Test func `a record that is listed as another event is read for what it says`() async throws {
        try await withIssued { server, web in
            try await steal(
                server,
                "UPDATE audit_leaves SET event = 'x' WHERE leaf = \(web.leafIndex)"
            )
            try await forget(web, on: server)
            let (findings, _) = try await server.recheck()
            #expect(findings.map(\.name) == ["intentMissing"])
            #expect(findings.first?.record == web.leafIndex)
        }
    }

    @Test func `a record that was written anew with its hash and its intents is found`()
        async throws
    {
        try await withIssued { server, web in
            let index = web.leafIndex
            let leaf = try await server.core.datastore.read { try $0.leaves(from: index, limit: 1) }
            let text = String(decoding: try #require(leaf.first).bytes, as: UTF8.self)
            let other = text.replacing(Self.web, with: "spiffe://example.org/bew")
            #expect(other != text)
            let hash = MerkleHash(leaf: Array(other.utf8))
            try await steal(
                server,
                """
                UPDATE audit_leaves SET bytes = x'\(Hexadecimal.text(other.utf8))', hash = x'\(hash)'
                WHERE leaf = \(index)
                """
            )
            try await server.forge {
                [$0.serial == web.serial ? $0.with(spiffeID: "spiffe://example.org/bew") : $0]
            }
            let (findings, _) = try await server.recheck()
            #expect(findings.map(\.record).allSatisfy { $0 == index })
            #expect(findings.map(\.name).contains("leafChanged"))
            #expect(!findings.map(\.name).contains("leafDiffers"))
        }
    }

    @Test func `a record that is gone is found, whatever the tree's row says`() async throws {
        try await withIssued { server, web in
            try await steal(
                server,
                """
                DELETE FROM audit_spiffe_ids; DELETE FROM audit_namespaces;
                DELETE FROM audit_serials;
                DELETE FROM audit_leaves WHERE leaf = \(web.leafIndex);
                UPDATE audit_tree SET frontier_size = 0, size = \(web.leafIndex);
                """
            )
            try await forget(web, on: server)
            let (findings, _) = try await server.recheck()
            #expect(findings.map(\.name) == ["leafChanged"])
            #expect(findings.first?.record == web.leafIndex)
        }
    }

    @Test func `the window begins where records say, not columns`() async throws {
        try await withIssued { server, web in
            try await steal(server, "UPDATE audit_leaves SET time = 0")
            try await forget(web, on: server)
            for since in [nil, Date() - 3600] {
                let (findings, summary) = try await server.recheck(since: since)
                #expect(findings.map(\.name) == ["intentMissing"])
                #expect(summary.firstRecord == 0)
            }
        }
    }

    @Test func `files that do not lead to the signed root are said once`() async throws {
        try await withIssued { server, _ in
            let audit = server.core.audit
            let width = Int(audit.frontier.size)
            try #require(width < TilePath.fullWidth)
            let path = TilePath(.hashes(level: 0), index: 0, width: width).description
            let url = URL(filePath: "\(audit.directory)/\(path)")
            var tile = try Data(contentsOf: url)
            tile[0] ^= 1
            try tile.write(to: url)
            let (findings, _) = try await server.recheck()
            #expect(findings.map(\.name) == ["logUnproven"])
            try FileManager.default.removeItem(at: url)
            #expect(try await server.recheck().findings.map(\.name) == ["logUnproven"])
        }
    }

    @Test func `an authority that is gone or does not read is no forgotten one`() async throws {
        try await withIssued { server, _ in
            try await steal(server, "UPDATE authorities SET certificate_der = x'3000'")
            let (unreadable, summary) = try await server.recheck()
            #expect(Set(unreadable.map(\.name)) == ["authorityUnreadable"])
            #expect(UInt64(unreadable.count) == summary.certificates)
            try await steal(server, "DELETE FROM authorities")
            let (missing, rest) = try await server.recheck()
            #expect(Set(missing.map(\.name)) == ["authorityMissing"])
            #expect(rest.notJudgedReasons == [:])
        }
    }

    @Test func `what is more than a record has is counted without the genuine ones`() async throws {
        try await withIssued { server, web in
            // Serial numbers begin with 1, so that these all come before the genuine one.
            let surplus = (0..<1100).map { number in
                web.with(serial: [0, UInt8(number / 256), UInt8(number % 256)])
            }
            try await server.core.datastore.write { try $0.record(surplus) }
            let (findings, summary) = try await server.recheck(listsAll: false)
            #expect(summary.findings == 1100)
            #expect(findings.count == 1000)
            #expect(findings.allSatisfy { $0.name == "leafMissing" })
        }
    }

    @Test func `what names a log of before a restore is found, as there was none`() async throws {
        try await withIssued { server, web in
            try await server.core.datastore.write { try $0.record([web.with(serial: [9])]) }
            try await steal(server, "UPDATE intents SET leaf = -1 WHERE serial = x'09'")
            let (findings, summary) = try await server.recheck()
            #expect(findings.map(\.name) == ["leafMissing"])
            #expect(findings.first?.serial == "09")
            #expect(summary.notJudgedReasons == [:])
            // Nor can a row be taken away from the record that has its certificate.
            try await server.forge { [$0] }
            let serial = Hexadecimal.text(web.serial)
            try await steal(server, "UPDATE intents SET leaf = -1 WHERE serial = x'\(serial)'")
            let taken = try await server.recheck().findings
            #expect(taken.map(\.name).sorted() == ["leafDiffers", "leafMissing"])
        }
    }

    // MARK: - Records that the server publishes and has not written

    /// Appends records as somebody who writes the database; the server publishes them.
    private func append(
        _ server: TestServer,
        _ events: [AuditEvent],
        at time: Date
    ) async throws {
        try await server.core.datastore.write { transaction in
            for event in events { try transaction.append(event, by: .system("server"), at: time) }
        }
    }

    private func start(version: String) -> AuditEvent {
        .serverStarted(
            ServerStart(
                epoch: Array(repeating: 1, count: 16),
                revision: 1,
                serverID: "1",
                version: version
            )
        )
    }

    @Test func `old times that somebody had published hide nothing that was issued before`()
        async throws
    {
        try await withIssued { server, web in
            let size = try await server.core.datastore.read { try $0.auditSize() }
            let old = [AuditEvent](repeating: start(version: "1"), count: 64)
            try await append(server, old, at: Date(timeIntervalSince1970: 0))
            let leaf = Int64(web.leafIndex)
            try await steal(
                server,
                "UPDATE audit_leaves SET time = 0; DELETE FROM intents WHERE leaf <= \(leaf)"
            )
            for since in [nil, Date() - 3600] {
                let (findings, summary) = try await server.recheck(since: since)
                #expect(summary.firstRecord == 0)
                #expect(
                    findings.contains { $0.name == "intentMissing" && $0.record == web.leafIndex }
                )
                #expect(
                    findings.contains { $0.name == "leafImplausible" && $0.record == size }
                )
            }
        }
    }

    @Test func `a start that the server has not had makes no other release`() async throws {
        try await withIssued { server, web in
            try await append(server, [start(version: "0.0.1")], at: Date())
            let forged = try await server.core.datastore.read { try $0.auditSize() } - 1
            let other = try await server.append(
                web.with(dnsNames: ["x.example.org"]),
                authority: try #require(Hexadecimal.bytes(web.authorityID))
            )
            let (findings, summary) = try await server.recheck()
            #expect(findings.filter { $0.name == "leafImplausible" }.map(\.record) == [forged])
            #expect(
                findings.filter { $0.name == "certificateDiffers" }.map(\.record) == [other]
            )
            #expect(summary.notJudgedReasons["otherRelease"] == nil)
        }
    }

    @Test func `a record within which publishing has come to rest is read whole`() async throws {
        try await withIssued { server, web in
            let size = try await server.core.datastore.read { try $0.auditSize() }
            // It ends long ago, so that no record of it is asked for.
            let svid = IssuedSVID(
                spiffeID: try SPIFFEID(web.spiffeID),
                serial: [9],
                notAfter: AuditTime(Date(timeIntervalSince1970: 0)),
                tbsSHA256: web.tbsSHA256,
                entry: IssuedSVID.Entry(
                    id: try #require(web.entryID),
                    namespace: "default",
                    revision: try #require(web.entryRevision)
                )
            )
            let agent = try SPIFFEID("spiffe://example.org/signet/agent/\(web.node)")
            let authority = try #require(Hexadecimal.bytes(web.authorityID))
            @Sendable func issued(_ serials: Range<UInt8>) -> AuditEvent {
                .svidsIssued(
                    SVIDIssuance(
                        agent: agent,
                        authority: authority,
                        profile: .workload,
                        svids: serials.map { number in
                            IssuedSVID(
                                spiffeID: svid.spiffeID,
                                serial: [9, number],
                                notAfter: svid.notAfter,
                                tbsSHA256: svid.tbsSHA256,
                                entry: svid.entry
                            )
                        }
                    )
                )
            }
            // A piece of 256 leaves ends after the first leaf of the record of three or more, and the
            // next piece cannot be written: its last tile is a directory.
            let filler = AuditPublisher.leavesPerCheckpointMax - 1
            var events = [AuditEvent](repeating: issued(0..<1), count: filler)
            events.append(issued(0..<90))
            let parts = try AuditRecord(
                event: issued(0..<90),
                actor: .system("server"),
                time: Date()
            )
            .leaves().count
            let width = (Int(size) + filler + parts) % TilePath.fullWidth
            let path = TilePath(.hashes(level: 0), index: 1, width: width).description
            try FileManager.default.createDirectory(
                atPath: "\(server.core.audit.directory)/\(path)/x",
                withIntermediateDirectories: true
            )
            try await append(server, events, at: Date())
            let audit = server.core.audit
            let (follower, published) = audit.follow()
            defer { audit.unfollow(follower) }
            audit.poke()
            let piece = size + UInt64(AuditPublisher.leavesPerCheckpointMax)
            if audit.frontier.size < piece {
                for await _ in published where audit.frontier.size >= piece { break }
            }
            // As a recheck sees it for which all of this is committed after it has begun.
            let whole = size + UInt64(filler + parts)
            try await steal(server, "UPDATE audit_tree SET frontier_size = 0, size = \(size)")
            let (findings, summary) = try await server.recheck()
            try await steal(server, "UPDATE audit_tree SET size = \(whole)")
            #expect(summary.endRecord == piece)
            #expect(findings == [])
        }
    }
}
