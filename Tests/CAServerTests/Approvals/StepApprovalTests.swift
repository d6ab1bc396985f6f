// SPDX-License-Identifier: Apache-2.0

import AuditLog
import Authorization
import CAServer
import ControlAPI
import Datastore
import Foundation
import SPIFFE
import Testing

/// Acts on authorities that others approve, over a datastore.
extension ApprovalActTests {
    private static let authority = String(repeating: "ab", count: 20)
    private static let inUse = APIError(.failedPrecondition, "authorityInUse", "somebody is hurt")

    /// Proposes to taint an authority that signs no more.
    private func proposeTaint(isNow: Bool) throws -> ProposalRecord {
        try propose(.authorityTaint, in: "old", isNow: isNow)
    }

    private func propose(
        _ verb: AdminVerb,
        in state: String,
        isNow: Bool = true
    ) throws -> ProposalRecord {
        try store.writeNow { transaction in
            try transaction.put(
                AuthorityRecord(
                    id: Self.authority,
                    serverID: "one",
                    state: state,
                    certificateDER: [1],
                    tokenKeySPKI: nil,
                    publishedAt: Self.noon,
                    activatedAt: nil,
                    notBefore: Self.noon,
                    notAfter: Self.noon + 86_400
                )
            )
        }
        let step = ProposedStep(
            verb,
            of: Self.authority,
            in: state,
            reason: "lost",
            isNow: isNow
        )
        let (result, proposal) = try act("alice") {
            try $0.order(.authority(step), takesProposal: true, using: &$1)
        }
        #expect(result == nil)
        return try #require(proposal)
    }

    private func approve(
        _ proposal: ProposalRecord,
        requireReady: @escaping ApprovalAct.ReadinessCheck
    ) throws -> ApprovalAnswer {
        try act("bob", requireReady: requireReady) {
            try $0.approve(proposal.id, sha256: proposal.sha256, using: &$1)
        }
    }

    private func state() throws -> String? {
        try store.readNow { try $0.authority(id: Self.authority)?.state }
    }

    @Test func `without --now it is looked once more whom it hurts, before it is done`() throws {
        let proposal = try proposeTaint(isNow: false)
        let inUse = Self.inUse
        let refused = refusal { try approve(proposal) { _, _, _, _ in throw inUse } }
        #expect(refused == inUse)
        #expect(try state() == "old")
        #expect(try store.readNow { try $0.approvals(of: proposal.id) }.isEmpty)
        #expect(isCarriedOut(try approve(proposal) { _, _, _, _ in }))
        #expect(try state() == "tainted")
    }

    @Test func `with --now it is done all the same`() throws {
        let proposal = try proposeTaint(isNow: true)
        let inUse = Self.inUse
        #expect(isCarriedOut(try approve(proposal) { _, _, _, _ in throw inUse }))
        #expect(try state() == "tainted")
    }

