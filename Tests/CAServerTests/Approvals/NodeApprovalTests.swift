// SPDX-License-Identifier: Apache-2.0

import CAServer
import ControlAPI
import ControlAPIProtos
import Foundation
import GRPCCore
import NodeAttestation
import SPIFFE
import SwiftProtobuf
import Testing

/// Nobody becomes an admin's second person by an entry, a Proxy, a token or a node that comes back,
/// and what is trusted no more proposes and approves nothing (docs/decisions/0023-approvals.md).
@Suite(.timeLimit(.minutes(2)))
struct NodeApprovalTests {
    private typealias NodeAction = Signet_Admin_V1alpha1_NodeActionRequest

    @Test func `an entry that is or may become an admin's identity waits; others are made at once`()
        async throws
    {
        let harness = try await ApprovalHarness()
        try await harness.serve { server in
            let plain = entryDocument("web", spiffeID: "spiffe://example.org/web")
            let made = try await harness.apply(plain, as: "alice", on: server)
            #expect(!made.hasProposal)
            for id in ["bob", "{unix.user}"] {
                let more = id == "bob" ? "" : "  variables: {unix.user: {agentAsserted: true}}"
                let text = entryDocument(
                    "mine",
                    node: "role:mine",
                    spiffeID: "spiffe://example.org/\(id)",
                    more: more
                )
                let answer = try await harness.apply(text, as: "alice", on: server)
                #expect(answer.hasProposal, "\(id)")
            }
            // To delete one takes nobody's rights to anybody.
            let deleted = try await harness.acting(as: "alice", on: server) { client in
                try await Documents.Client(wrapping: client).delete(
                    .with {
                        $0.takesProposal = true
                        $0.keys = [
                            .with {
                                $0.kind = "RegistrationEntry"
                                ($0.namespace, $0.name) = ("default", "carol")
                            }
                        ]
                    }
                )
            }
            #expect(!deleted.hasProposal)
            #expect(deleted.changes.map(\.action) == ["deleted"])
        }
    }

    @Test func `a Proxy with an admin's identity waits`() async throws {
        let harness = try await ApprovalHarness()
        try await harness.serve { server in
            let mine = proxyDocument(
                "mine",
                node: "role:bob",
                identity: ApprovalHarness.id("bob")
            )
            let answer = try await harness.apply(mine, as: "alice", on: server)
            #expect(answer.hasProposal)
        }
    }

    @Test func `a token for a node of an admin's is good once it is approved, for its whole time`()
        async throws
    {
        let harness = try await ApprovalHarness()
        try await harness.serve { server in
            let plain = try await harness.token("web-1", ["role:web"], as: "alice", on: server)
            #expect(!plain.hasProposal)
            let answer = try await harness.token("more", ["role:bob"], as: "alice", on: server)
            #expect(answer.hasProposal)
            #expect(answer.expiresAtUnixSeconds == 0)
            let secret = try JoinToken(answer.token).secret
            let early = await refusal { try await server.attest("more", secret: secret) }
            #expect(early?.reason == "joinTokenRefused")
            let shown = try await harness.show(answer.proposal, as: "carol", on: server)
            let details = shown.details.map { "\($0.name): \($0.value)" }
            #expect(details.contains("node: more"))
            #expect(details.contains("admin's identity: spiffe://example.org/bob"))
            let done = try await harness.approve(answer.proposal, as: "carol", on: server)
            #expect(done.outcome == "carriedOut")
            _ = try await server.attest("more", secret: secret)
            let created = try #require(try await server.records("tokenCreated").first)
            #expect(created.contains(#""actor":"spiffe://example.org/alice""#))
        }
    }

    @Test func `who lets a node in again asks for what its entries give`() async throws {
        let harness = try await ApprovalHarness { server in
            try await server.apply(
                roleDocument("warden", verb: "node.ban")
                    + bindingDocument("warden", subject: ApprovalHarness.id("carol"))
            )
            // What bob may do carol may not.
            try await server.apply(
                bindingDocument("bob", role: "admin", subject: ApprovalHarness.id("bob"))
            )
        }
        let name = NodeAction.with { $0.name = "node-of-bob" }
        try await harness.serve(needed: 0, admins: ["alice"]) { server in
            _ = try await server.administration.banNode(name)
            let refused = await refusal {
                try await harness.acting(as: "carol", on: server) { client in
                    try await Administration.Client(wrapping: client).unbanNode(name)
                }
            }
            #expect(refused?.reason == "grantExceedsOwn")
        }
        try await harness.serve(admins: ["alice"]) { server in
            let asked = NodeAction.with { ($0.name, $0.takesProposal) = (name.name, true) }
            let answer = try await server.administration.unbanNode(asked)
            #expect(answer.hasProposal)
            #expect(answer.banned)
            let old = await refusal { try await server.administration.unbanNode(name) }
            #expect(old?.reason == "approvalsNeeded")
            let done = try await harness.approve(answer.proposal, as: "alice", on: server)
            #expect(done.outcome == "carriedOut")
            let nodes = try await server.administration.listNodes(.with { $0.name = name.name })
            #expect(nodes.nodes.map(\.banned) == [false])
        }
    }

