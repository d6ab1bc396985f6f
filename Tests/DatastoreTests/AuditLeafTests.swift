// SPDX-License-Identifier: Apache-2.0

import Datastore
import Foundation
import GRDB
import Testing

@Suite(.timeLimit(.minutes(1))) struct AuditLeafTests {
    let directory: TemporaryStore
    let store: ServerStore

    init() throws {
        directory = try TemporaryStore()
        store = try directory.openEstablished()
    }

    private func query(
        limit: Int = 100,
        after index: UInt64? = nil,
        newestFirst: Bool = false,
        _ change: (inout AuditLeafFilter) -> Void = { _ in }
    ) throws -> [UInt64] {
        var filter = AuditLeafFilter()
        change(&filter)
        return try store.readNow {
            try $0.queryLeaves(filter, limit: limit, after: index, newestFirst: newestFirst)
        }.map(\.index)
    }

    @Test func `leaves are numbered from 0 without gaps, also after a rollback`() throws {
        #expect(try store.writeNow { [try $0.append("a"), try $0.append("b")] } == [0, 1])
        #expect(throws: Refusal(number: 1)) {
            try store.writeNow { transaction in
                try transaction.append("lost", .sample(spiffeIDs: ["x"], serials: ["y"]))
                throw Refusal(number: 1)
            }
        }
        #expect(try store.writeNow { try $0.append("c") } == 2)
        let leaves = try store.readNow { try $0.leaves(from: 1, limit: 10) }
        #expect(leaves.map(\.index) == [1, 2])
        #expect(leaves.map(\.bytes) == [Array("b".utf8), Array("c".utf8)])
        #expect(try store.readNow { try $0.leaves(from: 0, limit: 1) }.map(\.index) == [0])
        #expect(try store.readNow { try $0.leaves(from: .max, limit: 1) } == [])
        #expect(try store.readNow { try $0.auditSize() } == 3)
    }

    @Test func `a log is named before its first record, and never again`() throws {
        #expect(try store.readNow { try $0.auditOrigin() } == nil)
        let identity = try #require(try store.readNow { try $0.identity() })
        #expect(identity.firstLogOrigin == "example.org/audit/s1")
        let origin = identity.restoredLogOrigin
        #expect(origin == "example.org/audit/s1/" + String(repeating: "07", count: 16))
        try store.writeNow { try $0.setAuditOrigin(origin) }
        #expect(try store.readNow { try $0.auditOrigin() } == origin)
        try store.writeNow { _ = try $0.append("a") }
        #expect(throws: DatastoreError.self) {
            try store.writeNow { try $0.setAuditOrigin("example.org/audit/other") }
        }
        #expect(try store.readNow { try $0.auditOrigin() } == origin)
    }

    @Test func `every field of a filter restricts, and all of them together`() throws {
        try store.writeNow { transaction in
            for index in 0..<8 {
                try transaction.append(
                    "\(index)",
                    .sample(
                        event: index % 2 == 0 ? "svidsIssued" : "nodeBanned",
                        actor: index < 4 ? "uid:0@host" : "system:rotation",
                        namespaces: index == 5 ? ["other", "shop"] : [],
                        spiffeIDs: ["id-\(index)", "id-\(index / 2)", "id-\(index)"],
                        serials: ["s\(index)", "s\(index)"],
                        time: noon + Double(index)
                    )
                )
            }
        }
        #expect(try query() == [0, 1, 2, 3, 4, 5, 6, 7])
        #expect(try query { $0.event = "nodeBanned" } == [1, 3, 5, 7])
        #expect(try query { $0.actor = "uid:0@host" } == [0, 1, 2, 3])
        #expect(try query { $0.namespace = "shop" } == [5])
        #expect(try query { $0.spiffeID = "id-3" } == [3, 6, 7])
        #expect(try query { $0.serial = "s4" } == [4])
        #expect(
            try query {
                $0.since = noon + 2
                $0.before = noon + 5
            } == [2, 3, 4]
        )
        #expect(
            try query {
                $0.event = "nodeBanned"
                $0.spiffeID = "id-3"
                $0.since = noon + 4
            } == [7]
        )
        #expect(try query { $0.event = "none" } == [])
    }

    @Test(arguments: [false, true])
    func `pages of a query cover it once, in either order`(newestFirst: Bool) throws {
        try store.writeNow { transaction in
            for index in 0..<10 {
                try transaction.append("\(index)", .sample(event: index % 3 == 0 ? "a" : "b"))
            }
        }
        var found: [UInt64] = []
        while true {
            let page = try query(limit: 2, after: found.last, newestFirst: newestFirst) {
                $0.event = "b"
            }
            if page.isEmpty { break }
            found += page
        }
        let expected: [UInt64] = [1, 2, 4, 5, 7, 8]
        #expect(found == (newestFirst ? expected.reversed() : expected))
    }

    @Test func `the frontier covers no more leaves than there are`() throws {
        #expect(try store.readNow { try $0.auditFrontier() } == AuditFrontier(size: 0, bytes: []))
        let frontier = AuditFrontier(size: 1, bytes: [1, 2, 3])
        let error = #expect(throws: DatastoreError.self) {
            try store.writeNow { try $0.saveAuditFrontier(frontier) }
        }
        guard case .constraint = error else {
            Issue.record("\(String(describing: error))")
            return
        }
        try store.writeNow { transaction in
            try transaction.append("a")
            try transaction.saveAuditFrontier(frontier)
        }
        #expect(try store.readNow { try $0.auditFrontier() } == frontier)
    }

    @Test(arguments: [
        "UPDATE audit_leaves SET bytes = x'00'", "DELETE FROM audit_leaves",
        "INSERT OR REPLACE INTO audit_leaves VALUES (0, x'00', zeroblob(32), 0, '', '', NULL)",
    ])
    func `the schema itself refuses to change or delete a leaf`(sql: String) throws {
        try store.writeNow { _ = try $0.append("a") }
        try store.close()
        let queue = try DatabaseQueue(path: directory.path)
        #expect(throws: DatabaseError.self) { try queue.write { try $0.execute(sql: sql) } }
        try queue.close()
        let reopened = try directory.open()
        #expect(
            try reopened.readNow { try $0.leaves(from: 0, limit: 9) }.map(\.bytes) == [
                Array("a".utf8)
            ]
        )
    }
}
