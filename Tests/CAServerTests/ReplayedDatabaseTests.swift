// SPDX-License-Identifier: Apache-2.0

import AuditLog
import Backup
import CAServer
import ControlAPI
import ControlAPIProtos
import Crypto
import Datastore
import Foundation
import GRDB
import Issuance
import NodeSync
import SPIFFE
import SwiftProtobuf
import Testing

/// A copy of a moment, brought forward by the records of what followed, is what the server has
/// (docs/decisions/0022-backup-and-restore.md, "Restore", step 3).
@Suite(.timeLimit(.minutes(1)))
struct ReplayedDatabaseTests {
    /// What records say of each table, in an order that does not depend on rows.
    private static let questions = [
        """
        SELECT id, server_id, state, hex(certificate_der), hex(token_key), published_at,
            activated_at, not_before, not_after, last_issued_not_after, last_listed_not_after,
            tainted_at, revoked_at, distrust_reason, distrusted_by
        FROM authorities ORDER BY id
        """,
        """
        SELECT name, spiffe_id, selectors, hex(key_spki_sha256), attestation_method, hex(serial),
            not_after, created_at, banned_at, ban_reason
        FROM nodes ORDER BY name
        """,
        "SELECT hex(key_spki_sha256), name, withdrawn_at FROM withdrawn_node_keys ORDER BY 1",
        """
        SELECT hex(serial), authority, spiffe_id, entry_id, entry_revision, hex(tbs_sha256),
            not_after, node, proxy, leaf
        FROM intents ORDER BY 1
        """,
        "SELECT * FROM token_holders ORDER BY node, entry_id, spiffe_id, authority",
        """
        SELECT spiffe_id, name, issued_before, reason, actor, revoked_at
        FROM revoked_identities ORDER BY 1
        """,
        """
        SELECT hex(serial), authority, spiffe_id, node, not_after, ends_at, reason, actor, revoked_at
        FROM revoked_certificates ORDER BY 1
        """,
        "SELECT authority, this_update, next_update FROM revocation_lists ORDER BY 1",
    ]

    private static func answers(_ path: String) throws -> [[String]] {
        var configuration = Configuration()
        configuration.readonly = true
        let queue = try DatabaseQueue(path: path, configuration: configuration)
        return try queue.read { database in
            try questions.map { try Row.fetchAll(database, sql: $0).map { "\($0)" } }
        }
    }

    /// Copies the server's database of this moment.
    private static func copy(_ server: TestServer, to path: String) throws -> BackupSnapshot {
        try BackupCopy.make(
            of: server.core.configuration.databasePath,
            at: path,
            bytesMax: 1 << 30,
            leafHashesFrom: 0,
            until: BackupInterruption()
        )
    }

    /// Brings a copy forward by the records of the server that follow it, up to a size of the log.
    private static func bringForward(
        _ path: String,
        from first: UInt64,
        to end: UInt64,
        _ server: TestServer
    ) async throws -> (database: ReplayedDatabase, replay: LogReplay) {
        let logic = server.core.logic
        let leaves = try await server.core.read { transaction in
            try transaction.leaves(from: first, limit: Int(end - first))
        }
        let store = try ServerStore(path: path)
        defer { try? store.close() }
        return try store.writeNow { transaction in
            var replay = LogReplay(
                serverID: logic.serverID,
                backupID: [UInt8](repeating: 1, count: BackupManifest.idCount),
                from: first,
                longest: logic.lifetimes.workloadMax,
                skew: ServerLogic.clockSkewSeconds
            )
            var database = ReplayedDatabase(logic: logic)
            for leaf in leaves {
                for step in try replay.take(leaf.bytes, at: leaf.index) {
                    try database.perform(step, in: transaction)
                }
            }
            return (database, replay)
        }
    }

    /// Brings a copy forward by one record of an authority.
    private static func publish(
        _ path: String,
        id: String,
        _ certificate: AuthorityRecord,
        tokenKey: [UInt8]?,
        _ logic: ServerLogic
    ) throws {
        let event = AuthorityPreparation(
            authority: try #require(Hexadecimal.bytes(id)),
            certificateSHA256: Array(SHA256.hash(data: certificate.certificateDER)),
            notBefore: AuditTime(certificate.notBefore),
            notAfter: AuditTime(certificate.notAfter),
            serverID: logic.serverID,
            key: nil,
            certificate: certificate.certificateDER,
            tokenKey: tokenKey
        )
        let record = AuditRecord(
            event: .authorityPrepared(event),
            actor: .system("rotation"),
            time: certificate.publishedAt
        )
        let store = try ServerStore(path: path)
        defer { try? store.close() }
        try store.writeNow { transaction in
            var replay = LogReplay(
                serverID: logic.serverID,
                backupID: [],
                from: 0,
                longest: logic.lifetimes.workloadMax,
                skew: ServerLogic.clockSkewSeconds
            )
            var database = ReplayedDatabase(logic: logic)
            for leaf in try record.leaves() {
                for step in try replay.take(leaf.bytes, at: 0) {
                    try database.perform(step, in: transaction)
                }
            }
        }
    }

