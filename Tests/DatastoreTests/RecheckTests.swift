// SPDX-License-Identifier: Apache-2.0

import Datastore
import Foundation
import GRDB
import Testing

/// What `signet ca recheck` reads (docs/decisions/0020-authorities-under-another.md).
@Suite(.timeLimit(.minutes(1))) struct RecheckTests {
    let directory: TemporaryStore
    let store: ServerStore

    init() throws {
        directory = try TemporaryStore()
        store = try directory.openEstablished()
        try store.writeNow { try $0.put(AuthorityRecord.sample("a1", state: "active")) }
    }

    @Test func `an intent keeps key and names, and one of an earlier release has neither`() throws {
        let intents = [["a.example.org", "b.example.org"], []].enumerated().map { place, names in
            IssuanceIntent(
                serial: [UInt8(place)],
                authorityID: "a1",
                spiffeID: "spiffe://example.org/web",
                entryID: nil,
                entryRevision: nil,
                tbsSHA256: Array(repeating: 1, count: 32),
                notAfter: noon,
                node: "web-1",
                spki: [0x30, UInt8(place)],
                dnsNames: names,
                revision: 4,
                leafIndex: 5
            )
        }
        try store.writeNow { try $0.record(intents + [.sample(9)]) }
        for intent in intents {
            #expect(try store.readNow { try $0.intent(serial: intent.serial) } == intent)
        }
        let earlier = try #require(try store.readNow { try $0.intent(serial: [9]) })
        #expect(earlier.spki == nil)
        #expect(earlier.dnsNames == [])
    }

    @Test(arguments: 1...4)
    func `intents come page by page in the order of their leaves, each once`(limit: Int) throws {
        // Serials go against the order of the leaves.
        let intents: [IssuanceIntent] = [
            .sample(9, leaf: 2), .sample(1, leaf: 4), .sample(8, leaf: 4), .sample(3, leaf: 7),
        ]
        try store.writeNow { try $0.record(intents) }
        var found: [[UInt8]] = []
        var place = IntentPlace(leafIndex: 0)
        while true {
            let from = place
            let page = try store.readNow {
                try $0.intents(after: from, leavesBelow: 7, limit: limit)
            }
            #expect(page.count <= limit)
            guard let last = page.last else { break }
            found += page.map(\.serial)
            place = IntentPlace(leafIndex: last.leafIndex, serial: last.serial)
        }
        #expect(found == [[9], [1], [8]])
        let middle = IntentPlace(leafIndex: 4, serial: [1])
        #expect(try store.readNow { try $0.intentCount(after: middle, leavesBelow: 8) } == 2)
        #expect(try store.readNow { try $0.firstIntentLeaf() } == 2)
    }

    @Test func `an intent of a log before a restore is counted, and hides none of this log`() throws
    {
        try store.writeNow { try $0.record([.sample(1, leaf: 4), .sample(2, leaf: 5)]) }
        let database = try DatabaseQueue(path: directory.path)
        try database.write { try $0.execute(sql: "UPDATE intents SET leaf = leaf - 5") }
        #expect(try store.readNow { try $0.firstIntentLeaf() } == 0)
        #expect(try store.readNow { try $0.earlierLogIntentCount() } == 1)
        let earlier = try store.readNow { try $0.earlierLogIntents(limit: 9) }
        #expect(earlier.map(\.serial) == [[1]])
        #expect(try store.readNow { try $0.intent(serial: [1]) }?.leafIndex == 0)
        let whole = try store.readNow {
            try $0.intents(after: IntentPlace(leafIndex: 0), leavesBelow: .max, limit: 9)
        }
        #expect(whole.map(\.serial) == [[2]])
    }

    @Test func `leaves are found by event and time`() throws {
        try store.writeNow { transaction in
            for (index, event) in ["a", "b", "a", "c", "a"].enumerated() {
                _ = try transaction.appendLeaf(
                    bytes: [UInt8(index)],
                    hash: Array(repeating: 0, count: 32),
                    fields: .sample(event: event, time: noon + Double(index))
                )
            }
        }
        #expect(try store.readNow { try $0.firstLeaf(since: noon + 2) } == 2)
        #expect(try store.readNow { try $0.firstLeaf(since: noon + 9) } == nil)
        let last = try store.readNow { try $0.lastLeaf(event: "a", below: 4) }
        #expect(last?.index == 2)
        #expect(try store.readNow { try $0.lastLeaf(event: "c", below: 3) } == nil)
    }

    @Test func `the first leaf of a time is looked for in the index by time`() throws {
        let plan = try store.readNow { try $0.firstLeafPlan() }
        #expect(plan.count == 1)
        #expect(plan.allSatisfy { $0.contains("audit_leaves_by_time (time>?)") }, "\(plan)")
    }

    @Test func `the oldest authority is found that has signed what is valid`() throws {
        try store.writeNow { transaction in
            for (number, end) in [1.0, 3.0, 2.0].enumerated() {
                let id = "b\(number)"
                try transaction.put(
                    AuthorityRecord.sample(id, state: "old", activatedAt: noon + Double(number))
                )
                try transaction.raiseLastIssued(authorityID: id, notAfter: noon + end)
            }
        }
        let found = try [1.0, 2.0, 4.0].map { end in
            try store.readNow { try $0.oldestActivation(signedUntil: noon + end) }
        }
        #expect(found == [noon, noon + 1, nil])
    }
}
