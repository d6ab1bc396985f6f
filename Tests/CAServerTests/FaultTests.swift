// SPDX-License-Identifier: Apache-2.0

import CAServer
import ControlAPI
import ControlAPIProtos
import Crypto
import Foundation
import GRDB
import SPIFFE
import SwiftProtobuf
import Testing

/// What the server says and does while its disk or its database fails; a full and a read-only disk
/// are in EndToEndTests, where the real program meets them.
@Suite(.timeLimit(.minutes(2)))
struct FaultTests {
    /// Everything that changes or issues something.
    private func acts(
        _ server: TestServer,
        _ agent: TestAgent,
        _ entry: String
    ) -> [(name: String, act: @Sendable () async throws -> Void)] {
        [
            ("apply", { try await server.register("other") }),
            ("token", { _ = try await server.token("web-9") }),
            ("renew", { _ = try await server.renew(agent, key: agent.key) }),
            (
                "ban",
                {
                    _ = try await server.administration.banNode(
                        .with { ($0.name, $0.reason) = (agent.name, "test") }
                    )
                }
            ),
            (
                "sign",
                {
                    _ = try await server.sign(
                        [try signingRequest(entry: entry, spiffeID: "spiffe://example.org/web")],
                        as: agent
                    )
                }
            ),
        ]
    }

    private func requireRefused(
        _ server: TestServer,
        _ agent: TestAgent,
        _ entry: String,
        reason: String
    ) async {
        for act in acts(server, agent, entry) {
            let error = await refusal(act.act)
            #expect(error?.kind == .unavailable, "\(act.name): \(String(describing: error))")
            #expect(error?.reason == reason, "\(act.name): \(String(describing: error))")
        }
    }

    @Test func `while another process holds the database nothing is issued or changed`()
        async throws
    {
        try await withServer { server in
            let agent = try await server.agent("web-1", selectors: ["role:web"])
            let entry = try await server.register("web")
            let before = try await server.audit.getCheckpoint(.init()).committedSize
            var configuration = Configuration()
            configuration.allowsUnsafeTransactions = true
            let thief = try DatabaseQueue(
                path: server.core.configuration.databasePath,
                configuration: configuration
            )
            try await thief.writeWithoutTransaction { database in
                try database.execute(sql: "BEGIN IMMEDIATE")
            }
            // One act is enough: each waits for the lock as long as the datastore may.
            let error = await refusal { try await server.register("other") }
            #expect(error?.reason == "datastore")
            #expect(error?.message.contains("holds the database lock") == true)
            let unmet = try await server.unmetConditions()
            #expect(unmet == ["datastore"])
            // What is only read goes on.
            let stored = try await server.documents.get(.init())
            #expect(stored.documents.map(\.key.name) == ["web"])
            try await thief.writeWithoutTransaction { try $0.execute(sql: "ROLLBACK") }
            try thief.close()
            let after = try await server.audit.getCheckpoint(.init()).committedSize
            #expect(after == before)
            let signed = try await server.sign(
                [try signingRequest(entry: entry, spiffeID: "spiffe://example.org/web")],
                as: agent
            )
            #expect(signed.map(\.signed.certificateChain.count) == [1])
            try await eventually("health recovers without a restart") {
                let unmet = try await server.unmetConditions()
                return unmet.isEmpty
            }
        }
    }

    @Test func `an act whose leaf cannot be committed does not happen, and health shows it`()
        async throws
    {
        try await withServer { server in
            let agent = try await server.agent("web-1", selectors: ["role:web"])
            let entry = try await server.register("web")
            let before = try await server.audit.getCheckpoint(.init()).committedSize
            let thief = try DatabaseQueue(path: server.core.configuration.databasePath)
            try await thief.write { database in
                try database.execute(
                    sql: """
                        CREATE TRIGGER no_leaf BEFORE INSERT ON audit_leaves
                        BEGIN SELECT RAISE(ABORT, 'no leaf today'); END
                        """
                )
            }
            await requireRefused(server, agent, entry, reason: "datastore")
            let unmet = try await server.unmetConditions()
            #expect(unmet == ["datastore"])
            let after = try await server.audit.getCheckpoint(.init()).committedSize
            #expect(after == before)
            let nodes = try await server.administration.listNodes(.init()).nodes
            #expect(nodes.map(\.banned) == [false])
            let stored = try await server.documents.get(.init())
            #expect(stored.documents.map(\.key.name) == ["web"])
            let rows = try await thief.write { database in
                try database.execute(sql: "DROP TRIGGER no_leaf")
                return try Int.fetchAll(
                    database,
                    sql: """
                        SELECT count(*) FROM intents WHERE spiffe_id LIKE '%/web' UNION ALL
                        SELECT count(*) FROM join_tokens WHERE used_at IS NULL
                        """
                )
            }
            try thief.close()
            #expect(rows == [0, 0])
            let signed = try await server.sign(
                [try signingRequest(entry: entry, spiffeID: "spiffe://example.org/web")],
                as: agent
            )
            #expect(signed.map(\.signed.certificateChain.count) == [1])
            try await server.requireIntactLog()
        }
    }

    private static let web = "spiffe://example.org/web"

