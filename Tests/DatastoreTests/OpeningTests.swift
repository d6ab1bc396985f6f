// SPDX-License-Identifier: Apache-2.0

import Datastore
import Foundation
import GRDB
import NodeSync
import SPIFFE
import Testing

@Suite(.timeLimit(.minutes(1))) struct OpeningTests {
    let directory: TemporaryStore

    init() throws {
        directory = try TemporaryStore()
    }

    @Test func `a new store has no identity and everything else refuses to work without one`()
        throws
    {
        let store = try directory.open()
        #expect(try store.readNow { try $0.identity() } == nil)
        #expect(throws: DatastoreError.notEstablished) {
            try store.readNow { try $0.revision() }
        }
        #expect(throws: DatastoreError.notEstablished) {
            try store.writeNow { try $0.advanceRevision() }
        }
    }

    @Test func `what was written is there after reopening`() throws {
        let store = try directory.openEstablished()
        let number = try store.writeNow { try $0.advanceRevision() }
        try store.close()
        let reopened = try directory.open()
        #expect(try reopened.readNow { try $0.identity() } == StoreIdentity.sample())
        #expect(try reopened.readNow { try $0.revision() } == number)
    }

    @Test func `only the owner may read the files`() throws {
        let store = try directory.openEstablished()
        for suffix in ["", "-wal", "-shm"] {
            let attributes = try FileManager.default.attributesOfItem(
                atPath: directory.path + suffix
            )
            #expect(attributes[.posixPermissions] as? Int == 0o600, "store.db\(suffix)")
        }
        try store.close()
    }

    @Test(arguments: 0...Schema.versionCount)
    func `a file of every earlier schema opens, keeps its rows and works`(version: Int) throws {
        try Schema.create(path: directory.path, version: version)
        if version > 0 {
            let queue = try DatabaseQueue(path: directory.path)
            try queue.write {
                try $0.execute(
                    sql: """
                        INSERT INTO meta (id, trust_domain, server_id, epoch, revision,
                            changes_floor, created_at)
                        VALUES (1, 'example.org', 's1', x'07070707070707070707070707070707', 41,
                            0, 1800000000000)
                        """
                )
            }
            try queue.close()
        }
        let store = version > 0 ? try directory.open() : try directory.openEstablished()
        #expect(try store.readNow { try $0.identity() } == StoreIdentity.sample())
        let number = try store.writeNow { transaction in
            let number = try transaction.advanceRevision().number
            try transaction.put(.sample("e1", revision: number))
            try transaction.append("leaf")
            return number
        }
        #expect(number == (version > 0 ? 42 : 1))
        #expect(try store.readNow { try $0.entry(id: "e1") } != nil)
    }

    @Test func `opening again migrates nothing`() throws {
        try directory.open().close()
        let before = try schema()
        try directory.open().close()
        #expect(try schema() == before)
        #expect(before.contains { $0.hasPrefix("CREATE TABLE entries") })
    }

    @Test func `a file of a newer release is refused and left alone`() throws {
        try directory.open().close()
        let queue = try DatabaseQueue(path: directory.path)
        try queue.write {
            try $0.execute(
                sql: "INSERT INTO grdb_migrations (identifier) VALUES ('9999-future')"
            )
        }
        try queue.close()
        #expect(throws: DatastoreError.newerSchema) { try directory.open() }
    }

    @Test func `a database of another program is refused and left alone`() throws {
        let queue = try DatabaseQueue(path: directory.path)
        try queue.write { try $0.execute(sql: "CREATE TABLE recipes (name TEXT)") }
        try queue.close()
        let before = try Data(contentsOf: URL(fileURLWithPath: directory.path))
        #expect(throws: DatastoreError.foreignFile) { try directory.open() }
        #expect(try Data(contentsOf: URL(fileURLWithPath: directory.path)) == before)
    }

    @Test func `a file that is no database is corrupt`() throws {
        try Data(repeating: 0x5A, count: 8192).write(to: URL(fileURLWithPath: directory.path))
        let error = #expect(throws: DatastoreError.self) { try directory.open() }
        guard case .corrupt = error else {
            Issue.record("\(String(describing: error))")
            return
        }
    }

    @Test func `a directory that does not exist cannot be opened`() {
        let error = #expect(throws: DatastoreError.self) {
            try ServerStore(path: "/nonexistent/store.db")
        }
        guard case .cannotOpen = error else {
            Issue.record("\(String(describing: error))")
            return
        }
    }

    @Test func `opened read-only a store is read and not written`() async throws {
        let writer = try directory.openEstablished()
        try writer.close()
        let store = try directory.open { $0.access = .readOnly }
        #expect(try store.readNow { try $0.identity() } != nil)
        await #expect(throws: DatastoreError.readOnly) {
            try await store.write { try $0.advanceRevision() }
        }
        await #expect(throws: DatastoreError.readOnly) { try await store.probeWritable() }
    }

    @Test func `opened read-only an older schema is refused instead of migrated`() throws {
        try Schema.create(path: directory.path, version: 1)
        let error = #expect(throws: DatastoreError.self) {
            try directory.open { $0.access = .readOnly }
        }
        guard case .cannotOpen = error else {
            Issue.record("\(String(describing: error))")
            return
        }
    }

    @Test func `opened read-only a missing file is not created`() throws {
        #expect(throws: DatastoreError.self) { try directory.open { $0.access = .readOnly } }
        #expect(!FileManager.default.fileExists(atPath: directory.path))
    }

    @Test(.enabled(if: geteuid() != 0, "root may write every file"))
    func `a file without write permission is read-only`() throws {
        try directory.openEstablished().close()
        try FileManager.default.setAttributes(
            [.posixPermissions: 0o400],
            ofItemAtPath: directory.path
        )
        #expect(throws: DatastoreError.readOnly) {
            try directory.open().writeNow { try $0.advanceRevision() }
        }
    }

    private func schema() throws -> [String] {
        let queue = try DatabaseQueue(path: directory.path)
        defer { try? queue.close() }
        return try queue.read {
            try String.fetchAll(
                $0,
                sql: "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name"
            ) + String.fetchAll($0, sql: "SELECT identifier FROM grdb_migrations ORDER BY rowid")
        }
    }
}
