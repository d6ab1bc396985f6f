// SPDX-License-Identifier: Apache-2.0

import Datastore
import NodeSync
import SPIFFE
import Testing

@Suite(.timeLimit(.minutes(1))) struct ChangeTests {
    let directory: TemporaryStore
    let store: ServerStore

    init() throws {
        directory = try TemporaryStore()
        store = try directory.openEstablished()
    }

    private func change(_ names: String..., isRemoval: Bool = false) throws {
        try store.writeNow { transaction in
            let number = try transaction.advanceRevision().number
            for name in names {
                try transaction.recordChange(
                    ResourceKey(.document, name),
                    number: number,
                    isRemoval: isRemoval
                )
            }
        }
    }

    private func changes(after number: UInt64, limit: Int = 100) throws -> StoredChanges {
        try store.readNow { try $0.changes(after: number, limit: limit) }
    }

    @Test func `a change needs the number of its own transaction`() throws {
        let key = ResourceKey(.document, "a")
        try change("a")
        for number in [0, 1, 2] as [UInt64] {
            #expect(throws: DatastoreError.revisionNotAdvanced(number)) {
                try store.writeNow {
                    try $0.recordChange(key, number: number, isRemoval: false)
                }
            }
        }
    }

    @Test func `a delta holds each resource once, where it ended`() throws {
        try change("a", "b")
        try change("c")
        try change("a", isRemoval: true)
        #expect(
            try changes(after: 0)
                == .delta([
                    StoredChange(number: 1, key: ResourceKey(.document, "b"), isRemoval: false),
                    StoredChange(number: 2, key: ResourceKey(.document, "c"), isRemoval: false),
                    StoredChange(number: 3, key: ResourceKey(.document, "a"), isRemoval: true),
                ])
        )
        #expect(try changes(after: 3) == .delta([]))
    }

    @Test func `each change of a resource is told, with whom it concerned before`() throws {
        let roles = ["role:a", "role:b", "role:c"]
        for role in roles {
            try store.writeNow { transaction in
                let number = try transaction.advanceRevision().number
                try transaction.put(RegistrationEntry.sample("e", revision: number, node: [role]))
            }
        }
        guard case .delta(let each) = try store.readNow({ try $0.eachChange(after: 0, limit: 9) })
        else {
            Issue.record("the changes are not kept")
            return
        }
        #expect(each.map(\.number) == [1, 2, 3])
        #expect(
            each.map(\.priorNodeSelectors) == [
                nil, [try Selector("role:a")], [try Selector("role:b")],
            ]
        )
        guard case .delta(let merged) = try changes(after: 0) else { return }
        #expect(merged.map(\.number) == [3])
        #expect(merged.map(\.priorNodeSelectors) == [nil])
    }

    @Test func `a delta that is too long, or of the future, is a snapshot`() throws {
        try change("a", "b", "c")
        #expect(try changes(after: 0, limit: 2) == .snapshotNeeded)
        #expect(try changes(after: 2) == .snapshotNeeded)
        #expect(try changes(after: .max) == .snapshotNeeded)
    }

    @Test func `an entry's change tells the scope it had before the range`() throws {
        try store.writeNow { transaction in
            let number = try transaction.advanceRevision().number
            try transaction.put(.sample("e", revision: number, node: ["role:web"]))
        }
        for node in ["role:db", "role:cache"] {
            try store.writeNow { transaction in
                let number = try transaction.advanceRevision().number
                try transaction.put(.sample("e", revision: number, node: [node]))
            }
        }
        guard case .delta(let sinceOne) = try changes(after: 1) else {
            Issue.record("a delta was expected")
            return
        }
        #expect(sinceOne.map(\.number) == [3])
        #expect(sinceOne.map(\.priorNodeSelectors) == [[try Selector("role:web")]])
        guard case .delta(let sinceZero) = try changes(after: 0) else {
            Issue.record("a delta was expected")
            return
        }
        #expect(sinceZero.map(\.priorNodeSelectors) == [nil])
    }

    @Test func `trimming raises the floor before rows go, and goes on until done`() throws {
        for index in 0..<10 { try change("r\(index)") }
        #expect(try store.writeNow { try $0.trimChanges(keeping: 4, limit: 2) })
        #expect(try changes(after: 5) == .snapshotNeeded)
        guard case .delta(let kept) = try changes(after: 6) else {
            Issue.record("a delta was expected")
            return
        }
        #expect(kept.map(\.number) == [7, 8, 9, 10])
        while try store.writeNow({ try $0.trimChanges(keeping: 4, limit: 2) }) {}
        #expect(try changes(after: 5) == .snapshotNeeded)
        #expect(try changes(after: 6) == .delta(kept))
    }
}
