// SPDX-License-Identifier: Apache-2.0

import CAServer
import ControlAPI
import ControlAPIProtos
import FoundationEssentials
import GRPCCore
import SPIFFE
import SwiftProtobuf
import Testing

/// Who says that a server may be anybody, and who lets its node in (records 0020, "Nested", and
/// 0023).
@Suite(.timeLimit(.minutes(2)))
struct DownstreamApprovalTests {
    private static let writer = """
        ---
        apiVersion: core.signet/v1alpha1
        kind: Role
        metadata: {name: writer, namespace: signet-system}
        spec:
          rules:
            - {verbs: [apply, get, list, delete], kinds: [RegistrationEntry]}
            - {verbs: [token.create, node.ban, node.list]}

        """

    @Test func `to write such an entry takes the verb, whatever is changed of it`() async throws {
        let harness = try await ApprovalHarness { server in
            try await server.apply(
                Self.writer + bindingDocument("writer", subject: ApprovalHarness.id("alice"))
            )
            try await server.apply(Downstream.entry("ca-east"))
        }
        try await harness.serve(needed: 0, admins: ["bob"]) { server in
            func refused(_ text: String) async -> String? {
                await refusal { try await harness.apply(text, as: "alice", on: server) }?.reason
            }
            let new = Downstream.entry("ca-west", spiffeID: "spiffe://example.org/ca-west")
            #expect(await refused(new) == "downstreamNotYours")
            // Not even to take it away, or to say where it runs.
            let plain = entryDocument("ca-east", node: "role:ca", spiffeID: Downstream.id)
            #expect(await refused(plain) == "downstreamNotYours")
            #expect(
                await refused(Downstream.entry("ca-east", node: "role:alice"))
                    == "downstreamNotYours"
            )
            // What does not change is applied as ever.
            #expect(await refused(Downstream.entry("ca-east")) == nil)
            let made = try await harness.apply(new, as: "bob", on: server)
            #expect(made.changes.count == 1)
        }
    }

    @Test func `a node that one selects is let in by who has the verb`() async throws {
        let harness = try await ApprovalHarness { server in
            try await server.apply(
                Self.writer + bindingDocument("writer", subject: ApprovalHarness.id("alice"))
            )
            try await server.apply(Downstream.entry("ca-east"))
            _ = try await server.agent("ca-1", selectors: ["role:ca"])
            _ = try await server.administration.banNode(.with { $0.name = "ca-1" })
        }
        try await harness.serve(needed: 0, admins: ["bob"]) { server in
            let token = await refusal {
                try await harness.token("ca-2", ["role:ca"], as: "alice", on: server)
            }
            #expect(token?.reason == "downstreamNotYours", "\(token?.message ?? "")")
            let unban = await refusal {
                try await harness.acting(as: "alice", on: server) { client in
                    try await Administration.Client(wrapping: client).unbanNode(
                        .with { $0.name = "ca-1" }
                    )
                }
            }
            #expect(unban?.reason == "downstreamNotYours", "\(unban?.message ?? "")")
            _ = try await harness.token("web-9", ["role:web"], as: "alice", on: server)
            _ = try await harness.token("ca-2", ["role:ca"], as: "bob", on: server)
        }
    }

    @Test func `such an entry waits for others, and so does a token for its node meanwhile`()
        async throws
    {
        let harness = try await ApprovalHarness()
        try await harness.serve { server in
            let waits = try await harness.apply(
                Downstream.entry("ca-east"),
                as: "alice",
                on: server
            )
            #expect(waits.hasProposal)
            let token = try await harness.token("ca-1", ["role:ca"], as: "alice", on: server)
            #expect(token.hasProposal)
            let shown = try await harness.show(token.proposal, as: "bob", on: server)
            let names = shown.details.map(\.name)
            #expect(names.contains { $0.contains("downstream") }, "\(names)")
            let plain = try await harness.token("web-1", ["role:web"], as: "alice", on: server)
            #expect(!plain.hasProposal)
            let done = try await harness.approve(waits.proposal, as: "bob", on: server)
            #expect(done.outcome == "carriedOut")
            // The same again is no change, and a change waits.
            let same = try await harness.apply(
                Downstream.entry("ca-east"),
                as: "alice",
                on: server
            )
            #expect(!same.hasProposal)
            let changed = try await harness.apply(
                Downstream.entry("ca-east", node: "role:mine"),
                as: "alice",
                on: server
            )
            #expect(changed.hasProposal)
        }
    }

    @Test func `whoever writes one is told which nodes and tokens it is given to`() async throws {
        try await withServer { server in
            _ = try await server.agent("ca-1", selectors: ["role:ca"])
            _ = try await server.token("ca-2", selectors: ["role:ca"])
            let answer = try await server.apply(Downstream.entry("ca-east"))
            let warning = answer.warnings.first { $0.contains("anybody") } ?? ""
            #expect(warning.contains("ca-1") && warning.contains("ca-2"), "\(answer.warnings)")
        }
    }

    @Test func `to revoke an authority of a server below takes others`() async throws {
        let directory = try TestDirectory()
        let (fixture, clock) = (try UpstreamFixture(in: directory), ShiftedClock())
        try fixture.perform()
        let id = try await withServer(in: directory, clock: clock, { fixture.configure(&$0) }) {
            server in
            let nested = try await server.downstream(fixture, clock)
            return try Downstream.keyID(try await nested.certify())
        }
        try await withServer(
            in: directory,
            clock: clock,
            {
                fixture.configure(&$0)
                $0.approvals = 1
            }
        ) { server in
            let answer = try await server.administration.revokeAuthority(
                .with { ($0.id, $0.now, $0.takesProposal) = (id, true, true) }
            )
            #expect(answer.hasProposal && answer.proposal.act == "authority.revoke")
            #expect(try await server.downstreamState(id) == "certified")
            // A ban of its node needs nobody else.
            _ = try await server.administration.banNode(.with { $0.name = "ca-1" })
            #expect(try await server.downstreamState(id) == "revoked")
        }
    }
}
