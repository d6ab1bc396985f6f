// SPDX-License-Identifier: Apache-2.0

import Authorization
import SPIFFE
import TestSeeds
import Testing

/// Who counts as another person (docs/decisions/0023-approvals.md, "Who counts").
@Suite struct ApprovalCountTests {
    private static func remote(_ name: String, node: String?) throws -> ApprovalParty {
        ApprovalParty(
            actor: .spiffe(try SPIFFEID("spiffe://example.org/\(name)")),
            node: node
        )
    }

    private static func local(_ uid: UInt32, host: String = "host") -> ApprovalParty {
        ApprovalParty(actor: .localUser(uid: uid, host: host), node: nil)
    }

    @Test func `two others on two nodes count, and a local user beside them`() throws {
        var count = ApprovalCount(proposer: try Self.remote("alice", node: "n1"))
        let approvers = [
            try Self.remote("bob", node: "n2"), Self.local(0), try Self.remote("carol", node: "n3"),
        ]
        for approver in approvers { try count.add(approver) }
        #expect(count.approvers == approvers)
    }

    @Test func `nobody approves what he has proposed, from whatever node`() throws {
        for node in ["n1", "n2"] {
            var count = ApprovalCount(proposer: try Self.remote("alice", node: "n1"))
            let alice = try Self.remote("alice", node: node)
            #expect(throws: ApprovalRefusal.proposer) { try count.add(alice) }
            #expect(count.approvers.isEmpty)
        }
        var count = ApprovalCount(proposer: Self.local(0))
        #expect(throws: ApprovalRefusal.proposer) { try count.add(Self.local(0)) }
    }

    @Test func `who approves twice counts once, with the node of now`() throws {
        var count = ApprovalCount(proposer: try Self.remote("alice", node: "n1"))
        try count.add(try Self.remote("bob", node: "n2"))
        let moved = try Self.remote("bob", node: "n3")
        try count.add(moved)
        #expect(count.approvers == [moved])
        // The node that he has left is nobody's.
        try count.add(try Self.remote("carol", node: "n2"))
        #expect(count.approvers.count == 2)
    }

    @Test func `who is counted stays so when he comes again from where he does not count`() throws {
        var count = ApprovalCount(proposer: try Self.remote("alice", node: "n1"))
        let bob = try Self.remote("bob", node: "n2")
        try count.add(bob)
        for node in ["n1", nil] {
            let again = try Self.remote("bob", node: node)
            #expect(throws: ApprovalRefusal.self) { try count.add(again) }
            #expect(count.approvers == [bob])
        }
    }

    @Test func `all local users are one person, under whatever name of the host`() throws {
        var count = ApprovalCount(proposer: Self.local(0))
        for other in [Self.local(1), Self.local(0, host: "renamed")] {
            #expect(throws: ApprovalRefusal.localAlready) { try count.add(other) }
        }
        count = ApprovalCount(proposer: try Self.remote("alice", node: "n1"))
        try count.add(Self.local(0))
        #expect(throws: ApprovalRefusal.localAlready) { try count.add(Self.local(1)) }
        #expect(count.approvers == [Self.local(0)])
    }

    @Test func `two whose certificates are of one node are one person`() throws {
        let alice = try Self.remote("alice", node: "n1")
        let bob = try Self.remote("bob", node: "n2")
        var count = ApprovalCount(proposer: alice)
        let neighbour = try Self.remote("carol", node: "n1")
        #expect(throws: ApprovalRefusal.onNodeOf(alice.actor, node: "n1")) {
            try count.add(neighbour)
        }
        try count.add(bob)
        let second = try Self.remote("carol", node: "n2")
        #expect(throws: ApprovalRefusal.onNodeOf(bob.actor, node: "n2")) { try count.add(second) }
        #expect(count.approvers == [bob])
    }

    @Test func `who has proposed it from two nodes is a person of both`() throws {
        let alice = try Self.remote("alice", node: "n1")
        var count = ApprovalCount(proposer: alice, alsoOn: ["n2"])
        for node in ["n1", "n2"] {
            let neighbour = try Self.remote("bob", node: node)
            #expect(throws: ApprovalRefusal.onNodeOf(alice.actor, node: node)) {
                try count.add(neighbour)
            }
        }
        try count.add(try Self.remote("bob", node: "n3"))
        #expect(count.approvers.count == 1)
    }

    @Test func `where a node is not on record, nobody of the network counts`() throws {
        var count = ApprovalCount(proposer: try Self.remote("alice", node: "n1"))
        let unplaced = try Self.remote("bob", node: nil)
        #expect(throws: ApprovalRefusal.nodeUnknown) { try count.add(unplaced) }
        count = ApprovalCount(proposer: try Self.remote("alice", node: nil))
        let placed = try Self.remote("bob", node: "n2")
        #expect(throws: ApprovalRefusal.proposersNodeUnknown) { try count.add(placed) }
        // Whoever has a certificate of some node is not a local user.
        try count.add(Self.local(0))
        #expect(count.approvers == [Self.local(0)])
    }

    @Test func `parts of Signet do not approve`() {
        var count = ApprovalCount(proposer: Self.local(0))
        for actor in [Actor.system("rotation"), .person(issuer: "i", subject: "s")] {
            #expect(throws: ApprovalRefusal.noApprover, "\(actor)") {
                try count.add(ApprovalParty(actor: actor, node: "n1"))
            }
        }
    }

    @Test(arguments: 0..<200 as Range<UInt64>)
    func `of any approvals, no two that count are one person`(seed: UInt64) throws {
        var random = SeededGenerator(seed: seed)
        var count = ApprovalCount(proposer: try Self.party(using: &random))
        for _ in 0..<30 {
            let party = try Self.party(using: &random)
            do throws(ApprovalRefusal) { try count.add(party) } catch { continue }
            let all = [count.proposer] + count.approvers
            for (index, first) in all.enumerated() {
                for second in all[(index + 1)...] {
                    #expect(first.actor != second.actor)
                    #expect(first.node == nil || first.node != second.node)
                    #expect(!(Self.isLocal(first) && Self.isLocal(second)))
                }
            }
            #expect(count.approvers.contains(party))
        }
    }

    private static func isLocal(_ party: ApprovalParty) -> Bool {
        if case .localUser = party.actor { true } else { false }
    }

    private static func party(using random: inout SeededGenerator) throws -> ApprovalParty {
        if Int.random(in: 0..<4, using: &random) == 0 {
            return local(UInt32.random(in: 0..<3, using: &random))
        }
        let node = Int.random(in: 0..<5, using: &random)
        return try remote(
            "p\(Int.random(in: 0..<5, using: &random))",
            node: node == 0 ? nil : "n\(node)"
        )
    }
}
