// SPDX-License-Identifier: Apache-2.0

import Datastore
import Foundation
import NodeSync
import SPIFFE
import Testing

/// What gives identities, and which nodes show what, without reading more of it.
@Suite(.timeLimit(.minutes(1))) struct GiverTests {
    private let directory: TemporaryStore
    private let store: ServerStore

    init() throws {
        directory = try TemporaryStore()
        store = try directory.openEstablished()
    }

    @Test func `entries are found by their IDs, and those with variables apart`() throws {
        let web = "spiffe://example.org/web"
        let template = "spiffe://example.org/{unix.user}"
        try store.writeNow { transaction in
            let number = try transaction.advanceRevision().number
            for (id, spiffeID) in [("b", web), ("a", web), ("c", web + "2"), ("d", template)] {
                try transaction.put(.sample(id, revision: number, spiffeID: spiffeID))
            }
        }
        try store.readNow { transaction in
            let found = try transaction.entries(givingAny: ["x", web, template], limit: 9)
            #expect(found.map(\.name) == ["a", "b", "d"])
            #expect(
                found[0]
                    == IdentityGiver(
                        namespace: "default",
                        name: "a",
                        spiffeID: web,
                        nodeSelectors: ["role:web"]
                    )
            )
            #expect(try transaction.entries(givingAny: [web], limit: 1).map(\.name) == ["a"])
            #expect(try transaction.entries(givingAny: [], limit: 9).isEmpty)
            #expect(try transaction.templates(limit: 9).map(\.spiffeID) == [template])
            #expect(try transaction.templates(limit: 0).isEmpty)
        }
    }

    @Test func `nodes and unused tokens are told with what they show`() throws {
        try store.writeNow { transaction in
            for name in ["b", "a", "banned"] { try transaction.put(NodeRecord.sample(name)) }
            try transaction.banNode(named: "banned", reason: "", now: noon)
            try transaction.put(JoinTokenRecord.sample(1, expiresAt: noon + 20))
            try transaction.put(JoinTokenRecord.sample(2, expiresAt: noon + 10))
            try transaction.put(JoinTokenRecord.sample(3))
            _ = try transaction.redeemJoinToken(hash: JoinTokenRecord.sample(3).hash, now: noon)
        }
        try store.readNow { transaction in
            let nodes = try transaction.nodeScopes(limit: 9)
            #expect(nodes.map(\.name) == ["a", "b"])
            #expect(nodes[0].selectors == ["role:web", "token:a"])
            #expect(try transaction.nodeScopes(limit: 1).map(\.name) == ["a"])
            let tokens = try transaction.tokenScopes(validAt: noon, limit: 9)
            #expect(tokens.map(\.name) == ["web-2", "web-1"])
            #expect(tokens[0].selectors == ["role:web"])
            let later = try transaction.tokenScopes(validAt: noon + 10, limit: 9)
            #expect(later.map(\.name) == ["web-1"])
        }
    }
}
