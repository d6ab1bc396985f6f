// SPDX-License-Identifier: Apache-2.0

import Datastore
import Foundation
import NodeSync
import SPIFFE
import Testing

@Suite(.timeLimit(.minutes(1))) struct DocumentTests {
    let directory: TemporaryStore
    let store: ServerStore

    init() throws {
        directory = try TemporaryStore()
        store = try directory.openEstablished()
    }

    private func key(_ name: String, kind: String = "Role", namespace: String = "") -> DocumentKey {
        DocumentKey(
            group: DocumentKey.nativeGroup,
            kind: kind,
            namespace: namespace,
            name: name
        )
    }

    @discardableResult
    private func put(
        _ key: DocumentKey,
        _ text: String = "{}",
        labels: [String: String] = [:],
        expecting expectation: DocumentExpectation = .any,
        now: Date = noon
    ) throws -> StoredDocument {
        let draft = DocumentDraft(
            key: key,
            canonicalJSON: Array(text.utf8),
            labels: labels,
            actor: "uid:0@host",
            reason: "because"
        )
        return try store.writeNow { transaction in
            let number = try transaction.advanceRevision().number
            return try transaction.put(
                draft,
                newUID: "uid-\(number)",
                expecting: expectation,
                number: number,
                now: now
            )
        }
    }

    @discardableResult
    private func delete(
        _ key: DocumentKey,
        expecting expectation: DocumentExpectation = .any,
        now: Date = noon
    ) throws -> StoredDocument? {
        try store.writeNow { transaction in
            let number = try transaction.advanceRevision().number
            return try transaction.deleteDocument(
                key,
                expecting: expectation,
                actor: "uid:1@host",
                reason: "gone",
                number: number,
                now: now
            )
        }
    }

    @Test func `a document keeps its uid and creation through every version`() throws {
        let first = try put(key("a"), "1")
        let second = try put(key("a"), "2", now: noon + 5)
        #expect(second.uid == first.uid)
        #expect(second.createdAt == noon)
        #expect(second.writtenAt == noon + 5)
        #expect([first.resourceVersion, second.resourceVersion] == [1, 2])
        #expect(try store.readNow { try $0.document(key("a")) } == second)
    }

    @Test func `a document deleted and created again is another one`() throws {
        let first = try put(key("a"))
        #expect(try delete(key("a")) == first)
        #expect(try store.readNow { try $0.document(key("a")) } == nil)
        #expect(try put(key("a")).uid != first.uid)
    }

    @Test func `writing needs the expected version and a refusal names the current one`() throws {
        #expect(throws: DatastoreError.conflict(key("a"), current: nil)) {
            try put(key("a"), expecting: .version(1))
        }
        try put(key("a"), "1", expecting: .absent)
        #expect(throws: DatastoreError.conflict(key("a"), current: 1)) {
            try put(key("a"), expecting: .absent)
        }
        try put(key("a"), "2", expecting: .version(1))
        #expect(throws: DatastoreError.conflict(key("a"), current: 2)) {
            try put(key("a"), expecting: .version(1))
        }
        #expect(throws: DatastoreError.conflict(key("a"), current: 2)) {
            try delete(key("a"), expecting: .version(1))
        }
        #expect(try store.readNow { try $0.revision() }.number == 2)
        try delete(key("a"), expecting: .version(2))
        #expect(try delete(key("a")) == nil)
    }

    @Test func `of writers that saw the same version one wins`() async throws {
        try put(key("a"))
        let wins = await withTaskGroup(of: Bool.self) { group in
            for index in 0..<50 {
                group.addTask {
                    let draft = DocumentDraft(
                        key: key("a"),
                        canonicalJSON: Array("\(index)".utf8),
                        labels: [:],
                        actor: "uid:\(index)@host",
                        reason: ""
                    )
                    let written = try? await store.write { transaction in
                        let number = try transaction.advanceRevision().number
                        return try transaction.put(
                            draft,
                            newUID: "new",
                            expecting: .version(1),
                            number: number,
                            now: noon
                        )
                    }
                    return written != nil
                }
            }
            return await group.reduce(0) { $0 + ($1 ? 1 : 0) }
        }
        #expect(wins == 1)
        #expect(try store.readNow { try $0.document(key("a")) }?.resourceVersion == 2)
    }

    @Test func `many documents in one transaction are all written or none`() throws {
        try put(key("b"))
        let drafts = ["a", "b", "c"].map {
            DocumentDraft(key: key($0), canonicalJSON: [], labels: [:], actor: "", reason: "")
        }
        #expect(throws: DatastoreError.conflict(key("b"), current: 1)) {
            try store.writeNow { transaction in
                let number = try transaction.advanceRevision().number
                for draft in drafts {
                    try transaction.put(
                        draft,
                        newUID: draft.key.name,
                        expecting: .absent,
                        number: number,
                        now: noon
                    )
                }
            }
        }
        #expect(try store.readNow { try $0.documents(limit: 10) }.map(\.key) == [key("b")])
    }

    @Test func `one number writes a document once`() throws {
        let draft = DocumentDraft(
            key: key("a"),
            canonicalJSON: [],
            labels: [:],
            actor: "",
            reason: ""
        )
        #expect(throws: DatastoreError.conflict(key("a"), current: 1)) {
            try store.writeNow { transaction in
                let number = try transaction.advanceRevision().number
                for _ in 0..<2 {
                    try transaction.put(
                        draft,
                        newUID: "u",
                        expecting: .any,
                        number: number,
                        now: noon
                    )
                }
            }
        }
    }

    @Test func `history holds every version and the deletion, newest first`() throws {
        try put(key("a"), "1")
        try put(key("a"), "2", now: noon + 1)
        try delete(key("a"), now: noon + 2)
        try put(key("a"), "4", now: noon + 3)
        let history = try store.readNow { try $0.history(of: key("a")) }
        #expect(history.map(\.resourceVersion) == [4, 3, 2, 1])
        #expect(history.map(\.verb) == [.put, .delete, .put, .put])
        #expect(
            history.map { String(decoding: $0.canonicalJSON, as: UTF8.self) } == [
                "4", "", "2", "1",
            ]
        )
        #expect(history.map(\.actor) == ["uid:0@host", "uid:1@host", "uid:0@host", "uid:0@host"])
        #expect(history.map(\.writtenAt) == [noon + 3, noon + 2, noon + 1, noon])
        let second = try store.readNow { try $0.version(2, of: key("a")) }
        #expect(second == history[2])
        #expect(try store.readNow { try $0.version(4, of: key("a")) } == history[0])
        #expect(try store.readNow { try $0.version(9, of: key("a")) } == nil)
    }

    @Test func `history keeps 50 past versions`() throws {
        for index in 0..<60 { try put(key("a"), "\(index)") }
        let history = try store.readNow { try $0.history(of: key("a")) }
        #expect(history.map(\.resourceVersion) == (10...60).reversed())
    }

    @Test func `history forgets what was superseded 90 days ago and never the present`() throws {
        let days = { @Sendable (count: Double) in noon + count * 86_400 }
        try put(key("a"), "1")
        try put(key("a"), "2", now: days(1))
        try put(key("a"), "3", now: days(2))
        let left = try store.writeNow { try $0.trimDocumentHistory(now: days(91.5), limit: 10) }
        #expect(!left)
        #expect(
            try store.readNow { try $0.history(of: key("a")) }.map(\.resourceVersion) == [3, 2]
        )
        _ = try store.writeNow { try $0.trimDocumentHistory(now: days(900), limit: 10) }
        #expect(try store.readNow { try $0.history(of: key("a")) }.map(\.resourceVersion) == [3])
    }

    @Test func `lists are filtered, ordered and paged without gaps`() throws {
        for kind in ["Role", "RegistrationEntry"] {
            for namespace in ["x", "y"] {
                for name in ["c", "a", "b"] {
                    try put(key(name, kind: kind, namespace: namespace))
                }
            }
        }
        let group = DocumentKey.nativeGroup
        let filters = [
            (DocumentFilter(), 12),
            (DocumentFilter(group: group, kind: "Role"), 6),
            (DocumentFilter(group: group, kind: "Role", namespace: "y"), 3),
            (DocumentFilter(namespace: "x"), 6),
            (DocumentFilter(kind: "Role"), 6),
            (DocumentFilter(group: "other"), 0),
        ]
        for (filter, count) in filters {
            var keys: [DocumentKey] = []
            while true {
                let last = keys.last
                let page = try store.readNow {
                    try $0.documents(filter, after: last, limit: 2)
                }
                if page.isEmpty { break }
                keys += page.map(\.key)
            }
            #expect(keys.count == count, "\(filter)")
            #expect(keys == keys.sorted())
            #expect(Set(keys).count == count)
            #expect(
                keys.allSatisfy {
                    (filter.kind ?? $0.kind) == $0.kind
                        && (filter.namespace ?? $0.namespace) == $0.namespace
                }
            )
        }
    }

    @Test func `prune finds the documents of an owner, as labelled now, where it looks`() throws {
        let other = DocumentKey(group: "g", kind: "k", namespace: "other", name: "a")
        try put(key("a"), labels: ["owner": "web", "tier": "1"])
        try put(key("b"), labels: ["owner": "web"])
        try put(key("c"), labels: ["owner": "db"])
        try put(key("d"))
        try put(other, labels: ["owner": "web"])
        let owned = { (namespaces: Set<String>, limit: Int) in
            try store.readNow {
                try $0.documentKeys(
                    label: "owner",
                    value: "web",
                    namespaces: namespaces,
                    limit: limit
                )
            }
        }
        let here = key("a").namespace
        #expect(try owned([here], 10) == [key("a"), key("b")])
        #expect(try owned([here], 1) == [key("a")])
        #expect(try owned(["other"], 10) == [other])
        #expect(try owned([here, "other"], 10).count == 3)
        #expect(try owned([], 10) == [])
        try put(key("a"), labels: ["owner": "db"])
        try delete(key("b"))
        #expect(try owned([here], 10) == [])
    }

    @Test func `a namespace is empty when nothing lies in it, of whatever group`() throws {
        let foreign = DocumentKey(group: "other.group", kind: "k", namespace: "ns", name: "a")
        func found() throws -> DocumentKey? {
            try store.readNow { try $0.documentKey(inNamespace: "ns") }
        }
        #expect(try found() == nil)
        try put(foreign)
        #expect(try found() == foreign)
        try delete(foreign)
        #expect(try found() == nil)
    }
}