    @Test func `a record of the log puts nothing in the place of an authority`() async throws {
        let foreign = try await withServer { server in
            try await server.core.read { try $0.authorities() }
        }
        let directory = try TestDirectory()
        try await withServer(in: directory) { server in
            let path = "\(directory.path)/copy.sqlite"
            _ = try Self.copy(server, to: path)
            let own = try await server.core.read { try $0.authorities() }
            guard let genuine = own.first, let other = foreign.first else {
                Issue.record("there is no authority")
                return
            }
            let logic = server.core.logic
            // Whoever writes the log has keys of his own.
            let cases = [
                (genuine.id, other, other.tokenKeySPKI),
                (genuine.id, genuine, other.tokenKeySPKI),
                (other.id, genuine, other.tokenKeySPKI),
                (other.id, other, genuine.tokenKeySPKI),
            ]
            for (number, (id, certificate, tokenKey)) in cases.enumerated() {
                #expect(throws: DatastoreError.self, "case \(number)") {
                    try Self.publish(path, id: id, certificate, tokenKey: tokenKey, logic)
                }
            }
            // What is new, and fits, is taken: somebody has to look at it, and to have its key.
            try Self.publish(path, id: other.id, other, tokenKey: other.tokenKeySPKI, logic)
            let store = try ServerStore(path: path)
            defer { try? store.close() }
            let found = try store.readNow { try $0.authorities() }
            #expect(found.first { $0.id == genuine.id } == genuine)
            #expect(found.count == own.count + 1)
        }
    }

    private func sign(
        _ server: TestServer,
        _ entry: String,
        _ name: String,
        as agent: TestAgent
    ) async throws -> LeafCertificate {
        try await server.leaf(
            try signingRequest(entry: entry, spiffeID: "spiffe://example.org/\(name)"),
            as: agent
        )
    }

    /// One act of each kind.
    private func act(_ server: TestServer, _ entry: String, _ round: Int) async throws {
        let stays = try await server.agent("stays-\(round)", selectors: ["role:web"])
        let banned = try await server.agent("banned-\(round)", selectors: ["role:web"])
        let evicted = try await server.agent("evicted-\(round)", selectors: ["role:web"])
        for agent in [stays, banned, evicted] {
            _ = try await sign(server, entry, "web", as: agent)
        }
        let single = try await sign(server, entry, "web", as: stays)
        let renewed = try await server.renew(stays, key: .init())
        try await server.revokeCertificate(single.serial)
        _ = try await server.administration.banNode(
            .with { ($0.name, $0.reason) = ("banned-\(round)", "lost") }
        )
        _ = try await server.administration.evictNode(
            .with { ($0.name, $0.reason) = ("evicted-\(round)", "gone") }
        )
        let gone = try await server.register("gone-\(round)")
        _ = try await sign(server, gone, "gone-\(round)", as: renewed)
        _ = try await server.administration.revokeIdentity(
            .with { ($0.spiffeID, $0.reason) = ("spiffe://example.org/gone-\(round)", "stolen") }
        )
        let (old, _) = try await server.rotate()
        _ = try await server.administration.taintAuthority(
            .with { ($0.id, $0.reason, $0.now) = (old, "copied", true) }
        )
        guard round > 0 else { return }
        _ = try await server.administration.revokeAuthority(
            .with { ($0.id, $0.reason, $0.now) = (old, "copied", true) }
        )
        _ = try await server.administration.unbanNode(.with { $0.name = "banned-\(round)" })
    }

    @Test func `a copy of any moment becomes what the server has`() async throws {
        let directory = try TestDirectory()
        try await withServer(in: directory) { server in
            let entry = try await server.register("web")
            var copies = [(path: "\(directory.path)/0.sqlite", round: 0)]
            var snapshots = [try Self.copy(server, to: copies[0].path)]
            for round in 0..<2 {
                try await act(server, entry, round)
                copies.append(("\(directory.path)/\(round + 1).sqlite", round + 1))
                snapshots.append(try Self.copy(server, to: copies[round + 1].path))
            }
            // Lists that follow by themselves would be in one of the two alone.
            let last = "\(directory.path)/last.sqlite"
            let end = try Self.copy(server, to: last)
            let expected = try Self.answers(last)
            for (copy, snapshot) in zip(copies, snapshots) {
                let (database, replay) = try await Self.bringForward(
                    copy.path,
                    from: snapshot.auditSize,
                    to: end.auditSize,
                    server
                )
                #expect(replay.records == end.auditSize - snapshot.auditSize)
                #expect(database.authoritiesUnknown.isEmpty && database.revocationsLeft == 0)
                let found = try Self.answers(copy.path)
                for (question, (rows, wanted)) in zip(Self.questions, zip(found, expected)) {
                    #expect(rows == wanted, "copy \(copy.round): \(question)")
                }
            }
        }
    }
}
