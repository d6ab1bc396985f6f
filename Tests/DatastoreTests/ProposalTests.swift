// SPDX-License-Identifier: Apache-2.0

import Datastore
import Foundation
import Testing

/// Proposals, their approvals, and what ends them (docs/decisions/0023-approvals.md).
@Suite(.timeLimit(.minutes(1))) struct ProposalTests {
    private let directory: TemporaryStore
    private let store: ServerStore

    init() throws {
        directory = try TemporaryStore()
        store = try directory.openEstablished()
    }

    private static func shown(
        _ serial: UInt8,
        authority: String = "a1",
        node: String? = "n1"
    ) -> ShownCertificate {
        ShownCertificate(serial: [serial], authorityID: authority, node: node)
    }

    private static func proposal(
        _ byte: UInt8,
        actor: String = "spiffe://example.org/alice",
        certificate: ShownCertificate? = nil,
        topic: ProposalTopic = ProposalTopic(act: "unban", subject: "n1"),
        content: UInt8? = nil,
        madeAt: Date = noon
    ) -> ProposalRecord {
        ProposalRecord(
            id: Array(repeating: byte, count: ProposalRecord.idByteCount),
            actor: actor,
            certificate: certificate,
            topic: topic,
            content: Array("{\"n\":\(content ?? byte)}".utf8),
            sha256: Array(repeating: content ?? byte, count: 32),
            madeAt: madeAt,
            endsAt: madeAt + 86_400
        )
    }

    private static func approval(
        of proposal: ProposalRecord,
        actor: String,
        certificate: ShownCertificate? = nil,
        at time: Date = noon + 1
    ) -> ApprovalRecord {
        ApprovalRecord(
            proposalID: proposal.id,
            actor: actor,
            certificate: certificate,
            approvedAt: time
        )
    }

    @Test func `a proposal and its approvals come back as they were written`() throws {
        let local = Self.proposal(1, actor: "uid:0@host")
        let placed = Self.proposal(2, certificate: Self.shown(7), madeAt: noon + 0.125)
        let topic = ProposalTopic(
            act: "documents",
            changeCount: 2,
            rights: ["apply Role", "delete RoleBinding"],
            boundIDs: ["spiffe://example.org/a", "spiffe://example.org/b"],
            givers: [
                ProposedGiver(
                    kind: "RegistrationEntry",
                    namespace: "default",
                    spiffeIDs: ["spiffe://example.org/a"],
                    nodeSelectors: ["role:web", "token:a"]
                )
            ]
        )
        let unplaced = Self.proposal(
            3,
            certificate: Self.shown(8, node: nil),
            topic: topic,
            madeAt: noon - 5
        )
        let approvals = [
            Self.approval(
                of: placed,
                actor: "spiffe://example.org/bob",
                certificate: Self.shown(9)
            ),
            Self.approval(of: placed, actor: "uid:1@host", at: noon + 2),
        ]
        try store.writeNow { transaction in
            for proposal in [local, placed, unplaced] { try transaction.insert(proposal) }
            for approval in approvals.reversed() { try transaction.record(approval) }
        }
        try store.readNow { transaction in
            #expect(try transaction.proposals() == [unplaced, local, placed].map(\.summary))
            #expect(try transaction.proposal(id: unplaced.id) == unplaced)
            #expect(try transaction.proposalTopic(id: unplaced.id) == topic)
            #expect(try transaction.proposalTopic(id: Self.proposal(4).id) == nil)
            #expect(try transaction.proposedSubjects() == Set(topic.boundIDs))
            #expect(try transaction.proposedGivers() == topic.givers)
            #expect(try transaction.proposal(id: placed.id) == placed)
            #expect(try transaction.proposal(id: Self.proposal(4).id) == nil)
            let same = try transaction.proposal(actor: placed.actor, sha256: placed.sha256)
            #expect(same == placed)
            #expect(try transaction.proposal(actor: "x", sha256: placed.sha256) == nil)
            #expect(try transaction.approvals(of: placed.id) == approvals)
            #expect(try transaction.approvals(of: local.id).isEmpty)
            let counts = try transaction.proposalCounts(actor: placed.actor)
            #expect(counts.open == 3)
            #expect(counts.ofActor == 2)
        }
    }

    @Test func `the same content of the same actor is no second proposal, of another it is`() throws
    {
        try store.writeNow { try $0.insert(Self.proposal(1)) }
        #expect(throws: DatastoreError.self) {
            try store.writeNow { try $0.insert(Self.proposal(2, content: 1)) }
        }
        let other = Self.proposal(2, actor: "spiffe://example.org/bob", content: 1)
        try store.writeNow { try $0.insert(other) }
        #expect(try store.readNow { try $0.proposals() }.count == 2)
    }

    @Test func `who approves again counts once, with what he shows now`() throws {
        let proposal = Self.proposal(1)
        let bob = "spiffe://example.org/bob"
        let again = Self.approval(
            of: proposal,
            actor: bob,
            certificate: Self.shown(6, node: "n2"),
            at: noon + 9
        )
        try store.writeNow { transaction in
            try transaction.insert(proposal)
            try transaction.record(
                Self.approval(of: proposal, actor: bob, certificate: Self.shown(5))
            )
            try transaction.record(again)
        }
        #expect(try store.readNow { try $0.approvals(of: proposal.id) } == [again])
        #expect(try store.writeNow { try $0.deleteApproval(of: proposal.id, actor: bob) })
        #expect(try store.writeNow { try $0.deleteApproval(of: proposal.id, actor: bob) } == false)
        #expect(try store.readNow { try $0.approvals(of: proposal.id) }.isEmpty)
    }

    @Test func `another node of the proposer's is kept, and what was approved from there is not`()
        throws
    {
        let proposal = Self.proposal(1, certificate: Self.shown(1))
        let stays = Self.approval(of: proposal, actor: "uid:0@host")
        let goes = Self.approval(
            of: proposal,
            actor: "spiffe://example.org/bob",
            certificate: Self.shown(2, node: "n2")
        )
        try store.writeNow { transaction in
            try transaction.insert(proposal)
            for approval in [stays, goes] { try transaction.record(approval) }
            try transaction.add(node: "n2", toProposal: proposal.id, beside: [])
            try transaction.add(node: "n3", toProposal: proposal.id, beside: ["n2"])
        }
        let kept = try #require(try store.readNow { try $0.proposal(id: proposal.id) })
        #expect(kept.moreNodes == ["n2", "n3"])
        #expect(kept.summary == proposal.summary)
        #expect(try store.readNow { try $0.approvals(of: proposal.id) } == [stays])
    }

    @Test func `an approval has its proposal, and goes with it`() throws {
        let proposal = Self.proposal(1)
        let approval = Self.approval(of: proposal, actor: "uid:0@host")
        #expect(throws: DatastoreError.self) { try store.writeNow { try $0.record(approval) } }
        try store.writeNow { transaction in
            try transaction.insert(proposal)
            try transaction.record(approval)
        }
        #expect(try store.writeNow { try $0.deleteProposal(id: proposal.id) })
        #expect(try store.writeNow { try $0.deleteProposal(id: proposal.id) } == false)
        #expect(try store.readNow { try $0.approvals(of: proposal.id) }.isEmpty)
        // Nor does it come back to a proposal that has the ID later.
        try store.writeNow { try $0.insert(proposal) }
        #expect(try store.readNow { try $0.approvals(of: proposal.id) }.isEmpty)
    }

    @Test func `a proposal ends with its time, not before`() throws {
        let early = Self.proposal(1)
        let late = Self.proposal(2, madeAt: noon + 1)
        try store.writeNow { transaction in
            try transaction.insert(early)
            try transaction.insert(late)
        }
        let before = early.endsAt - 0.001
        #expect(try store.readNow { try $0.isAnyProposalOver(at: before) } == false)
        #expect(try store.writeNow { try $0.endProposals(at: before) }.isEmpty)
        #expect(try store.readNow { try $0.isAnyProposalOver(at: early.endsAt) })
        #expect(try store.writeNow { try $0.endProposals(at: early.endsAt) } == [early.summary])
        #expect(try store.readNow { try $0.proposals() } == [late.summary])
    }

    @Test(arguments: [
        StruckParty.actor("spiffe://example.org/bob"), .authority("a2"),
        .certificate(serial: [9]), .node("n9"),
    ])
    func `what was proposed and approved with what is struck is gone`(party: StruckParty) throws {
        let bob = "spiffe://example.org/bob"
        let struck = ShownCertificate(serial: [9], authorityID: "a2", node: "n9")
        let stays = Self.proposal(1, certificate: Self.shown(1))
        let goes = Self.proposal(2, actor: bob, certificate: struck)
        let carol = Self.approval(
            of: stays,
            actor: "spiffe://example.org/carol",
            certificate: Self.shown(3, node: nil)
        )
        let root = Self.approval(of: stays, actor: "uid:0@host", at: noon + 2)
        try store.writeNow { transaction in
            try transaction.insert(stays)
            try transaction.insert(goes)
            try transaction.record(carol)
            try transaction.record(root)
            try transaction.record(Self.approval(of: stays, actor: bob, certificate: struck))
            try transaction.record(Self.approval(of: goes, actor: "uid:0@host"))
        }
        #expect(try store.writeNow { try $0.strike(party) } == [goes.summary])
        #expect(try store.readNow { try $0.proposals() } == [stays.summary])
        #expect(try store.readNow { try $0.approvals(of: stays.id) } == [carol, root])
        #expect(try store.readNow { try $0.approvals(of: goes.id) }.isEmpty)
        #expect(try store.writeNow { try $0.strike(party) }.isEmpty)
    }
}