    /// The ban or eviction is committed before what it revokes is.
    @Test(arguments: ["ban", "evict"])
    func `what a ban or eviction could not revoke is said, and revoked by the next try`(
        _ act: String
    ) async throws {
        try await withServer { server in
            let agent = try await server.agent("web-1", selectors: ["role:web"])
            let entry = try await server.register("web")
            let request = try signingRequest(entry: entry, spiffeID: Self.web)
            let signed = try await server.sign([request], as: agent)
            let chain = try #require(signed.first).signed.certificateChain
            let held = try LeafCertificate(der: Array(try #require(chain.first))).serial
            let thief = try DatabaseQueue(path: server.core.configuration.databasePath)
            try await thief.write { database in
                try database.execute(
                    sql: """
                        CREATE TRIGGER no_revocation BEFORE INSERT ON revoked_certificates
                        BEGIN SELECT RAISE(ABORT, 'no revocation today'); END
                        """
                )
            }
            func tryOnce() async throws -> Signet_Admin_V1alpha1_Node {
                let action = Signet_Admin_V1alpha1_NodeActionRequest.with {
                    ($0.name, $0.reason) = ("web-1", "stolen")
                }
                return act == "ban"
                    ? try await server.administration.banNode(action)
                    : try await server.administration.evictNode(action)
            }
            // The second one of an eviction finds no node any more, and fails in the same way.
            for attempt in 1...2 {
                let error = await refusal { try await tryOnce() }
                #expect(error?.kind == .unavailable, "\(attempt): \(String(describing: error))")
                #expect(error?.reason == "certificatesNotRevoked", "\(attempt)")
                #expect(error?.message.contains("run the command again") == true, "\(attempt)")
                let nodes = try await server.administration.listNodes(.init()).nodes
                #expect(nodes.map(\.banned) == (act == "ban" ? [true] : []), "\(attempt)")
                let listed = try await server.administration.listRevocations(.init())
                #expect(listed.certificates.isEmpty, "\(attempt)")
            }
            #expect(try await server.records("nodeCertificatesRevoked").isEmpty)
            // Nothing more is signed for it meanwhile.
            let refused = await refusal { try await server.sign([request], as: agent) }
            #expect(refused != nil)
            try await thief.write { try $0.execute(sql: "DROP TRIGGER no_revocation") }
            try thief.close()
            let done = try await tryOnce()
            #expect(done.name == "web-1" && done.certificatesRevoked == 1)
            #expect(done.certificatesNotRevoked == 0)
            let listed = try await server.administration.listRevocations(.init())
            #expect(listed.certificates.map { Array($0.serial) } == [held])
            try await server.requireIntactLog()
        }
    }

    @Test func `a log that cannot be written stops everything after a grace, and shows it`()
        async throws
    {
        let clock = ShiftedClock()
        try await withServer(clock: clock) { server in
            let agent = try await server.agent("web-1", selectors: ["role:web"])
            let entry = try await server.register("web")
            try await server.requireIntactLog()
            // A file where the directory was: not even root can write below it.
            let tiles = "\(server.core.audit.directory)/tile"
            try FileManager.default.moveItem(atPath: tiles, toPath: tiles + ".away")
            try Data().write(to: URL(fileURLWithPath: tiles))
            try await server.register("api")
            try await eventually("health tells") {
                let unmet = try await server.unmetConditions()
                return unmet == ["audit"]
            }
            clock.pass(AuditPublisher.failureGrace + .seconds(1))
            let before = try await server.audit.getCheckpoint(.init()).committedSize
            await requireRefused(server, agent, entry, reason: "auditBlocked")
            let refused = try await server.audit.getCheckpoint(.init()).committedSize
            #expect(refused == before)
            try FileManager.default.removeItem(atPath: tiles)
            try FileManager.default.moveItem(atPath: tiles + ".away", toPath: tiles)
            try await eventually("health recovers") {
                let unmet = try await server.unmetConditions()
                return unmet.isEmpty
            }
            try await server.register("other")
            try await server.requireIntactLog()
        }
    }

    @Test func `a database damaged while the server is down is refused at the start`() async throws
    {
        let directory = try TestDirectory()
        _ = try await withServer(in: directory) { try await $0.register("web") }
        let path = "\(directory.path)/data/server.sqlite"
        let url = URL(fileURLWithPath: path)
        var bytes = try Data(contentsOf: url)
        for offset in stride(from: 4096, to: bytes.count - 512, by: 4096) {
            bytes.replaceSubrange(offset..<(offset + 512), with: repeatElement(0xEE, count: 512))
        }
        try bytes.write(to: url)
        for file in ["-wal", "-shm"] where FileManager.default.fileExists(atPath: path + file) {
            try FileManager.default.removeItem(atPath: path + file)
        }
        let error = await refusal { try await withServer(in: directory) { _ in } }
        let message = error?.message ?? "started"
        #expect(message.contains("damaged"), "\(message)")
    }

    @Test func `a file that is no database is refused and left as it is`() async throws {
        let directory = try TestDirectory()
        try await withServer(in: directory) { _ in }
        let path = "\(directory.path)/data/server.sqlite"
        for file in ["", "-wal", "-shm"] where FileManager.default.fileExists(atPath: path + file) {
            try FileManager.default.removeItem(atPath: path + file)
        }
        let text = Data(repeating: 0x41, count: 8192)
        try text.write(to: URL(fileURLWithPath: path))
        let error = await refusal { try await withServer(in: directory) { _ in } }
        #expect(error != nil)
        #expect(try Data(contentsOf: URL(fileURLWithPath: path)) == text)
    }

    @Test func `a database that was lost is not replaced beside a log that remembers`()
        async throws
    {
        let directory = try TestDirectory()
        try await withServer(in: directory) { _ = try await $0.requireIntactLog() }
        let path = "\(directory.path)/data/server.sqlite"
        for file in ["", "-wal", "-shm"] where FileManager.default.fileExists(atPath: path + file) {
            try FileManager.default.removeItem(atPath: path + file)
        }
        for _ in 0..<2 {
            let error = await refusal { try await withServer(in: directory) { _ in } }
            #expect(error?.message.contains("is empty") == true, "\(error?.message ?? "started")")
        }
    }
}
