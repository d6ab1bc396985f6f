// SPDX-License-Identifier: Apache-2.0

import AuditLog
import Backup
import CAServer
import Clocks
import ControlAPI
import ControlAPIProtos
import Crypto
import Datastore
import DurableFiles
import Foundation
import GRPCCore
import Issuance
import NodeSync
import SPIFFE
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

extension TestServer {
    /// What is in the directory of the copies.
    fileprivate func copies() throws -> [String] {
        let directory = core.configuration.backupDirectory
        guard FileManager.default.fileExists(atPath: directory) else { return [] }
        return try FileManager.default.contentsOfDirectory(atPath: directory)
    }

    /// The events on record, as the database has them.
    fileprivate func events() async throws -> Set<String> {
        let leaves = try await core.datastore.read { try $0.leaves(from: 0, limit: 10_000) }
        return Set(try leaves.map { try AuditRecord(parsing: $0.bytes).event.name.rawValue })
    }

    fileprivate var isDeskFree: Bool {
        guard (try? core.backupDesk.turn.begin()) != nil else { return false }
        core.backupDesk.turn.end()
        return true
    }

    /// Makes the database larger than what is on its way to a reader who takes nothing.
    fileprivate func grow() async throws {
        let draft = DocumentDraft(
            key: DocumentKey(
                group: DocumentKey.nativeGroup,
                kind: "Large",
                namespace: "default",
                name: "large"
            ),
            canonicalJSON: [UInt8](repeating: 0x20, count: 16 << 20),
            labels: [:],
            actor: Self.actor,
            reason: ""
        )
        try await core.datastore.write { transaction in
            let number = try transaction.advanceRevision().number
            _ = try transaction.put(
                draft,
                newUID: "large",
                expecting: .any,
                number: number,
                now: Date()
            )
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
        clock: any NodeClock = SystemClock(),
        _ change: (inout ServerConfiguration) -> Void = { _ in },
        _ body: (TestServer) async throws -> Value
    ) async throws -> Value {
        let secret = "\(directory.path)/backup-passphrase"
        try Self.write(passphrase, to: secret)
        return try await withServer(in: directory, clock: clock) {
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
            try #expect(server.copies().isEmpty)
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
            // Nobody may ask for the log here.
            let events = try await server.events()
            #expect(events.contains("requestRefused"))
            #expect(!events.contains("backupMade"))
            try #expect(server.copies().isEmpty)
        }
    }

    @Test func `one backup is made at a time`() async throws {
        let directory = try TestDirectory()
        try await withBackups(in: directory) { server in
            let desk = server.core.backupDesk.turn
            try desk.begin()
            let second = await refusal { try await server.backup() }
            #expect(second?.reason == "backupRunning", "\(second?.message ?? "made")")
            #expect(throws: APIError.self) { try desk.begin() }
            desk.end()
            _ = try await server.backup()
            // Whoever is served gives it back.
            try desk.begin()
            desk.end()
        }
    }

    @Test func `a reader who takes nothing for 30 s is ended`() async throws {
        let (directory, clock) = (try TestDirectory(), ShiftedClock())
        try await withBackups(in: directory, clock: clock) { server in
            try await server.grow()
            let refused = await refusal {
                try await server.administration.backup(.init()) { response in
                    var parts = response.messages.makeAsyncIterator()
                    _ = try #require(try await parts.next())
                    try await eventually("it is ended") {
                        clock.pass(.seconds(31))
                        return server.isDeskFree
                    }
                    while try await parts.next() != nil {}
                }
            }
            #expect(refused != nil)
            #expect(try await !server.events().contains("backupMade"))
            try #expect(server.copies().isEmpty)
        }
    }

    @Test func `a reader who goes ends the backup`() async throws {
        struct Gone: Error {}
        let directory = try TestDirectory()
        try await withBackups(in: directory) { server in
            try await server.grow()
            let gone = await refusal {
                try await server.administration.backup(.init()) { response in
                    var parts = response.messages.makeAsyncIterator()
                    _ = try #require(try await parts.next())
                    // The copy has no name any more while it is sent: a crash leaves nothing.
                    try #expect(server.copies().isEmpty)
                    throw Gone()
                }
            }
            #expect(gone != nil)
            try await eventually("the next one may be made") { server.isDeskFree }
            #expect(try await !server.events().contains("backupMade"))
        }
    }

    @Test func `no copy is made where the rest is left to the server itself`() async throws {
        let directory = try TestDirectory()
        try await withBackups(in: directory) { server in
            let room = FileSystemRoom(bytes: 1 << 40, freeBytes: DecisionRoom.freeBytesMin)
            let id = [UInt8](repeating: 1, count: BackupManifest.idCount)
            let error = #expect(throws: APIError.self) {
                _ = try BackupSource(
                    of: server.core,
                    id: id,
                    until: BackupInterruption(),
                    room: room
                )
            }
            #expect(error?.reason == "backupRoom")
            #expect(error?.message.contains(server.core.configuration.backupDirectory) == true)
            try #expect(server.copies().isEmpty)
        }
    }

    @Test func `a copy that nobody waits for leaves nothing`() async throws {
        let directory = try TestDirectory()
        try await withBackups(in: directory) { server in
            let id = [UInt8](repeating: 1, count: BackupManifest.idCount)
            let interruption = BackupInterruption()
            interruption.end()
            #expect(throws: DatastoreError.interrupted) {
                _ = try BackupSource(of: server.core, id: id, until: interruption)
            }
            try #expect(server.copies().isEmpty)
        }
    }

    @Test func `what a crash has left of a backup goes at the next start, and nothing else`()
        async throws
    {
        let directory = try TestDirectory()
        let folder = "\(directory.path)/data/backup"
        try FileManager.default.createDirectory(
            atPath: folder,
            withIntermediateDirectories: true
        )
        let id = String(repeating: "0f", count: BackupManifest.idCount)
        let left = ["\(id).sqlite", "\(id).sqlite-journal"]
        let kept = [
            "0123.sqlite", "\(id).signetbackup", "\(id)0.sqlite", "G\(id.dropFirst()).sqlite",
            "last-night.signetbackup",
        ]
        for name in left + kept { try Self.write("left over", to: "\(folder)/\(name)") }
        try await withServer(in: directory) { server in
            try #expect(Set(server.copies()) == Set(kept))
        }
    }

    @Test func `what cannot be deleted of a backup keeps no server from starting`() async throws {
        let directory = try TestDirectory()
        let id = String(repeating: "0f", count: BackupManifest.idCount)
        let left = "\(directory.path)/data/backup/\(id).sqlite"
        // A directory is no file of a backup, and cannot be unlinked.
        try FileManager.default.createDirectory(atPath: left, withIntermediateDirectories: true)
        try await withServer(in: directory) { server in
            try #expect(server.copies() == ["\(id).sqlite"])
        }
    }
}
