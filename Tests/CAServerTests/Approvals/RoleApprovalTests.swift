// SPDX-License-Identifier: Apache-2.0

import CAServer
import ControlAPI
import ControlAPIProtos
import Foundation
import GRPCCore
import SPIFFE
import SwiftProtobuf
import Testing

/// Who may do what is changed only with the approval of others (docs/decisions/0023-approvals.md).
@Suite(.timeLimit(.minutes(2)))
struct RoleApprovalTests {
    @Test
    func `a role is proposed, and made when another has approved it, in the first one's name`()
        async throws
    {
        let harness = try await ApprovalHarness()
        try await harness.serve { server in
            let answer = try await harness.apply(roleDocument("viewer"), as: "alice", on: server)
            #expect(answer.hasProposal)
            #expect(answer.proposal.needed == 1)
            #expect(answer.changes.map(\.action) == ["created"])
            #expect(answer.changes.map(\.uid) == [""])
            #expect(try await server.roles().isEmpty)
            #expect(try await server.records("documentsApplied").count == 3)
            let listed = try await harness.list(as: "bob", on: server)
            #expect(listed.map(\.id) == [answer.proposal.id])

            let done = try await harness.approve(answer.proposal, as: "bob", on: server)
            #expect(done.outcome == "carriedOut")
            #expect(done.applied.changes.map(\.action) == ["created"])
            #expect(try await server.roles() == ["viewer"])
            #expect(try await harness.list(as: "bob", on: server).isEmpty)

            let id = hexadecimal(Array(answer.proposal.id))
            let proposed = try #require(try await server.records("changeProposed").first)
            #expect(proposed.contains(#""actor":"spiffe://example.org/alice""#))
            #expect(proposed.contains(id))
            let applied = try #require(try await server.records("documentsApplied").first)
            #expect(applied.contains(#""actor":"spiffe://example.org/alice""#))
            let approved = try #require(try await server.records("changeApproved").first)
            #expect(approved.contains(#""actor":"spiffe://example.org/bob""#))
            #expect(approved.contains(#""carriedOut":1"#))
            let started = try #require(try await server.records("serverStarted").first)
            #expect(started.contains(#""approvals":1"#))
            try await server.requireIntactLog()
        }
    }

    @Test func `nobody approves his own, nobody twice, and local users of the server are one`()
        async throws
    {
        let harness = try await ApprovalHarness()
        try await harness.serve(needed: 2) { server in
            let local = try await server.documents.apply(
                .with {
                    $0.files = [.with { ($0.name, $0.content) = ("a", roleDocument("local")) }]
                    $0.takesProposal = true
                }
            )
            let own = await refusal {
                try await Approvals.Client(wrapping: server.admin).approve(
                    .with { ($0.id, $0.sha256) = (local.proposal.id, local.proposal.sha256) }
                )
            }
            #expect(own?.reason == "approvalDenied")
            let answer = try await harness.apply(roleDocument("viewer"), as: "alice", on: server)
            let mine = await refusal {
                try await harness.approve(answer.proposal, as: "alice", on: server)
            }
            #expect(mine?.reason == "approvalDenied")
            for _ in 0..<2 {
                let once = try await harness.approve(answer.proposal, as: "bob", on: server)
                #expect(once.outcome == "approved")
                #expect(once.approved == 1)
            }
            let done = try await Approvals.Client(wrapping: server.admin).approve(
                .with { ($0.id, $0.sha256) = (answer.proposal.id, answer.proposal.sha256) }
            )
            #expect(done.outcome == "carriedOut")
            #expect(done.approved == 2)
        }
    }

    @Test func `what was looked at is approved, or nothing`() async throws {
        let harness = try await ApprovalHarness()
        try await harness.serve { server in
            let answer = try await harness.apply(roleDocument("viewer"), as: "alice", on: server)
            let shown = try await harness.show(answer.proposal, as: "bob", on: server)
            #expect(shown.proposal.sha256 == answer.proposal.sha256)
            #expect(shown.documents.map(\.verb) == ["create"])
            #expect(shown.documents.first?.before == "")
            #expect(shown.documents.first?.after.contains("bundle.show") == true)
            var other = answer.proposal
            other.sha256 = Data(repeating: 7, count: 32)
            let changed = other
            let refused = await refusal {
                try await harness.approve(changed, as: "bob", on: server)
            }
            #expect(refused?.reason == "proposalChanged")
            other.id = Data(repeating: 7, count: 8)
            let unknown = other
            let nothing = await refusal {
                try await harness.approve(unknown, as: "bob", on: server)
            }
            #expect(nothing?.reason == "proposalUnknown")
            #expect(try await server.roles().isEmpty)
        }
    }

