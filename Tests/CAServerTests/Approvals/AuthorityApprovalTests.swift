// SPDX-License-Identifier: Apache-2.0

import CAServer
import ControlAPI
import ControlAPIProtos
import Foundation
import GRPCCore
import SPIFFE
import SwiftProtobuf
import Testing

/// One person alone ends no authority, and lets none sign before everybody is ready
/// (docs/decisions/0023-approvals.md).
@Suite(.timeLimit(.minutes(2)))
struct AuthorityApprovalTests {
    private typealias Action = Signet_Admin_V1alpha1_AuthorityActionRequest

    private func states(_ server: TestServer) async throws -> [String: String] {
        let authorities = try await server.administration.listAuthorities(.init()).authorities
        return Dictionary(uniqueKeysWithValues: authorities.map { ($0.id, $0.state) })
    }

    @Test func `an authority signs at once, is tainted and revoked when others have approved it`()
        async throws
    {
        let harness = try await ApprovalHarness()
        try await harness.serve { server in
            let service = server.administration
            let old = try #require(try await states(server).first { $0.value == "active" }).key
            // Preparing one hurts nobody.
            let next = try await service.prepareAuthority(.init()).authority.id
            let now = Action.with { ($0.id, $0.now, $0.takesProposal) = (next, true, true) }
            let answer = try await harness.acting(as: "alice", on: server) { client in
                try await Administration.Client(wrapping: client).activateAuthority(now)
            }
            #expect(answer.hasProposal)
            #expect(try await states(server) == [old: "active", next: "prepared"])
            let done = try await harness.approve(answer.proposal, as: "bob", on: server)
            #expect(done.outcome == "carriedOut")
            #expect(try await states(server) == [old: "old", next: "active"])
            let activated = try #require(try await server.records("authorityActivated").first)
            #expect(activated.contains(#""actor":"spiffe://example.org/alice""#))
            let approved = try #require(try await server.records("changeApproved").first)
            #expect(approved.contains(#""carriedOut":1"#))
            #expect(try await harness.list(as: "carol", on: server).isEmpty)

            // Their own certificates go with it, and what is carried out is not struck by itself.
            let taint = Action.with { ($0.id, $0.now, $0.takesProposal) = (old, true, true) }
            let tainting = try await harness.acting(as: "alice", on: server) { client in
                try await Administration.Client(wrapping: client).taintAuthority(taint)
            }
            #expect(tainting.hasProposal)
            #expect(tainting.authority.state == "old")
            let tainted = try await harness.approve(tainting.proposal, as: "bob", on: server)
            #expect(tainted.outcome == "carriedOut")
            #expect(try await states(server)[old] == "tainted")
            let refused = await refusal { try await harness.list(as: "bob", on: server) }
            #expect(refused != nil)
            // What would change nothing is not asked about.
            let again = try await service.taintAuthority(taint)
            #expect(!again.hasProposal)
            #expect(again.authority.state == "tainted")
            let revoke = try await service.revokeAuthority(taint)
            #expect(revoke.hasProposal)
            #expect(try await states(server)[old] == "tainted")
            try await server.requireIntactLog()
        }
    }

    @Test func `a rehearsal says that others have to approve, and proposes nothing`() async throws {
        let harness = try await ApprovalHarness()
        try await harness.serve { server in
            let next = try await server.administration.prepareAuthority(.init()).authority.id
            let rehearsal = Action.with { ($0.id, $0.rehearse) = (next, true) }
            for answer in [
                try await server.administration.activateAuthority(rehearsal),
                try await server.administration.revokeAuthority(rehearsal),
            ] {
                #expect(answer.rehearsed)
                #expect(answer.proposal.needed == 1)
                #expect(answer.proposal.id.isEmpty)
            }
            #expect(try await harness.list(as: "alice", on: server).isEmpty)
            let old = await refusal {
                try await server.administration.revokeAuthority(.with { $0.id = next })
            }
            #expect(old?.reason == "approvalsNeeded")
        }
    }

    @Test func `an activation that was overtaken is stale`() async throws {
        let harness = try await ApprovalHarness()
        try await harness.serve { server in
            let next = try await server.administration.prepareAuthority(.init()).authority.id
            let now = Action.with { ($0.id, $0.now, $0.takesProposal) = (next, true, true) }
            let first = try await server.administration.activateAuthority(now)
            let second = try await harness.acting(as: "alice", on: server) { client in
                try await Administration.Client(wrapping: client).activateAuthority(now)
            }
            let done = try await harness.approve(first.proposal, as: "bob", on: server)
            #expect(done.outcome == "carriedOut")
            let stale = try await harness.approve(second.proposal, as: "bob", on: server)
            #expect(stale.outcome == "stale")
        }
    }

    @Test func `who binds sees by what the new admin gets his identity, and so does who approves`()
        async throws
    {
        let harness = try await ApprovalHarness { server in
            try await server.register("planted", node: "role:any")
        }
        try await harness.serve { server in
            let text = bindingDocument("p", role: "admin", subject: ApprovalHarness.id("planted"))
            let answer = try await harness.apply(text, as: "alice", on: server)
            #expect(answer.hasProposal)
            let told = { (warnings: [String]) in
                warnings.contains { warning in
                    warning.contains("RegistrationEntry") && warning.contains("planted")
                        && warning.contains(TestServer.actor)
                }
            }
            #expect(told(answer.warnings), "\(answer.warnings)")
            let shown = try await harness.show(answer.proposal, as: "bob", on: server)
            #expect(told(shown.warnings), "\(shown.warnings)")
        }
    }
}
