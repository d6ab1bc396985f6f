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

    @Test func `what the log of before a restore has is counted`() async throws {
        try await withIssued { server, web in
            try await server.core.datastore.write { try $0.record([web.with(serial: [9])]) }
            try await steal(server, "UPDATE intents SET leaf = -1 WHERE serial = x'09'")
            let (findings, summary) = try await server.recheck()
            #expect(findings == [])
            #expect(summary.notJudgedReasons == ["earlierLog": 1])
            // Nor can a row be taken away from the record that has its certificate.
            try await server.forge { [$0] }
            let serial = Hexadecimal.text(web.serial)
            try await steal(server, "UPDATE intents SET leaf = -1 WHERE serial = x'\(serial)'")
            #expect(try await server.recheck().findings.map(\.name) == ["leafDiffers"])
        }
    }
}
