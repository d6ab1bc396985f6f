// SPDX-License-Identifier: Apache-2.0

import Datastore
import Foundation
import GRDB
import NodeSync
import SPIFFE
import Synchronization
import Testing

@Suite(.timeLimit(.minutes(1))) struct BackupCopyTests {
    let directory: TemporaryStore
    let store: ServerStore
    var copyPath: String { directory.directory + "/copy.db" }

    init() throws {
        directory = try TemporaryStore()
        store = try directory.openEstablished()
    }

    @discardableResult
    private func copy(
        bytesMax: UInt64 = 1 << 30,
        from leaf: UInt64 = 0,
        until interruption: BackupInterruption = BackupInterruption()
    ) throws -> BackupSnapshot {
        try BackupCopy.make(
            of: directory.path,
            at: copyPath,
            bytesMax: bytesMax,
            leafHashesFrom: leaf,
            until: interruption
        )
    }

    private func fill() throws {
        try store.writeNow { transaction in
            try transaction.put(AuthorityRecord.sample("a1", state: "active"))
            let number = try transaction.advanceRevision().number
            try transaction.put(.sample("web", revision: number))
            let (a, b) = (
                try SPIFFEID("spiffe://example.org/a"), try SPIFFEID("spiffe://example.org/b")
            )
            let document = try transaction.put(
                DocumentDraft(
                    key: DocumentKey(
                        group: DocumentKey.nativeGroup,
                        kind: "DelegationPolicy",
                        namespace: "default",
                        name: "p"
                    ),
                    canonicalJSON: Array("{}".utf8),
                    labels: [:],
                    actor: "uid:0@host",
                    reason: ""
                ),
                newUID: "uid-p",
                expecting: .any,
                number: number,
                now: noon
            )
            try transaction.put(
                DelegationPolicy(
                    id: document.uid,
                    namespace: "default",
                    name: "p",
                    version: document.resourceVersion,
                    subjects: [a],
                    actors: [b],
                    audiences: ["ledger"],
                    expires: nil
                )
            )
            try transaction.record([DelegationParty(id: a, issuedAt: noon, notAfter: noon)])
            try transaction.put(UpstreamRevocation(id: "a9", namedAt: noon, isWaiting: false))
            try propose(in: transaction)
            for index in UInt8(0)..<3 {
                _ = try transaction.appendLeaf(
                    bytes: [index],
                    hash: [UInt8](repeating: index, count: 32),
                    fields: AuditLeafFields(
                        time: noon,
                        event: "e",
                        actor: "a",
                        namespaces: ["n"],
                        spiffeIDs: ["spiffe://example.org/web"],
                        serials: ["01"]
                    )
                )
            }
        }
    }

    private func propose(in transaction: Transaction) throws {
        let proposal = ProposalRecord(
            id: Array(repeating: 1, count: ProposalRecord.idByteCount),
            actor: "uid:0@host",
            certificate: nil,
            topic: ProposalTopic(act: "unban", subject: "n1"),
            content: Array("{}".utf8),
            sha256: Array(repeating: 1, count: 32),
            madeAt: noon,
            endsAt: noon + 60
        )
        try transaction.insert(proposal)
        try transaction.record(
            ApprovalRecord(
                proposalID: proposal.id,
                actor: "spiffe://example.org/b",
                certificate: nil,
                approvedAt: noon
            )
        )
    }

    private func tables(_ path: String) throws -> Set<String> {
        let queue = try DatabaseQueue(path: path)
        return try queue.read { database in
            Set(
                try String.fetchAll(
                    database,
                    sql: """
                        SELECT name FROM sqlite_schema WHERE type = 'table'
                        AND name NOT LIKE 'sqlite_%' AND name NOT LIKE 'grdb_%'
                        """
                )
            )
        }
    }

    @Test func `each table of the schema is copied or empty`() throws {
        let (copied, empty) = (Set(BackupTables.copied), Set(BackupTables.empty))
        #expect(try tables(directory.path) == copied.union(empty))
        #expect(copied.isDisjoint(with: empty))
        #expect(copied.count == BackupTables.copied.count)
        #expect(empty.count == BackupTables.empty.count)
    }

    @Test func `what is copied refers to what is copied`() throws {
        let queue = try DatabaseQueue(path: directory.path)
        for table in BackupTables.copied {
            let parents = try queue.read { database in
                try String.fetchSet(
                    database,
                    sql: "SELECT \"table\" FROM pragma_foreign_key_list(?)",
                    arguments: [table]
                )
            }
            #expect(parents.isSubset(of: BackupTables.copied), "\(table)")
        }
    }

    @Test func `a copy has the rows of the copied tables, and no others`() throws {
        try fill()
        let snapshot = try copy()
        #expect(snapshot.identity == (try .sample()))
        #expect(snapshot.revision == (try store.readNow { try $0.revision() }))
        #expect(snapshot.auditSize == 3)
        #expect(snapshot.leafHashes == (UInt8(0)..<3).map { [UInt8](repeating: $0, count: 32) })

        let (source, copied) = (
            try DatabaseQueue(path: directory.path), try DatabaseQueue(path: copyPath)
        )
        func rows(_ queue: DatabaseQueue, _ table: String) throws -> [Row] {
            try queue.read { try Row.fetchAll($0, sql: "SELECT * FROM \(table)") }
        }
        for table in BackupTables.copied {
            #expect(try rows(copied, table) == rows(source, table), "\(table)")
        }
        #expect(try !rows(copied, "authorities").isEmpty)
        #expect(try !rows(copied, "entries").isEmpty)
        #expect(try !rows(copied, "delegation_terms").isEmpty)
        #expect(try !rows(copied, "delegation_parties").isEmpty)
        #expect(try !rows(copied, "upstream_revocations").isEmpty)
        // As a new file has them.
        let fresh = try TemporaryStore()
        try fresh.open().close()
        let new = try DatabaseQueue(path: fresh.path)
        for table in BackupTables.empty {
            #expect(try rows(copied, table) == rows(new, table), "\(table)")
        }
        #expect(try !rows(source, "approvals").isEmpty)
    }

    @Test func `a copy opens as a store`() throws {
        try fill()
        try copy()
        let copied = try ServerStore(path: copyPath)
        #expect(try copied.readNow { try $0.identity() } == .sample())
        #expect(try copied.readNow { try $0.authorities() }.map(\.id) == ["a1"])
        #expect(try copied.readNow { try $0.auditSize() } == 0)
        try copied.close()
    }

    @Test func `a copy is one file that nobody else reads`() throws {
        try fill()
        try copy()
        let names = try FileManager.default.contentsOfDirectory(atPath: directory.directory)
        #expect(names.filter { $0.hasPrefix("copy.db") } == ["copy.db"])
        let attributes = try FileManager.default.attributesOfItem(atPath: copyPath)
        #expect(attributes[.posixPermissions] as? Int == 0o600)
    }

    @Test func `only the last leaves' hashes are told`() throws {
        try fill()
        #expect(try copy(from: 2).leafHashes == [[UInt8](repeating: 2, count: 32)])
    }

    @Test func `a copy that has no room is refused, and the store goes on`() throws {
        try fill()
        #expect(throws: DatastoreError.full) {
            try copy(bytesMax: (BackupCopy.pagesMin - 1) * BackupCopy.pageBytes)
        }
        #expect(!FileManager.default.fileExists(atPath: copyPath))
        // More than fits into the least copy.
        try store.writeNow { transaction in
            let number = try transaction.advanceRevision().number
            for index in 0..<20_000 {
                try transaction.put(.sample("entry-\(index)", revision: number))
            }
        }
        #expect(throws: DatastoreError.full) {
            try copy(bytesMax: BackupCopy.pagesMin * BackupCopy.pageBytes)
        }
        try store.writeNow { try $0.put(AuthorityRecord.sample("a2")) }
    }

    @Test func `a store without identity is not copied`() throws {
        let other = try TemporaryStore()
        try other.open().close()
        #expect(throws: DatastoreError.notEstablished) {
            try BackupCopy.make(
                of: other.path,
                at: copyPath,
                bytesMax: 1 << 30,
                leafHashesFrom: 0,
                until: BackupInterruption()
            )
        }
    }

    @Test func `a copy that nobody waits for is interrupted`() throws {
        try fill()
        let interruption = BackupInterruption()
        interruption.end()
        #expect(throws: DatastoreError.interrupted) { try copy(until: interruption) }
    }

    @Test func `what is under way is interrupted, and nothing after it`() throws {
        let interruption = BackupInterruption()
        let calls = Mutex(0)
        try interruption.during {
            calls.withLock { $0 += 1 }
        } _: {
            try interruption.check()
            interruption.end()
        }
        #expect(calls.withLock { $0 } == 1)
        #expect(throws: DatastoreError.interrupted) { try interruption.check() }
        // It is closed by now.
        interruption.end()
        #expect(calls.withLock { $0 } == 1)
    }

    @Test func `a statement in its midst is interrupted`() throws {
        let queue = try DatabaseQueue()
        let interruption = BackupInterruption()
        let begun = DispatchSemaphore(value: 0)
        let function = DatabaseFunction("begun", argumentCount: 0) { _ in
            begun.signal()
            return 1
        }
        let ender = Thread {
            begun.wait()
            interruption.end()
        }
        ender.start()
        let error = #expect(throws: DatabaseError.self) {
            try interruption.during {
                queue.interrupt()
            } _: {
                try queue.writeWithoutTransaction { database in
                    database.add(function: function)
                    // Without end, but for the interruption.
                    _ = try Int.fetchOne(
                        database,
                        sql: """
                            WITH RECURSIVE n(x) AS (SELECT begun() UNION ALL SELECT x + 1 FROM n)
                            SELECT count(*) FROM n
                            """
                    )
                }
            }
        }
        #expect(error?.resultCode == .SQLITE_INTERRUPT)
    }

    @Test func `damage that the copy meets ends the writing of the store`() async throws {
        try store.writeNow { transaction in
            let number = try transaction.advanceRevision().number
            for index in 0..<2000 {
                try transaction.put(.sample("entry-\(index)", revision: number))
            }
        }
        try store.close()
        var file = try Data(contentsOf: URL(filePath: directory.path))
        let pages = file.count / 4096
        for page in (pages * 3 / 4)..<pages {
            let start = page * 4096
            file.replaceSubrange(start..<start + 200, with: repeatElement(0xEE, count: 200))
        }
        try file.write(to: URL(filePath: directory.path))
        let damaged = try directory.open()
        try await damaged.probeWritable()
        do {
            try copy()
            Issue.record("it was copied")
        } catch let error as DatastoreError {
            #expect(damaged.foundDamaged(error), "\(error)")
        }
        await #expect(throws: DatastoreError.self) { try await damaged.probeWritable() }
    }

    @Test func `what befalls the copy alone is not the store's`() async throws {
        #expect(!store.foundDamaged(.full))
        #expect(!store.foundDamaged(.inputOutput("of another file")))
        try await store.probeWritable()
    }
}
