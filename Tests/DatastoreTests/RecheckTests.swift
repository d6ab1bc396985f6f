// SPDX-License-Identifier: Apache-2.0

import Datastore
import Foundation
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

    @Test func `leaves are found by event, index and time`() throws {
        try store.writeNow { transaction in
            for (index, event) in ["a", "b", "a", "c", "a"].enumerated() {
                _ = try transaction.appendLeaf(
                    bytes: [UInt8(index)],
                    hash: Array(repeating: 0, count: 32),
                    fields: .sample(event: event, time: noon + Double(index))
                )
            }
        }
        try store.readNow { log in
            let found = try log.leaves(events: ["a", "c"], from: 1, below: 4, limit: 9)
            #expect(found.map(\.index) == [2, 3])
            #expect(try log.leaves(events: ["a"], from: 0, below: 9, limit: 2).count == 2)
            #expect(try log.firstLeaf(since: noon + 2) == 2)
            #expect(try log.firstLeaf(since: noon + 9) == nil)
            #expect(try log.lastLeaf(event: "a", below: 4)?.index == 2)
            #expect(try log.lastLeaf(event: "c", below: 3) == nil)
        }
    }
}
