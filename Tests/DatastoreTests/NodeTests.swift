// SPDX-License-Identifier: Apache-2.0

import Datastore
import Foundation
import NodeSync
import SPIFFE
import Testing

@Suite(.timeLimit(.minutes(1))) struct NodeTests {
    let directory: TemporaryStore
    let store: ServerStore

    init() throws {
        directory = try TemporaryStore()
        store = try directory.openEstablished()
    }

    private func node(_ name: String) throws -> NodeRecord? {
        try store.readNow { try $0.node(named: name) }
    }

    @Test func `a node is found by name and by SPIFFE ID`() throws {
        let record = try NodeRecord.sample("web-1")
        try store.writeNow { try $0.put(record) }
        #expect(try node("web-1") == record)
        #expect(try store.readNow { try $0.node(spiffeID: record.spiffeID) } == record)
        #expect(try node("web-2") == nil)
    }

    @Test func `attesting again renews the key and lifts no ban`() throws {
        try store.writeNow { try $0.put(NodeRecord.sample("web-1")) }
        #expect(
            try store.writeNow { try $0.banNode(named: "web-1", reason: "stolen", now: noon) }
        )
        #expect(
            try store.writeNow { try $0.banNode(named: "web-1", reason: "again", now: noon + 9) }
        )
        try store.writeNow { try $0.put(NodeRecord.sample("web-1", serial: 2)) }
        let banned = try #require(try node("web-1"))
        #expect(banned.serial == [2])
        #expect(banned.ban == NodeRecord.Ban(at: noon, reason: "stolen"))
        #expect(try store.writeNow { try $0.unbanNode(named: "web-1") })
        #expect(try node("web-1")?.ban == nil)
        #expect(
            try !store.writeNow { try $0.banNode(named: "none", reason: "", now: noon) }
        )
    }

    @Test func `an evicted node is gone and may come back`() throws {
        let record = try NodeRecord.sample("web-1")
        try store.writeNow { try $0.put(record) }
        let key = record.keySPKISHA256
        #expect(try !store.readNow { try $0.isWithdrawn(nodeKey: key) })
        #expect(try store.writeNow { try $0.evictNode(named: "web-1", now: noon) } == record)
        #expect(try store.writeNow { try $0.evictNode(named: "web-1", now: noon) } == nil)
        #expect(try node("web-1") == nil)
        // Its key stays known, also when it is evicted again.
        #expect(try store.readNow { try $0.isWithdrawn(nodeKey: key) })
        let other = [UInt8](repeating: 99, count: 32)
        #expect(try !store.readNow { try $0.isWithdrawn(nodeKey: other) })
        try store.writeNow { try $0.put(record) }
        _ = try store.writeNow { try $0.evictNode(named: "web-1", now: noon + 60) }
        #expect(try store.readNow { try $0.isWithdrawn(nodeKey: key) })
        try store.writeNow { try $0.put(record) }
        #expect(try node("web-1") == record)
    }

    @Test func `a revision is known to be of a node's selectors only if it is newer than they are`()
        throws
    {
        func changedAt() throws -> UInt64? {
            try store.readNow { try $0.scopeChangedAt(ofNode: "web-1") }
        }
        func put(_ selectors: Set<Selector>) throws {
            let record = try NodeRecord.sample("web-1", selectors: selectors)
            try store.writeNow { try $0.put(record) }
        }
        let (web, db) = (try Selector("role:web"), try Selector("role:db"))
        #expect(try changedAt() == nil)
        let first = try store.writeNow { try $0.advanceRevision() }.number
        try put([web])
        #expect(try changedAt() == first + 1)
        let second = try store.writeNow { try $0.advanceRevision() }.number
        // A renewal changes nothing of the scope.
        try put([web])
        #expect(try changedAt() == first + 1)
        try put([db])
        #expect(try changedAt() == second + 1)
        // The name comes back as another machine.
        _ = try store.writeNow { try $0.evictNode(named: "web-1", now: noon) }
        let third = try store.writeNow { try $0.advanceRevision() }.number
        try put([db])
        #expect(try changedAt() == third + 1)
        #expect(try store.readNow { try $0.nodeCount() } == 1)
    }

    @Test func `the time a node was seen only rises`() throws {
        try store.writeNow { try $0.put(NodeRecord.sample("web-1")) }
        try store.writeNow { try $0.markNodesSeen(["web-1", "none"], at: noon + 60) }
        try store.writeNow { try $0.markNodesSeen(["web-1"], at: noon + 30) }
        #expect(try node("web-1")?.lastSeen == noon + 60)
    }

    @Test func `nodes are paged by name`() throws {
        try store.writeNow { transaction in
            for name in ["c", "a", "b"] { try transaction.put(NodeRecord.sample(name)) }
        }
        let pages = try store.readNow {
            [try $0.nodes(limit: 2), try $0.nodes(after: "b", limit: 2)]
        }
        #expect(pages.map { $0.map(\.name) } == [["a", "b"], ["c"]])
    }
}