    @Test func `who could not do it himself neither sees nor approves it`() async throws {
        let harness = try await ApprovalHarness { server in
            try await server.apply(
                roleDocument("narrow", verb: "apply], kinds: [Role], namespaces: [default")
                    + bindingDocument("narrow", subject: ApprovalHarness.id("carol"))
            )
        }
        try await harness.serve(admins: ["alice", "bob"]) { server in
            let answer = try await harness.apply(roleDocument("viewer"), as: "alice", on: server)
            // That something waits is told to who holds the right in another place.
            #expect(try await harness.list(as: "carol", on: server).count == 1)
            let unseen = await refusal {
                try await harness.show(answer.proposal, as: "carol", on: server)
            }
            #expect(unseen?.reason == "approvalDenied")
            let denied = await refusal {
                try await harness.approve(answer.proposal, as: "carol", on: server)
            }
            #expect(denied?.reason == "approvalDenied")
            #expect(denied?.message.contains("adminDenied") == true)
            let refusals = try await server.records("requestRefused")
            #expect(refusals.contains { $0.contains(#""what":"approval""#) })
            #expect(try await server.roles() == ["narrow"])
            let done = try await harness.approve(answer.proposal, as: "bob", on: server)
            #expect(done.outcome == "carriedOut")
        }
    }

    @Test func `who may not get what it changes neither sees nor approves it`() async throws {
        let harness = try await ApprovalHarness { server in
            try await server.apply(
                roleDocument("writer", verb: "apply], kinds: [Role")
                    + bindingDocument("writer", subject: ApprovalHarness.id("carol"))
            )
        }
        try await harness.serve(admins: ["alice", "bob"]) { server in
            let text = roleDocument("other", verb: "apply], kinds: [Role")
            let answer = try await harness.apply(text, as: "alice", on: server)
            let unseen = await refusal {
                try await harness.show(answer.proposal, as: "carol", on: server)
            }
            #expect(unseen?.reason == "adminDenied")
            let denied = await refusal {
                try await harness.approve(answer.proposal, as: "carol", on: server)
            }
            #expect(denied?.reason == "adminDenied")
            #expect(denied?.message.contains("may get what it changes") == true)
            let done = try await harness.approve(answer.proposal, as: "bob", on: server)
            #expect(done.outcome == "carriedOut")
        }
    }

    @Test func `two whose certificates were issued to one node are one person`() async throws {
        let harness = try await ApprovalHarness(["alice", "bob"])
        let both = try await harness.adding(["dave", "eve"], onNode: "shared")
        try await both.serve(admins: ["alice", "bob", "dave", "eve"]) { server in
            let answer = try await both.apply(roleDocument("viewer"), as: "dave", on: server)
            let refused = await refusal {
                try await both.approve(answer.proposal, as: "eve", on: server)
            }
            #expect(refused?.reason == "approvalDenied")
            #expect(refused?.message.contains("shared") == true)
            let done = try await both.approve(answer.proposal, as: "bob", on: server)
            #expect(done.outcome == "carriedOut")
        }
    }

    @Test func `where nothing needs approval any more, the start ends what waits`() async throws {
        let harness = try await ApprovalHarness(["alice"])
        let proposal = try await harness.serve(admins: ["alice"]) { server in
            try await harness.apply(roleDocument("viewer"), as: "alice", on: server).proposal
        }
        // A restart alone ends nothing.
        try await harness.serve(admins: ["alice"]) { server in
            let waiting = try await harness.list(as: "alice", on: server)
            #expect(waiting.map(\.id) == [proposal.id])
        }
        try await harness.serve(needed: 0, admins: ["alice"]) { server in
            #expect(try await harness.list(as: "alice", on: server).isEmpty)
            let dropped = try #require(try await server.records("changeDropped").first)
            #expect(dropped.contains(#""cause":"withdrawn""#))
            #expect(dropped.contains(#""actor":"system:server""#))
            let started = try #require(try await server.records("serverStarted").first)
            #expect(!started.contains("approvals"))
            let done = try await harness.apply(roleDocument("viewer"), as: "alice", on: server)
            #expect(!done.hasProposal)
        }
    }

    @Test func `what nobody has done in a day ends by itself`() async throws {
        let harness = try await ApprovalHarness(["alice"])
        try await harness.serve(admins: ["alice"]) { server in
            let answer = try await harness.apply(roleDocument("viewer"), as: "alice", on: server)
            let end = Date(
                timeIntervalSince1970: Double(answer.proposal.endsAtUnixMilliseconds) / 1000
            )
            try await server.core.endProposals(now: end - 1)
            #expect(try await harness.list(as: "alice", on: server).count == 1)
            try await server.core.endProposals(now: end + 1)
            #expect(try await harness.list(as: "alice", on: server).isEmpty)
            let dropped = try #require(try await server.records("changeDropped").first)
            #expect(dropped.contains(#""cause":"expired""#))
        }
    }

    @Test func `a dry run says that others have to approve, and an old program is refused`()
        async throws
    {
        let harness = try await ApprovalHarness(["alice"])
        try await harness.serve(admins: ["alice"]) { server in
            let text = roleDocument("viewer")
            let dry = try await harness.apply(
                text,
                as: "alice",
                on: server,
                isDryRun: true,
                takesProposal: false
            )
            #expect(dry.proposal.needed == 1)
            #expect(dry.proposal.id.isEmpty)
            #expect(try await harness.list(as: "alice", on: server).isEmpty)
            let old = await refusal {
                try await harness.apply(text, as: "alice", on: server, takesProposal: false)
            }
            #expect(old?.reason == "approvalsNeeded")
            #expect(try await server.records("changeProposed").isEmpty)
        }
    }
}
