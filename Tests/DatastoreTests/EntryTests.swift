// SPDX-License-Identifier: Apache-2.0

import Datastore
import Foundation
import NodeSync
import SPIFFE
import Testing

@Suite(.timeLimit(.minutes(1))) struct EntryTests {
    let directory: TemporaryStore
    let store: ServerStore

    init() throws {
        directory = try TemporaryStore()
        store = try directory.openEstablished()
    }

    private func put(_ entries: (UInt64) throws -> [RegistrationEntry]) throws {
        let next = try store.readNow { try $0.revision() }.number + 1
        let entries = try entries(next)
        try store.writeNow { transaction in
            try transaction.advanceRevision()
            for entry in entries { try transaction.put(entry) }
        }
    }

    private func ids(node: String...) throws -> [String] {
        let selectors = Set(try node.map { try Selector($0) })
        return try store.readNow { try $0.entries(node: selectors) }.map(\.id)
    }

    @Test func `an entry comes back as it was written`() throws {
        let entry = RegistrationEntry(
            id: "e1",
            namespace: "shop",
            name: "web",
            revision: 1,
            createdAt: noon + 0.125,
            spiffeID: "spiffe://example.org/{unix.user}",
            variableBounds: ["unix.user": .values(["www", "api"]), "k8s.sa": .prefix("x-")],
            nodeSelectors: [try Selector("role:web"), try Selector("unix:path:/a b:c")],
            workloadSelectors: [try Selector("unix:user:www"), try Selector("unix:uid:7")],
            x509SVIDTTLSeconds: 600,
            jwtSVIDTTLSeconds: 120,
            dnsNames: ["web.example.org"],
            federatesWith: ["other.example"],
            hint: "main",
            labels: ["app": "web", "team": "ä/\"\n"],
            expires: noon + 60,
            isDownstream: true
        )
        try put { _ in [entry] }
        #expect(try store.readNow { try $0.entry(id: "e1") } == entry)
    }

    @Test func `a node finds exactly the entries whose selectors it all shows`() throws {
        try put { number in
            [
                try .sample("a", revision: number, node: ["cluster:prod"]),
                try .sample("b", revision: number, node: ["cluster:prod", "role:web"]),
                try .sample("c", revision: number, node: ["cluster:prod", "role:db"]),
                try .sample("d", revision: number, node: ["cluster:test", "role:web"]),
            ]
        }
        #expect(try ids(node: "cluster:prod", "role:web") == ["a", "b"])
        #expect(try ids(node: "cluster:prod", "role:db", "x:y") == ["a", "c"])
        #expect(try ids(node: "role:web") == [])
        #expect(try ids() == [])
    }

    @Test(arguments: [1, 2, 3, 4] as [UInt64])
    func `the index agrees with matching every entry, through any changes`(seed: UInt64) throws {
        var state = seed
        func pick(_ bound: Int) -> Int {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return Int(state >> 33) % bound
        }
        var model: [String: RegistrationEntry] = [:]
        for _ in 0..<150 {
            let id = "e\(pick(20))"
            if pick(4) == 0 {
                let removed = try store.writeNow { transaction in
                    let number = try transaction.advanceRevision().number
                    return try transaction.deleteEntry(id: id, number: number)
                }
                #expect(removed == model.removeValue(forKey: id))
            } else {
                let node = (0...pick(3)).map { _ in "s:\(pick(5))" }
                try put { number in
                    let entry = try RegistrationEntry.sample(id, revision: number, node: node)
                    model[id] = entry
                    return [entry]
                }
            }
            let shown = Set(try (0...pick(4)).map { _ in try Selector("s:\(pick(5))") })
            let expected = model.values.filter { $0.matches(node: shown) }.sorted { $0.id < $1.id }
            #expect(try store.readNow { try $0.entries(node: shown) } == expected)
            #expect(try store.readNow { try $0.entryCount(node: shown) } == expected.count)
        }
        #expect(
            try store.readNow { try $0.entries(limit: 100) }
                == model.values.sorted { $0.id < $1.id }
        )
        #expect(try store.readNow { try $0.entryCount() } == model.count)
    }

    @Test func `pages cover all entries once, also of one namespace`() throws {
        try put { number in
            try (0..<25).map {
                try .sample("e\($0)", revision: number, namespace: $0 % 2 == 0 ? "even" : "odd")
            }
        }
        for namespace in [nil, "even", "odd", "none"] {
            var ids: [String] = []
            while true {
                let last = ids.last
                let page = try store.readNow {
                    try $0.entries(after: last, limit: 4, namespace: namespace)
                }
                if page.isEmpty { break }
                ids += page.map(\.id)
            }
            let all = (0..<25).filter {
                namespace == nil || (($0 % 2 == 0) == (namespace == "even"))
            }
            #expect(ids == (namespace == "none" ? [] : all.map { "e\($0)" }.sorted()))
        }
    }

    @Test func `the blast radius of a prefix is paged by ID`() throws {
        try put { number in
            try ["/a", "/a/b", "/a/b", "/ab", "/a/{unix.user}", "/b"].enumerated().map {
                try .sample("e\($0)", revision: number, spiffeID: "spiffe://example.org\($1)")
            }
        }
        var found: [RegistrationEntry] = []
        while true {
            let last = found.last
            let page = try store.readNow {
                try $0.entries(spiffeIDPrefix: "spiffe://example.org/a/", after: last, limit: 1)
            }
            if page.isEmpty { break }
            found += page
        }
        #expect(found.map(\.id) == ["e1", "e2", "e4"])
    }

    @Test func `entries with variables are found by how an ID begins`() throws {
        let ids = [
            "spiffe://example.org/batch/{unix.user}", "spiffe://example.org/batch/job-{unix.user}",
            "spiffe://example.org/batch/job-1", "spiffe://example.org/{node.role}/job-1",
            "spiffe://example.org/other/{unix.user}", "spiffe://example.org/batch/job-1{unix.user}",
        ]
        try put { number in
            try ids.enumerated().map { index, id in
                try .sample("e\(index)", revision: number, spiffeID: id)
            }
        }
        let id = try SPIFFEID("spiffe://example.org/batch/job-1")
        let found = try store.readNow { try $0.templates(beginningAs: id, limit: 10) }
        // A value is never empty.
        #expect(Set(found.map(\.id)) == ["e0", "e1", "e3"])
        #expect(try store.readNow { try $0.templates(beginningAs: id, limit: 2) }.count == 2)
    }

    @Test func `an entry without node selectors is refused`() throws {
        let error = #expect(throws: DatastoreError.self) {
            try put { try [.sample("e", revision: $0, node: [])] }
        }
        #expect(error == .constraint("an entry needs a node selector"))
    }

    @Test func `an entry needs the number of its own transaction`() throws {
        #expect(throws: DatastoreError.revisionNotAdvanced(7)) {
            try store.writeNow { transaction in
                try transaction.advanceRevision()
                try transaction.put(.sample("e", revision: 7))
            }
        }
        #expect(throws: DatastoreError.revisionNotAdvanced(1)) {
            try store.writeNow { try $0.deleteEntry(id: "e", number: 1) }
        }
    }
}
