// SPDX-License-Identifier: Apache-2.0

import AuditLog
import Authorization
import CAServer
import ControlAPI
import Datastore
import Foundation
import NodeSync
import SPIFFE
import Testing

/// Who proposes and approves, and with what, over a datastore.
extension ApprovalActTests {
    @Test func `from a node that is banned or gone nothing is proposed or approved`() throws {
        let proposal = try propose(roleDocument("viewer"))
        try store.writeNow { transaction in
            try transaction.banNode(named: "node-of-bob", reason: "stolen", now: Self.noon)
            try transaction.evictNode(named: "node-of-carol", now: Self.noon)
        }
        for name in ["bob", "carol"] {
            #expect(refusal { try approve(proposal, by: name) }?.reason == "nodeBanned")
            let own = refusal { try propose(roleDocument("other"), by: name) }
            #expect(own?.reason == "nodeBanned")
        }
        #expect(try store.readNow { try $0.proposals() } == [proposal.summary])
        #expect(isCarriedOut(try approve(proposal, by: "dave")))
    }

    @Test func `what was done with a node's certificates goes when these are revoked`() throws {
        let proposal = try propose(roleDocument("viewer"), needed: 2)
        _ = try approve(proposal, by: "bob", needed: 2)
        let own = try propose(roleDocument("other"), by: "bob")
        let logic = logic
        try store.writeNow { transaction in
            let intent = try #require(try transaction.intent(serial: Array("bob".utf8)))
            let local = ActorPattern.localUser(uid: 0, host: nil)
            let access = AdminAccess(roles: [], bindings: [.builtInAdmins([local])])
            _ = try logic.revoke(
                [intent],
                [],
                of: SPIFFEID("spiffe://example.org/signet/agent/node-of-bob"),
                isClockBelieved: true,
                left: 1,
                reason: "stolen",
                by: AdminStanding(
                    actor: .localUser(uid: 0, host: "localhost"),
                    access: access,
                    now: Self.noon
                ),
                in: transaction
            )
        }
        #expect(try store.readNow { try $0.proposals() } == [proposal.summary])
        #expect(try store.readNow { try $0.approvals(of: proposal.id) }.isEmpty)
        guard case .changeDropped(let drop)? = try leaves(.changeDropped).last?.event else {
            Issue.record("no leaf")
            return
        }
        #expect(drop == ChangeDrop(proposal: own.id, cause: .struck))
    }

    @Test func `who asks again once his node is on record has a proposal that others can approve`()
        throws
    {
        let first = try propose(roleDocument("viewer"), by: "grace")
        #expect(refusal { try approve(first, by: "bob") }?.reason == "approverUnknown")
        // Without anything new it is the same one.
        #expect(try propose(roleDocument("viewer"), by: "grace") == first)
        try store.writeNow { transaction in
            try transaction.record([Self.intent("grace", node: "node-of-grace")])
            try transaction.put(try Self.node("node-of-grace"))
        }
        let second = try propose(roleDocument("viewer"), by: "grace")
        #expect(second.id != first.id)
        #expect(second.sha256 == first.sha256)
        #expect(try store.readNow { try $0.proposals() } == [second.summary])
        guard case .changeDropped(let drop)? = try leaves(.changeDropped).last?.event else {
            Issue.record("no leaf")
            return
        }
        #expect(drop == ChangeDrop(proposal: first.id, cause: .withdrawn))
        #expect(try propose(roleDocument("viewer"), by: "grace") == second)
        #expect(isCarriedOut(try approve(second, by: "bob")))
    }

