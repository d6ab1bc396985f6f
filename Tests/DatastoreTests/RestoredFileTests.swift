// SPDX-License-Identifier: Apache-2.0

import Datastore
import Foundation
import GRDB
import SPIFFE
import Testing

/// What is looked at in the database of a backup before it is used
/// (docs/decisions/0022-backup-and-restore.md, "Restore", step 1).
@Suite(.timeLimit(.minutes(1))) struct RestoredFileTests {
    let directory: TemporaryStore

    init() throws {
        directory = try TemporaryStore()
    }

    private func change(_ sql: String) throws {
        let queue = try DatabaseQueue(path: directory.path)
        try queue.writeWithoutTransaction { try $0.execute(sql: sql) }
        try queue.close()
    }

    @Test func `a store of each release is one`() throws {
        for version in 1...Schema.versionCount {
            let path = "\(directory.directory)/\(version).db"
            try Schema.create(path: path, version: version)
            try RestoredFile.check(path)
        }
    }

    @Test(
        arguments: [
            "CREATE TRIGGER planted AFTER INSERT ON nodes BEGIN DELETE FROM revoked_identities; END",
            "CREATE VIEW planted AS SELECT 1",
            "CREATE TABLE planted (a)",
            "DROP INDEX intents_by_leaf",
        ]
    )
    func `what no migration made is refused`(sql: String) throws {
        try directory.openEstablished().close()
        try RestoredFile.check(directory.path)
        try change(sql)
        #expect(throws: DatastoreError.self) { try RestoredFile.check(directory.path) }
    }

    @Test func `files of others and of newer releases are refused`() throws {
        try directory.openEstablished().close()
        try change("INSERT INTO grdb_migrations VALUES ('9999-later')")
        #expect(throws: DatastoreError.newerSchema) { try RestoredFile.check(directory.path) }
        try change("PRAGMA application_id = 7")
        #expect(throws: DatastoreError.foreignFile) { try RestoredFile.check(directory.path) }
    }

    @Test func `a migration that is left out is refused`() throws {
        try directory.openEstablished().close()
        try change("DELETE FROM grdb_migrations WHERE identifier LIKE '0005%'")
        #expect(throws: DatastoreError.self) { try RestoredFile.check(directory.path) }
    }

    @Test func `a store of an earlier release is read, and copied to be migrated`() throws {
        let old = "\(directory.directory)/old.db"
        try Schema.create(path: old, version: Schema.versionCount - 1)
        #expect(try RestoredFile.isOfEarlierRelease(old))
        #expect(try RestoredFile.serverID(of: old) == nil)
        let copy = "\(directory.directory)/copy.db"
        try RestoredFile.copy(old, to: copy)
        try ServerStore(path: copy).close()
        #expect(try !RestoredFile.isOfEarlierRelease(copy))
        try RestoredFile.check(copy)
        // What was copied is as it was.
        #expect(try RestoredFile.isOfEarlierRelease(old))

        let store = try directory.openEstablished()
        let identity = try store.readNow { try $0.identity() }
        try store.close()
        #expect(try RestoredFile.serverID(of: directory.path) == identity?.serverID)
        #expect(identity != nil)
        try change("PRAGMA application_id = 7")
        #expect(throws: DatastoreError.self) { try RestoredFile.serverID(of: directory.path) }
    }

    @Test func `damage is found`() throws {
        try directory.openEstablished().close()
        var bytes = try Data(contentsOf: URL(fileURLWithPath: directory.path))
        // The header of each page but the first.
        for page in stride(from: 4096, to: bytes.count, by: 4096) { bytes[page] ^= 0xFF }
        try bytes.write(to: URL(fileURLWithPath: directory.path))
        #expect(throws: DatastoreError.self) { try RestoredFile.check(directory.path) }
    }
}
