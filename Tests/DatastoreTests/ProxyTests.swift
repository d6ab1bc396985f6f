// SPDX-License-Identifier: Apache-2.0

import Datastore
import FoundationEssentials
import NodeSync
import SPIFFE
import Testing

extension ProxyRecord {
    static func sample(
        _ name: String = "web",
        revision: UInt64,
        node: [String] = ["role:web"],
        state: [UInt8] = [1, 2, 3],
        changesAt: Date? = nil
    ) throws -> ProxyRecord {
        ProxyRecord(
            id: "uid-\(name)",
            namespace: "shop",
            name: name,
            revision: revision,
            nodeSelectors: try node.map { try Selector($0) },
            identities: [try SPIFFEID("spiffe://example.org/web")],
            expires: noon + 60,
            state: state,
            changesAt: changesAt
        )
    }
}

@Suite(.timeLimit(.minutes(1))) struct ProxyTests {
    let directory: TemporaryStore
    let store: ServerStore

    init() throws {
        directory = try TemporaryStore()
        store = try directory.openEstablished()
    }

    private func put(
        _ name: String = "web",
        node: [String] = ["role:web"],
        changesAt: Date? = nil
    ) throws {
        try store.writeNow { transaction in
            let number = try transaction.advanceRevision().number
            let proxy = try ProxyRecord.sample(
                name,
                revision: number,
                node: node,
                changesAt: changesAt
            )
            try transaction.put(proxy, number: number)
        }
    }

    @Test func `what is written is read back`() throws {
        try put()
        let expected = try ProxyRecord.sample(revision: 1)
        #expect(try store.readNow { try $0.proxy("shop/web") } == expected)
        #expect(try store.readNow { try $0.proxy(namespace: "shop", name: "db") } == nil)
        #expect(try store.readNow { try $0.proxyCount() } == 1)
    }

    @Test func `what a Proxy may hold is read without its state`() throws {
        try put()
        let whole = try #require(try store.readNow { try $0.proxy("shop/web") })
        let grant = try #require(try store.readNow { try $0.proxyGrant("shop/web") })
        #expect(grant.id == whole.id)
        #expect(grant.namespace == "shop")
        #expect(grant.revision == whole.revision)
        #expect(grant.nodeSelectors == whole.nodeSelectors)
        #expect(grant.identities == whole.identities)
        #expect(grant.expires == whole.expires)
        #expect(grant.matches(node: try Set("role:web", "region:eu")))
        #expect(!grant.matches(node: try Set("region:eu")))
    }

    @Test(arguments: ["", "web", "/", "shop", "shop/", "/web", "shop/web/", "other/web"])
    func `only the whole reference finds a Proxy`(_ reference: String) throws {
        try put()
        #expect(try store.readNow { try $0.proxy(reference) } == nil)
        #expect(try store.readNow { try $0.proxyGrant(reference) } == nil)
    }

    @Test func `a node finds what it may run, and nothing else`() throws {
        try put("web")
        try put("eu", node: ["role:web", "region:eu"])
        try put("db", node: ["role:db"])
        func found(_ selectors: Set<Selector>) throws -> [String] {
            try store.readNow { transaction in
                let names = try transaction.proxies(node: selectors).map(\.reference)
                let references = try transaction.proxyReferences(node: selectors)
                #expect(references == Set(names))
                return names
            }
        }
        #expect(
            try found(Set("role:web", "region:eu", "token:x")) == ["shop/eu", "shop/web"]
        )
        #expect(try found(Set("role:web")) == ["shop/web"])
        #expect(try found([]).isEmpty)
        #expect(try store.readNow { try $0.proxies(namespace: "shop").count } == 3)
        #expect(try store.readNow { try $0.proxies(namespace: "other").isEmpty })
        let scopes = try store.readNow { try $0.proxyScopes() }
        #expect(scopes.keys.sorted() == ["shop/db", "shop/eu", "shop/web"])
        #expect(scopes["shop/eu"].map(Set.init) == (try Set("role:web", "region:eu")))
    }

    @Test func `Proxies are found by whom they may present`() throws {
        try put("web")
        try put("api")
        func names(_ text: String, limit: Int = 9) throws -> [String] {
            try store.readNow { transaction in
                try transaction.proxies(presentingAny: [text, "x"], limit: limit).map { giver in
                    #expect(giver.spiffeID == text)
                    return "\(giver.namespace)/\(giver.name)"
                }
            }
        }
        #expect(try names("spiffe://example.org/web") == ["shop/api", "shop/web"])
        #expect(try names("spiffe://example.org/web", limit: 1) == ["shop/api"])
        #expect(try names("spiffe://example.org/we").isEmpty)
    }

    @Test func `a change tells of whom it concerned before, a removal too`() throws {
        try put(node: ["role:web"])
        try put(node: ["role:db"])
        try store.writeNow { transaction in
            let number = try transaction.advanceRevision().number
            let deleted = try transaction.deleteProxy(id: "uid-web", number: number)
            let again = try transaction.deleteProxy(id: "uid-web", number: number)
            #expect(deleted?.name == "web")
            #expect(again == nil)
        }
        guard case .delta(let each) = try store.readNow({ try $0.eachChange(after: 0, limit: 9) })
        else {
            Issue.record("the changes are not kept")
            return
        }
        #expect(each.map(\.key) == Array(repeating: ResourceKey(.proxy, "shop/web"), count: 3))
        #expect(each.map(\.isRemoval) == [false, false, true])
        #expect(
            each.map(\.priorNodeSelectors) == [
                nil, [try Selector("role:web")], [try Selector("role:db")],
            ]
        )
    }

    @Test func `entries and Proxies count the uses of a selector together`() throws {
        try put(node: ["role:web"])
        try store.writeNow { transaction in
            let number = try transaction.advanceRevision().number
            try transaction.put(RegistrationEntry.sample("e", revision: number))
        }
        // The selector's row stays until its last user is gone.
        try store.writeNow { transaction in
            let number = try transaction.advanceRevision().number
            try transaction.deleteEntry(id: "e", number: number)
        }
        #expect(try store.readNow { try $0.proxies(node: Set("role:web")).count } == 1)
        try store.writeNow { transaction in
            let number = try transaction.advanceRevision().number
            try transaction.deleteProxy(id: "uid-web", number: number)
            try transaction.put(RegistrationEntry.sample("e2", revision: number))
        }
        #expect(try store.readNow { try $0.entries(node: Set("role:web")).map(\.id) } == ["e2"])
    }

    @Test func `a number that was not taken writes no Proxy`() throws {
        #expect(throws: DatastoreError.revisionNotAdvanced(1)) {
            try store.writeNow { try $0.put(ProxyRecord.sample(revision: 1), number: 1) }
        }
        #expect(throws: DatastoreError.revisionNotAdvanced(1)) {
            try store.writeNow { try $0.deleteProxy(id: "uid-web", number: 1) }
        }
    }

    @Test func `what changes by itself is found when its time has come`() throws {
        try put("never")
        try put("soon", changesAt: noon + 10)
        try put("later", changesAt: noon + 20)
        func due(_ time: Date) throws -> [String] {
            try store.readNow { try $0.proxies(changingBy: time, limit: 9).map(\.name) }
        }
        #expect(try due(noon + 9).isEmpty)
        #expect(try due(noon + 10) == ["soon"])
        #expect(try due(noon + 20) == ["soon", "later"])
        try store.writeNow { transaction in
            try transaction.setChange(of: "uid-soon", at: nil)
            try transaction.setRevision(of: "uid-later", to: 77, expires: nil)
        }
        #expect(try due(noon + 20) == ["later"])
        let later = try store.readNow { try $0.proxy("shop/later") }
        #expect(later?.revision == 77)
        #expect(later?.expires == nil)
    }

    @Test func `the entries that may give an ID are those that name it, and templates`() throws {
        let id = try SPIFFEID("spiffe://example.org/web")
        func ids(_ namespace: String) throws -> [String] {
            try store.readNow {
                try $0.entries(namespace: namespace, naming: id, limit: 9).map(\.id)
                    + $0.templates(namespace: namespace, limit: 9).map(\.id)
            }
        }
        try store.writeNow { transaction in
            let number = try transaction.advanceRevision().number
            let entries: [(String, String, String)] = [
                ("a", "spiffe://example.org/{node.role}", "shop"),
                ("b", "spiffe://example.org/web", "other"),
                ("c", "spiffe://example.org/db", "shop"),
                ("d", "spiffe://example.org/web", "shop"),
            ]
            for (name, spiffeID, namespace) in entries {
                try transaction.put(
                    RegistrationEntry.sample(
                        name,
                        revision: number,
                        spiffeID: spiffeID,
                        namespace: namespace
                    )
                )
            }
        }
        #expect(try ids("shop") == ["d", "a"])
        #expect(try ids("other") == ["b"])
        #expect(try ids("none").isEmpty)
    }
}
