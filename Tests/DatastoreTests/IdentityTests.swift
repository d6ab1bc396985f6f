// SPDX-License-Identifier: Apache-2.0

import Datastore
import Foundation
import NodeSync
import SPIFFE
import Testing

@Suite(.timeLimit(.minutes(1))) struct IdentityTests {
    let directory: TemporaryStore
    let store: ServerStore

    init() throws {
        directory = try TemporaryStore()
        store = try directory.openEstablished()
    }

    @Test func `an identity is given once`() throws {
        #expect(throws: DatastoreError.alreadyEstablished) {
            try store.writeNow { try $0.establish(.sample(epochByte: 9)) }
        }
        #expect(try store.readNow { try $0.identity() } == StoreIdentity.sample())
    }

    @Test func `one transaction takes one number, the next takes the next`() throws {
        let first = try store.writeNow { transaction in
            [try transaction.advanceRevision(), try transaction.advanceRevision()]
        }
        #expect(first.map(\.number) == [1, 1])
        #expect(try store.writeNow { try $0.advanceRevision() }.number == 2)
    }

    @Test func `a rolled back transaction gives its number back`() throws {
        #expect(throws: Refusal(number: 1)) {
            try store.writeNow { transaction in
                try transaction.advanceRevision()
                throw Refusal(number: 1)
            }
        }
        #expect(try store.writeNow { try $0.advanceRevision() }.number == 1)
    }

    @Test func `the clock's high-water mark only rises`() throws {
        #expect(try store.readNow { try $0.clockHighWater() } == nil)
        try store.writeNow { try $0.raiseClockHighWater(to: noon) }
        try store.writeNow { try $0.raiseClockHighWater(to: noon - 10) }
        #expect(try store.readNow { try $0.clockHighWater() } == noon)
        try store.writeNow { try $0.raiseClockHighWater(to: noon + 0.25) }
        #expect(try store.readNow { try $0.clockHighWater() } == noon + 0.25)
    }

    @Test func `a new epoch keeps the number and needs a snapshot`() throws {
        try store.writeNow { transaction in
            let number = try transaction.advanceRevision().number
            try transaction.recordChange(
                ResourceKey(.bundle, "b"),
                number: number,
                isRemoval: false
            )
        }
        let epoch = try Epoch(bytes: Array(repeating: 9, count: 16))
        try store.writeNow { try $0.beginEpoch(epoch) }
        #expect(
            try store.readNow { try $0.revision() } == Revision(epoch: epoch, number: 1)
        )
        #expect(
            try store.readNow { try $0.changes(after: 0, limit: 10) } == .snapshotNeeded
        )
        #expect(try store.readNow { try $0.changes(after: 1, limit: 10) } == .delta([]))
    }

    @Test func `the probe commits`() async throws {
        let before = store.commitCounts.commits
        try await store.probeWritable()
        #expect(store.commitCounts.commits == before + 1)
    }
}
