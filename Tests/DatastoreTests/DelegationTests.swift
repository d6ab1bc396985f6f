// SPDX-License-Identifier: Apache-2.0

import Datastore
import Foundation
import NodeSync
import SPIFFE
import Testing

/// Who may act for whom at whom, and who is named in exchanged tokens.
@Suite(.timeLimit(.minutes(1))) struct DelegationTests {
    private let directory: TemporaryStore
    private let store: ServerStore

    init() throws {
        directory = try TemporaryStore()
        store = try directory.openEstablished()
    }

    private static func key(_ name: String) -> DocumentKey {
        DocumentKey(
            group: DocumentKey.nativeGroup,
            kind: "DelegationPolicy",
            namespace: "default",
            name: name
        )
    }

    private static func id(_ name: String) throws -> SPIFFEID {
        try SPIFFEID("spiffe://example.org/\(name)")
    }

    /// Writes a policy and its document.
    @discardableResult
    private func write(
        _ name: String,
        subjects: [String] = ["a"],
        actors: [String] = ["b"],
        audiences: [String] = ["ledger"],
        expires: Date? = nil
    ) throws -> DelegationPolicy {
        let (subjects, actors) = (try subjects.map(Self.id), try actors.map(Self.id))
        return try store.writeNow { transaction in
            let number = try transaction.advanceRevision().number
            let document = try transaction.put(
                DocumentDraft(
                    key: Self.key(name),
                    canonicalJSON: Array("{\"n\":\(number)}".utf8),
                    labels: [:],
                    actor: "uid:0@host",
                    reason: ""
                ),
                newUID: "uid-\(name)",
                expecting: .any,
                number: number,
                now: noon
            )
            let policy = DelegationPolicy(
                id: document.uid,
                namespace: "default",
                name: name,
                version: document.resourceVersion,
                subjects: Set(subjects),
                actors: Set(actors),
                audiences: audiences,
                expires: expires
            )
            try transaction.put(policy)
            return policy
        }
    }

    private func found(
        _ subject: String = "a",
        _ actor: String = "b",
        _ audience: String = "ledger"
    ) throws -> DelegationPolicy? {
        let hop = DelegationHop(
            subject: try Self.id(subject),
            actor: try Self.id(actor),
            audience: audience
        )
        return try store.readNow { transaction in
            let policy = try transaction.delegationPolicy(permitting: hop)
            let grant = try transaction.delegationGrant(permitting: hop)
            #expect(grant == policy.map { DelegationGrant($0) })
            return policy
        }
    }

    @Test func `every combination of a policy is found, and nothing else`() throws {
        let one = try write(
            "one",
            subjects: ["a", "a2"],
            actors: ["b", "b2"],
            audiences: ["ledger", "spiffe://example.org/c"],
            expires: noon + 60
        )
        let other = try write("other", subjects: ["x"], actors: ["y"], audiences: ["z"])
        let names = ["a", "a2", "b", "b2", "x", "y", "ledger"]
        let audiences = ["ledger", "spiffe://example.org/c", "Ledger", "ledger ", "a", "z"]
        for subject in names {
            for actor in names {
                for audience in audiences {
                    let hop = DelegationHop(
                        subject: try Self.id(subject),
                        actor: try Self.id(actor),
                        audience: audience
                    )
                    let named = [one, other].first { $0.names(hop) }
                    #expect(try found(subject, actor, audience) == named, "\(hop)")
                }
            }
        }
        // The loop above would pass if nothing were ever named.
        #expect(try found("a2", "b2", "spiffe://example.org/c") == one)
        #expect(try found("x", "y", "z") == other)
    }

    @Test func `names are compared byte by byte`() throws {
        // One text to Swift, two to verifiers.
        try write("one", audiences: ["caf\u{E9}"])
        #expect(try found("a", "b", "caf\u{E9}") != nil)
        #expect(try found("a", "b", "cafe\u{301}") == nil)
        let both = try write("one", audiences: ["caf\u{E9}", "cafe\u{301}"])
        #expect(try found("a", "b", "cafe\u{301}") == both)
        #expect(try store.readNow { try $0.delegationPolicy(id: both.id) } == both)
    }

    @Test func `of several the one is found that ends last, of equal ones the first by name`()
        throws
    {
        try write("c", expires: noon + 10)
        #expect(try found()?.name == "c")
        try write("b", expires: noon + 20)
        #expect(try found()?.name == "b")
        try write("d")
        #expect(try found()?.name == "d")
        try write("a")
        #expect(try found()?.name == "a")
        try write("a", expires: noon + 30)
        #expect(try found()?.name == "d")
    }

    @Test func `what a policy said before goes when it is written again`() throws {
        try write("one", subjects: ["a", "a2"])
        let version = try write("one", subjects: ["a2"], actors: ["b2"]).version
        #expect(try found("a", "b") == nil)
        #expect(try found("a2", "b") == nil)
        #expect(try found("a2", "b2")?.version == version)
        #expect(try store.readNow { try $0.delegationPolicyCount() } == 1)
    }

    @Test func `a policy goes with its document`() throws {
        let policy = try write("one")
        try write("two", subjects: ["a2"])
        _ = try store.writeNow { transaction in
            try transaction.deleteDocument(
                Self.key("one"),
                expecting: .any,
                actor: "uid:0@host",
                reason: "",
                number: try transaction.advanceRevision().number,
                now: noon
            )
        }
        #expect(try found() == nil)
        #expect(try store.readNow { try $0.delegationPolicy(id: policy.id) } == nil)
        #expect(try found("a2")?.name == "two")
        #expect(try store.readNow { try $0.delegationPolicyCount() } == 1)
        #expect(throws: DatastoreError.self) { try store.writeNow { try $0.put(policy) } }
    }

    // MARK: - Parties

    private static func party(_ name: String, issued seconds: Double) throws -> DelegationParty {
        DelegationParty(
            id: try id(name),
            issuedAt: noon + seconds,
            notAfter: noon + seconds + 300
        )
    }

    @Test func `an identity's last token is one that it holds or that names it`() throws {
        let (a, b) = (try Self.id("a"), try Self.id("b"))
        let parties = [try Self.party("a", issued: 100), try Self.party("a", issued: 50)]
        try store.writeNow { transaction in
            try transaction.put(.sample("a1", state: "active"))
            try transaction.record(parties)
            try transaction.record(
                [("a", 20), ("b", 120)].map { name, seconds in
                    TokenHolder(
                        node: "n1",
                        entryID: "e1",
                        spiffeID: "spiffe://example.org/\(name)",
                        authorityID: "a1",
                        issuedAt: noon + seconds,
                        notAfter: noon + seconds + 600
                    )
                }
            )
        }
        try store.readNow { transaction in
            let last = try #require(try transaction.tokenIssuance(of: a))
            #expect(last == (noon + 100, noon + 620))
            #expect(try #require(try transaction.tokenIssuance(of: b)) == (noon + 120, noon + 720))
        }
    }

    @Test func `whom another's token names is none of that node's identities`() throws {
        let party = try Self.party("a", issued: 0)
        try store.writeNow { try $0.record([party]) }
        let ids = try store.readNow { try $0.tokenIdentities(node: "n1", validAfter: noon) }
        #expect(ids.isEmpty)
    }

    @Test func `who was named is forgotten after the last token, a part at a time`() throws {
        let parties = try (0..<5).map { try Self.party("p\($0)", issued: Double($0)) }
        try store.writeNow { try $0.record(parties) }
        func trim() throws -> Bool {
            try store.writeNow {
                try $0.trimDelegationParties(expiredBefore: noon + 304, limit: 3)
            }
        }
        #expect(try trim())
        #expect(try !trim())
        let left = try store.readNow { transaction in
            try parties.map { try transaction.tokenIssuance(of: $0.id) != nil }
        }
        #expect(left == [false, false, false, false, true])
    }
}
