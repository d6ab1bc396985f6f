// SPDX-License-Identifier: Apache-2.0

import Datastore
import Foundation
import NodeSync
import SPIFFE
import Testing

/// Who may hold JWT-SVIDs, until when, and by whose key.
struct TokenHolderTests {
    private static let web = "spiffe://example.org/web"

    private let directory: TemporaryStore
    private let store: ServerStore

    init() throws {
        directory = try TemporaryStore()
        store = try directory.openEstablished()
        try store.writeNow { transaction in
            try transaction.put(.sample("a1", state: "old"))
            try transaction.put(.sample("a2", state: "active"))
        }
    }

    private static func holder(
        node: String = "n1",
        entry: String = "e1",
        id: String = web,
        authority: String = "a2",
        issued seconds: Double = 0
    ) -> TokenHolder {
        TokenHolder(
            node: node,
            entryID: entry,
            spiffeID: id,
            authorityID: authority,
            issuedAt: noon + seconds,
            notAfter: noon + seconds + 300
        )
    }

    @Test func `a holder is recorded once for each authority, with its last times`() throws {
        try store.writeNow {
            try $0.record([
                Self.holder(authority: "a1"), Self.holder(issued: 100), Self.holder(issued: 50),
                Self.holder(node: "n2", issued: 10),
            ])
        }
        let web = try SPIFFEID(Self.web)
        try store.readNow { transaction in
            let last = try #require(try transaction.tokenIssuance(of: web))
            #expect(last == (noon + 100, noon + 400))
            let holders = try transaction.tokenHolders(validAt: noon)
            #expect(holders.mapValues(\.count) == ["a1": 1, "a2": 2])
            #expect(holders.mapValues(\.lastEnd) == ["a1": noon + 300, "a2": noon + 400])
            // A token by a newer key replaces none: the audience may be another.
            #expect(try transaction.tokenHolders(validAt: noon + 299)["a1"]?.count == 1)
            #expect(try transaction.tokenHolders(validAt: noon + 300)["a1"] == nil)
            #expect(try transaction.tokenIssuance(of: SPIFFEID("spiffe://example.org/no")) == nil)
            #expect(try transaction.lastIssuedNotAfter(authorityID: "a2") == noon + 400)
        }
    }

    @Test func `a node's identities are those of live tokens that are not refused`() throws {
        let api = "spiffe://example.org/api"
        try store.writeNow { transaction in
            try transaction.record([
                Self.holder(), Self.holder(entry: "e2"), Self.holder(id: api, issued: 60),
                Self.holder(node: "n2", id: "spiffe://example.org/other"),
            ])
        }
        func identities(_ seconds: Double) throws -> [String] {
            try store.readNow { try $0.tokenIdentities(node: "n1", validAfter: noon + seconds) }
        }
        #expect(try identities(0) == [api, Self.web])
        #expect(try identities(300) == [api])
        try store.writeNow { transaction in
            let revocation = RevokedIdentity(
                spiffeID: try SPIFFEID(Self.web),
                name: "identity:1",
                issuedBefore: noon + 1,
                ends: noon + 4_000,
                reason: "",
                actor: "",
                revokedAt: noon
            )
            try transaction.put(revocation, number: try transaction.advanceRevision().number)
        }
        #expect(try identities(0) == [api])
        // A token that was issued after the moment counts again.
        try store.writeNow { try $0.record([Self.holder(issued: 1)]) }
        #expect(try identities(0) == [api, Self.web])
        let entries = try store.readNow {
            try $0.tokenEntries(of: SPIFFEID(Self.web), validAfter: noon, limit: 9)
        }
        #expect(entries.sorted() == ["e1", "e2"])
    }

    @Test func `holders are forgotten after their last token, a part at a time`() throws {
        try store.writeNow { transaction in
            try transaction.record((0..<5).map { Self.holder(node: "n\($0)", issued: Double($0)) })
        }
        func trim() throws -> Bool {
            try store.writeNow {
                try $0.trimTokenHolders(expiredBefore: noon + 304, limit: 3)
            }
        }
        #expect(try trim())
        #expect(try !trim())
        let left = try store.readNow { try $0.tokenHolders(validAt: noon) }
        #expect(left.mapValues(\.count) == ["a2": 1])
    }

    @Test func `nobody holds a token of an authority that is not there`() throws {
        #expect(throws: DatastoreError.self) {
            try store.writeNow { try $0.record([Self.holder(authority: "none")]) }
        }
        #expect(try store.readNow { try $0.tokenHolders(validAt: noon) }.isEmpty)
    }
}