    @Test func `who asks again from another node has the same proposal, and neither node counts`()
        throws
    {
        try store.writeNow { transaction in
            try transaction.record([Self.intent("second", as: "alice", node: "node-of-carol")])
        }
        let first = try propose(roleDocument("viewer"), needed: 3)
        for name in ["bob", "carol"] { _ = try approve(first, by: name, needed: 3) }
        let second = try propose(roleDocument("viewer"), showing: "second", needed: 3)
        #expect(second.id == first.id)
        #expect(second.moreNodes == ["node-of-carol"])
        // Root is there whoever proposed it; bob's approval stands.
        #expect(
            try store.readNow { try $0.approvals(of: first.id) }.map(\.actor) == [
                ApprovalHarness.id("bob")
            ]
        )
        #expect(refusal { try approve(first, by: "carol", needed: 3) }?.reason == "approvalDenied")
        #expect(try propose(roleDocument("viewer"), needed: 3) == second)
        #expect(try propose(roleDocument("viewer"), showing: "second", needed: 3) == second)
        #expect(try leaves(.changeDropped).isEmpty)
        #expect(isCarriedOut(try approve(first, by: "dave", needed: 2)))
    }

    @Test func `nobody proposes the same from more nodes than are kept`() throws {
        let most = ProposalRecord.moreNodesMax
        try store.writeNow { transaction in
            for index in 0...most {
                let node = "more-\(index)"
                try transaction.record([Self.intent("s\(index)", as: "alice", node: node)])
                try transaction.put(try Self.node(node))
            }
        }
        let first = try propose(roleDocument("viewer"))
        for index in 0..<most {
            #expect(try propose(roleDocument("viewer"), showing: "s\(index)").id == first.id)
        }
        let refused = refusal { try propose(roleDocument("viewer"), showing: "s\(most)") }
        #expect(refused?.reason == "proposalsFull")
    }

    @Test func `what nobody can do any more is told as it is, and is no denial of who approves`()
        throws
    {
        let role = try order(roleDocument("r"))
        _ = try act("alice", needed: 0) { try $0.apply(role, takesProposal: true, using: &$1) }
        let proposal = try propose(
            bindingDocument("b", role: "r", subject: ApprovalHarness.id("dave"))
        )
        var order = DocumentOrder()
        order.deletions = [
            DocumentKey(
                group: "core.signet",
                kind: "Role",
                namespace: "signet-system",
                name: "r"
            )
        ]
        let deletion = order
        _ = try act("bob", needed: 0) { try $0.apply(deletion, takesProposal: true, using: &$1) }
        let refused = refusal { try approve(proposal, by: "carol") }
        #expect(refused?.kind == .failedPrecondition)
        #expect(refused?.reason == "roleUnknown")
        let unseen = refusal { try act("carol") { _ = try $0.view(proposal.id, using: &$1) } }
        #expect(unseen?.reason == "roleUnknown")
        #expect(try store.readNow { try $0.approvals(of: proposal.id) }.isEmpty)
    }

    @Test func `nobody proposes to bind more than can be looked over`() throws {
        let role = try order(roleDocument("r"))
        _ = try act("alice", needed: 0) { try $0.apply(role, takesProposal: true, using: &$1) }
        func binding(_ name: String, _ count: Int) -> String {
            let subjects = (0..<count).map { ApprovalHarness.id("\(name)-\($0)") }
            return bindingDocument(name, role: "r", subject: subjects.joined(separator: ", "))
        }
        let most = ProposedAct.subjectsMax
        _ = try propose(binding("a", most))
        let refused = refusal { try propose(binding("a", most) + binding("b", 1)) }
        #expect(refused?.reason == "proposalTooLarge")
    }

    @Test func `what gives many subjects is looked for within limits, which are told`() throws {
        let role = try order(roleDocument("b"))
        _ = try act("alice", needed: 0) { try $0.apply(role, takesProposal: true, using: &$1) }
        try store.writeNow { transaction in
            let number = try transaction.advanceRevision().number
            for index in 0..<400 {
                let template = "spiffe://example.org/t\(index)/{unix.user}"
                try transaction.put(Self.entry("t\(index)", template, revision: number))
            }
            let one = ApprovalHarness.id("one")
            try transaction.put(Self.entry("exact", one, revision: number))
        }
        func warnings(_ names: [String]) throws -> [String] {
            let subjects = names.map(ApprovalHarness.id).joined(separator: ", ")
            let order = try order(bindingDocument("b", subject: subjects))
            let answer = try act("alice", needed: 0) {
                try $0.apply(order, takesProposal: true, using: &$1)
            }
            guard case .done(let result) = answer else { return [] }
            return result.warnings
        }
        let few = try warnings(["one", "t7/x", "t7/x/y"])
        #expect(few.contains { $0.contains("/one is given by RegistrationEntry default/exact") })
        #expect(few.contains { $0.contains("/t7/x is given by RegistrationEntry default/t7 ") })
        #expect(few.count { $0.contains("is given by") } == 2)
        #expect(!few.contains { $0.contains("more documents than were looked at") })
        let many = try warnings((0..<256).map { "s\($0)" })
        #expect(many.contains { $0.contains("more documents than were looked at") })
    }

    static func entry(
        _ name: String,
        _ spiffeID: String,
        revision: UInt64
    ) throws -> RegistrationEntry {
        RegistrationEntry(
            id: "uid-\(name)",
            namespace: "default",
            name: name,
            revision: revision,
            createdAt: noon,
            spiffeID: spiffeID,
            nodeSelectors: [try Selector("role:any")],
            workloadSelectors: [try Selector("unix:uid:1000")]
        )
    }

    @Test func `subjects of bindings count as documents, as far as they are looked for`() throws {
        let ids = ["a", "b", "c"].map(ApprovalHarness.id)
        let three = bindingDocument("b", subject: ids.joined(separator: ", "))
        #expect(try order(roleDocument("b") + three).weight == 5)
        let many = (0..<200).map { ApprovalHarness.id("s\($0)") }.joined(separator: ", ")
        let two = ["b", "c"].map { bindingDocument($0, subject: many) }.joined()
        #expect(try order(two).weight == 258)
    }
}