    @Test func `an activation is left to the rotation, which ends the proposal`() throws {
        let proposal = try propose(.authorityActivate, in: "prepared")
        let id = proposal.id
        let answer = try approve(proposal, by: "bob")
        #expect(answer == .ready(authorityID: Self.authority, count: 1, struck: []))
        #expect(try state() == "prepared")
        #expect(try store.readNow { try $0.proposals() } == [proposal.summary])
        let found = try act("bob") {
            try $0.requireApproved(id, sha256: proposal.sha256, using: &$1)
        }
        #expect(found.proposer.description == ApprovalHarness.id("alice"))
        #expect((found.count, found.struck) == (1, []))
        // Whoever lost the right since counts no more; and nobody else may ask for it.
        for left in [["alice"], ["bob"]] {
            #expect(throws: APIError.self) {
                try act("bob", without: left) {
                    try $0.requireApproved(id, sha256: proposal.sha256, using: &$1)
                }
            }
        }
        // The leaf tells what was found in the transaction of the act, not before it.
        try act("carol", without: ["bob"]) {
            let found = try $0.requireApproved(id, sha256: proposal.sha256, using: &$1)
            #expect((found.count, found.struck) == (1, [ApprovalHarness.id("bob")]))
            try $0.carriedOut(id, found)
        }
        #expect(try store.readNow { try $0.proposals() }.isEmpty)
        guard case .changeApproved(let last)? = try leaves(.changeApproved).last?.event else {
            Issue.record("no leaf")
            return
        }
        #expect(last.isCarriedOut)
        #expect((last.approved, last.struck) == (1, [ApprovalHarness.id("bob")]))
    }

    @Test(arguments: [AdminVerb.authorityActivate, .authorityRevoke, .authorityTaint])
    func `a reason that no leaf would keep is refused`(verb: AdminVerb) throws {
        let step = ProposedStep(
            verb,
            of: Self.authority,
            in: "prepared",
            reason: String(repeating: "x", count: ServerLogic.reasonBytesMax + 1),
            isNow: true
        )
        let refused = refusal {
            try act("alice") { try $0.order(.authority(step), takesProposal: true, using: &$1) }
        }
        #expect(refused?.reason == "reasonTooLong")
    }

    @Test func `an activation whose proposer may not any more ends`() throws {
        let proposal = try propose(.authorityActivate, in: "prepared")
        let answer = try approve(proposal, by: "bob", without: ["alice"])
        guard case .ended(.denied, _, _) = answer else {
            Issue.record("\(answer)")
            return
        }
        #expect(try store.readNow { try $0.proposals() }.isEmpty)
    }

    @Test func `what is above authorities is ended by two alike`() throws {
        let id = String(repeating: "cd", count: 20)
        try store.writeNow { transaction in
            try transaction.put(
                UpstreamRecord(
                    id: id,
                    kind: .root,
                    certificateDER: [1],
                    publishedAt: Self.noon,
                    notAfter: Self.noon + 86_400
                )
            )
        }
        func order(in state: String) throws -> (ProposedResult?, ProposalRecord?) {
            let step = ProposedStep(
                .authorityRevoke,
                of: id,
                in: state,
                reason: "lost",
                isNow: false
            )
            return try act("alice") {
                try $0.order(.authority(step), takesProposal: true, using: &$1)
            }
        }
        let (result, proposal) = try order(in: "published")
        #expect(result == nil)
        #expect(try store.readNow { try $0.upstream(id: id)?.isRevoked } == false)
        let waiting = try #require(proposal)
        let shown = try act("bob") { try $0.view(waiting.id, using: &$1) }
        #expect(shown.details.contains { $0.name == "root" && $0.value == id })
        let answer = try approve(waiting, by: "bob")
        guard case .carriedOut(.above(let outcome, .authorityRevoke), 1, []) = answer else {
            Issue.record("\(answer)")
            return
        }
        #expect(outcome.record.isRevoked && outcome.changed.isEmpty)
        #expect(try store.readNow { try $0.upstream(id: id)?.isRevoked } == true)
        // What changes nothing waits for nobody.
        let (again, none) = try order(in: "revoked")
        #expect(again != nil && none == nil)
    }

    @Test func `without --now it is looked whom the end of what is above would hurt`() throws {
        let above = String(repeating: "cd", count: 20)
        let step = ProposedStep(
            .authorityTaint,
            of: above,
            in: "published",
            reason: "lost",
            isNow: false
        )
        try store.writeNow { transaction in
            try transaction.put(
                UpstreamRecord(
                    id: above,
                    kind: .root,
                    certificateDER: [1],
                    publishedAt: Self.noon,
                    notAfter: Self.noon + 86_400
                )
            )
            try transaction.put(
                AuthorityRecord(
                    id: Self.authority,
                    serverID: "one",
                    state: "old",
                    certificateDER: [1],
                    tokenKeySPKI: nil,
                    publishedAt: Self.noon,
                    activatedAt: nil,
                    notBefore: Self.noon,
                    notAfter: Self.noon + 86_400,
                    ancestry: try AuthorityAncestry(chain: [], rootID: above)
                )
            )
        }
        let (_, proposal) = try act("alice") {
            try $0.order(.authority(step), takesProposal: true, using: &$1)
        }
        let waiting = try #require(proposal)
        let inUse = Self.inUse
        let refused = refusal { try approve(waiting) { _, _, _, _ in throw inUse } }
        #expect(refused == inUse)
        #expect(isCarriedOut(try approve(waiting) { _, _, _, _ in }))
        #expect(try state() == "tainted")
    }

    @Test func `an authority in another state than it was found in is not touched`() throws {
        let proposal = try proposeTaint(isNow: true)
        let logic = logic
        try store.writeNow { transaction in
            let record = try #require(try transaction.authority(id: Self.authority))
            _ = try logic.revokeAuthority(
                record.id,
                reason: "",
                by: .system("test"),
                now: Self.noon,
                in: transaction
            )
        }
        let answer = try approve(proposal) { _, _, _, _ in }
        #expect(answer == .ended(.stale, reason: "", struck: []))
        #expect(try state() == "revoked")
    }
}
