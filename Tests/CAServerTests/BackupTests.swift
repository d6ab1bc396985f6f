// SPDX-License-Identifier: Apache-2.0

import AuditLog
import Backup
import CAServer
import ControlAPI
import ControlAPIProtos
import Crypto
import Datastore
import Foundation
import GRPCCore
import Issuance
import NodeSync
import SwiftProtobuf
import Testing

extension TestServer {
    /// Takes a backup as a client does.
    func backup() async throws -> (file: [UInt8], Signet_Admin_V1alpha1_BackupSummary) {
        try await administration.backup(.init()) { response in
            var file: [UInt8] = []
            var summary: Signet_Admin_V1alpha1_BackupSummary?
            for try await part in response.messages {
                switch part.part {
                case .content(let content):
                    #expect(summary == nil)
                    file += content
                case .summary(let told): summary = told
                case nil: Issue.record("a part without content")
                }
            }
            return (file, try #require(summary))
        }
    }
}

@Suite(.timeLimit(.minutes(1)))
struct BackupTests {
    private static let passphrase = "open sesame"

    private static func write(_ text: String, to path: String) throws {
        let mode = [FileAttributeKey.posixPermissions: 0o600]
        let bytes = Data(text.utf8)
        let isWritten = FileManager.default.createFile(
            atPath: path,
            contents: bytes,
            attributes: mode
        )
        try #require(isWritten)
    }

    /// Serves with a passphrase for backups.
    private func withBackups<Value: Sendable>(
        in directory: TestDirectory,
        passphrase: String = passphrase,
        _ change: (inout ServerConfiguration) -> Void = { _ in },
        _ body: (TestServer) async throws -> Value
    ) async throws -> Value {
        let secret = "\(directory.path)/backup-passphrase"
        try Self.write(passphrase, to: secret)
        return try await withServer(in: directory) {
            $0.keyFileCost = .least
            $0.backupPassphrase = .file(secret)
            change(&$0)
        } _: {
            try await body($0)
        }
    }

    private static func open(_ file: [UInt8]) throws -> (BackupManifest, database: [UInt8]) {
        var rest = file[...]
        var database: [UInt8] = []
        let manifest = try BackupFile.open(
            passphrase: Array(passphrase.utf8),
            next: { count in
                defer { rest = rest.dropFirst(count) }
                return Array(rest.prefix(count))
            },
            database: { database += $0 }
        )
        return (manifest, database)
    }

    @Test func `a backup holds the database of a moment, and the log names it`() async throws {
        let directory = try TestDirectory()
        try await withBackups(in: directory) { server in
            _ = try await server.agent("web-1", selectors: ["role:web"])
            try await server.register("web")
            let (file, summary) = try await server.backup()
            let (manifest, bytes) = try Self.open(file)
            #expect(hexadecimal(manifest.id) == summary.id)
            #expect(manifest.serverID == server.core.logic.serverID)
            #expect(manifest.trustDomain == server.core.logic.trustDomain)
            #expect(manifest.revision.number == summary.revision)
            #expect(manifest.logKey == server.core.audit.key)

            let path = "\(directory.path)/copy.sqlite"
            try Data(bytes).write(to: URL(filePath: path))
            let copy = try ServerStore(path: path)
            #expect(try copy.readNow { try $0.revision() } == manifest.revision)
            #expect(try copy.readNow { try $0.node(named: "web-1") } != nil)
            #expect(try copy.readNow { try $0.entryCount() } == 1)
            #expect(try copy.readNow { try $0.auditSize() } == 0)
            try copy.close()

            let records = try await server.requireIntactLog().records
            let making = BackupMaking(
                id: manifest.id,
                bytes: UInt64(file.count),
                sha256: Array(SHA256.hash(data: file)),
                revision: manifest.revision.number
            )
            let last = try AuditRecord(parsing: Array(try #require(records.last).utf8))
            #expect(last.event == .backupMade(making))
            #expect(summary.bytes == making.bytes)
            #expect(Array(summary.sha256) == making.sha256)
            // What the manifest says of the log is what the log was.
            var tree = MerkleFrontier()
            for record in records.prefix(Int(manifest.logSize)) {
                tree.append(MerkleHash(leaf: Array(record.utf8)))
            }
            #expect(tree.size == manifest.logSize)
            #expect(tree.root == manifest.logRoot)
            #expect(manifest.logSize == UInt64(records.count) - 1)
            try await eventually("the copy is gone") {
                let left = try FileManager.default.contentsOfDirectory(
                    atPath: server.core.configuration.backupDirectory
                )
                return left.isEmpty
            }
        }
    }

    @Test func `without a passphrase of their own there are no backups`() async throws {
        let without = await refusal { try await withServer { try await $0.backup() } }
        #expect(without?.reason == "backupPassphrase", "\(without?.message ?? "made")")
        let directory = try TestDirectory()
        let keys = "\(directory.path)/key-passphrase"
        try Self.write("the same\n", to: keys)
        let same = await refusal {
            try await withBackups(in: directory, passphrase: "the same") {
                $0.keyStorage = .encrypted
                $0.keyPassphrase = .file(keys)
            } _: {
                try await $0.backup()
            }
        }
        #expect(same?.reason == "backupPassphrase", "\(same?.message ?? "made")")
        #expect(same?.message.contains("the same secret") == true)
        #expect(same?.message.contains("keyPassphrase") == true)
    }

    @Test func `only who may take backups is given one, and a refusal is recorded`() async throws {
        let directory = try TestDirectory()
        try await withBackups(in: directory) {
            $0.admins = []
        } _: { server in
            let refused = await refusal { try await server.backup() }
            #expect(refused?.kind == .permissionDenied)
            let records = try await server.requireIntactLog().records
            #expect(records.contains { $0.contains("requestRefused") })
            #expect(!records.contains { $0.contains("backupMade") })
        }
    }

    @Test func `one backup is made at a time`() async throws {
        let directory = try TestDirectory()
        try await withBackups(in: directory) { server in
            // The first has begun when its first part is here, and ends when its reader is let go.
            try await server.administration.backup(.init()) { response in
                var parts = response.messages.makeAsyncIterator()
                _ = try #require(try await parts.next())
                let second = await refusal { try await server.backup() }
                // What is short may have been sent whole by now.
                if let second { #expect(second.reason == "backupRunning") }
                while try await parts.next() != nil {}
            }
            try await eventually("the next one is made") {
                await refusal { try await server.backup() } == nil
            }
        }
    }

    @Test func `what a crash has left of a backup goes at the next start`() async throws {
        let directory = try TestDirectory()
        let left = "\(directory.path)/data/backup/0123.sqlite"
        try FileManager.default.createDirectory(
            atPath: "\(directory.path)/data/backup",
            withIntermediateDirectories: true
        )
        try Self.write("left over", to: left)
        try await withServer(in: directory) { _ in
            #expect(!FileManager.default.fileExists(atPath: left))
        }
    }
}