    @Test func `a revoked certificate and identity propose and approve nothing`() async throws {
        let harness = try await ApprovalHarness()
        try await harness.serve(needed: 2) { server in
            let first = try await harness.apply(roleDocument("a"), as: "alice", on: server)
            let second = try await harness.apply(roleDocument("b"), as: "bob", on: server)
            _ = try await harness.approve(second.proposal, as: "alice", on: server)
            let serial = Data(try #require(harness.persons["alice"]).leaf.serial)
            _ = try await server.administration.revokeCertificate(.with { $0.serial = serial })
            let left = try await harness.list(as: "carol", on: server)
            #expect(left.map(\.id) == [second.proposal.id])
            #expect(left.map(\.approved) == [0])
            let dropped = try #require(try await server.records("changeDropped").first)
            #expect(dropped.contains(hexadecimal(Array(first.proposal.id))))
            #expect(dropped.contains(#""cause":"struck""#))
            #expect(try await !harness.health(as: "bob", on: server).conditions.isEmpty)
            try await server.revoke(ApprovalHarness.id("bob"))
            // What ails the server is told to admins alone.
            let health = try await harness.health(as: "bob", on: server)
            #expect(health.ready && health.conditions.isEmpty && health.serverID.isEmpty)
            #expect(try await harness.list(as: "carol", on: server).isEmpty)
            // Who has stolen his SVID still shows it.
            let again = await refusal {
                try await harness.apply(roleDocument("b"), as: "bob", on: server)
            }
            #expect(again?.reason == "certificateRevoked")
            let third = try await harness.apply(roleDocument("c"), as: "carol", on: server)
            let approved = await refusal {
                try await harness.approve(third.proposal, as: "bob", on: server)
            }
            #expect(approved?.reason == "certificateRevoked")
            let act = await refusal {
                try await harness.acting(as: "bob", on: server) { client in
                    try await Administration.Client(wrapping: client).banNode(
                        .with { $0.name = "node-of-carol" }
                    )
                }
            }
            #expect(act?.reason == "certificateRevoked")
            let read = await refusal { try await harness.list(as: "bob", on: server) }
            #expect(read?.reason == "certificateRevoked")
            #expect(try await server.records("nodeBanned").isEmpty)
        }
    }

    @Test func `whom a binding that waits would name is an admin meanwhile`() async throws {
        let harness = try await ApprovalHarness { server in
            try await server.apply(roleDocument("viewer"))
            try await server.register("early", node: "role:early")
        }
        try await harness.serve { server in
            let (late, early) = (ApprovalHarness.id("late"), ApprovalHarness.id("early"))
            let binding = try await harness.apply(
                bindingDocument("viewer", subject: "\(late), \(early)"),
                as: "alice",
                on: server
            )
            #expect(binding.hasProposal)
            let entry = entryDocument("late", spiffeID: late)
            let template = entryDocument(
                "any",
                spiffeID: "spiffe://example.org/la{unix.user}",
                more: "  variables: {unix.user: {agentAsserted: true}}"
            )
            let proxy = proxyDocument("early", node: "role:early", identity: early)
            for text in [entry, template, proxy] {
                let planted = try await harness.apply(text, as: "bob", on: server)
                #expect(planted.hasProposal)
            }
            let token = try await harness.token("early-1", ["role:early"], as: "bob", on: server)
            #expect(token.hasProposal)
            _ = try await harness.acting(as: "alice", on: server) { client in
                try await Approvals.Client(wrapping: client)
                    .withdraw(.with { $0.id = binding.proposal.id })
            }
            let plain = try await harness.apply(entry, as: "bob", on: server)
            #expect(!plain.hasProposal)
        }
    }

    @Test func `while an admin's entry waits, what would let nodes in that get it waits too`()
        async throws
    {
        let harness = try await ApprovalHarness()
        try await harness.serve { server in
            let entry = entryDocument(
                "mine",
                node: "role:mine",
                spiffeID: ApprovalHarness.id("bob")
            )
            let own = ApprovalHarness.id("new")
            // By what is bound in the same order, too.
            let order =
                roleDocument("viewer") + bindingDocument("viewer", subject: own)
                + entryDocument("own", node: "role:own", spiffeID: own)
            for (text, selector) in [(entry, "role:mine"), (order, "role:own")] {
                let waiting = try await harness.apply(text, as: "alice", on: server)
                #expect(waiting.hasProposal)
                let token = try await harness.token("first", [selector], as: "bob", on: server)
                #expect(token.hasProposal, "\(selector)")
                let shown = try await harness.show(token.proposal, as: "carol", on: server)
                #expect(shown.details.contains { $0.value.contains("by what waits for approval") })
                let other = try await harness.token(
                    "other-\(selector.dropFirst(5))",
                    ["role:no"],
                    as: "bob",
                    on: server
                )
                #expect(!other.hasProposal)
                for (id, name) in [(waiting.proposal.id, "alice"), (token.proposal.id, "bob")] {
                    _ = try await harness.acting(as: name, on: server) { client in
                        try await Approvals.Client(wrapping: client).withdraw(.with { $0.id = id })
                    }
                }
                let plain = try await harness.token(
                    "plain-\(selector.dropFirst(5))",
                    [selector],
                    as: "bob",
                    on: server
                )
                #expect(!plain.hasProposal, "\(selector)")
            }
        }
    }

    @Test func `who writes an admin's entry sees which nodes get it, and so does who approves`()
        async throws
    {
        let harness = try await ApprovalHarness()
        try await harness.serve { server in
            _ = try await harness.token("web-9", ["role:web"], as: "alice", on: server)
            for (node, name) in [("role:bob", "node-of-bob"), ("role:web", "web-9")] {
                let text = entryDocument(
                    name,
                    node: node,
                    spiffeID: ApprovalHarness.id("alice")
                )
                let answer = try await harness.apply(text, as: "alice", on: server)
                #expect(answer.hasProposal)
                #expect(answer.warnings.contains { $0.contains("identity to \(name)") })
                let shown = try await harness.show(answer.proposal, as: "bob", on: server)
                #expect(shown.warnings.contains { $0.contains("identity to \(name)") })
            }
            // Nobody is on such a node.
            let none = entryDocument("none", node: "role:no", spiffeID: ApprovalHarness.id("alice"))
            let answer = try await harness.apply(none, as: "alice", on: server)
            #expect(!answer.warnings.contains { $0.contains("identity to") })
        }
    }

    @Test func `a ban ends what was proposed from the node, and what would let it in`() async throws
    {
        let harness = try await ApprovalHarness()
        try await harness.serve(needed: 2) { server in
            _ = try await harness.apply(roleDocument("a"), as: "bob", on: server)
            let other = try await harness.apply(roleDocument("b"), as: "alice", on: server)
            let token = try await harness.token("extra", ["role:bob"], as: "alice", on: server)
            #expect(token.hasProposal)
            _ = try await server.administration.banNode(.with { $0.name = "node-of-bob" })
            var left = try await harness.list(as: "carol", on: server)
            #expect(Set(left.map(\.id)) == [other.proposal.id, token.proposal.id])
            let asked = NodeAction.with {
                ($0.name, $0.takesProposal) = ("node-of-bob", true)
            }
            let unban = try await server.administration.unbanNode(asked)
            #expect(unban.hasProposal)
            _ = try await server.administration.evictNode(.with { $0.name = "node-of-bob" })
            left = try await harness.list(as: "carol", on: server)
            #expect(Set(left.map(\.id)) == [other.proposal.id, token.proposal.id])
        }
    }
}

extension ApprovalHarness {
    fileprivate func health(
        as name: String,
        on server: TestServer
    ) async throws -> Signet_Admin_V1alpha1_Health {
        try await acting(as: name, on: server) { client in
            try await Administration.Client(wrapping: client).getHealth(.init())
        }
    }

    func token(
        _ node: String,
        _ selectors: [String],
        as name: String,
        on server: TestServer
    ) async throws -> Signet_Admin_V1alpha1_CreateTokenResponse {
        try await acting(as: name, on: server) { client in
            try await Administration.Client(wrapping: client).createToken(
                .with {
                    $0.agentName = node
                    $0.nodeSelectors = selectors
                    $0.takesProposal = true
                }
            )
        }
    }
}
