// SPDX-License-Identifier: Apache-2.0

import CAServer
import ControlAPI
import ControlAPIProtos
import FoundationEssentials
import GRPCCore
import SPIFFE
import SwiftProtobuf
import Testing

/// A right counts in the moment of the act: in its transaction, and for as long as somebody
/// watches.
@Suite(.timeLimit(.minutes(1)))
struct AccessMomentTests {
    private static let operators = """
        apiVersion: core.signet/v1alpha1
        kind: Role
        metadata: {name: operator, namespace: signet-system}
        spec:
          rules:
            - verbs: [node.ban, node.list, audit.read, token.create, explain]
            - verbs: [get, list, apply, delete]
              kinds: [RegistrationEntry]
        ---
        apiVersion: core.signet/v1alpha1
        kind: RoleBinding
        metadata: {name: operators, namespace: signet-system}
        spec:
          role: operator
          subjects: [spiffe://example.org/operator]

        """

    /// The identity of an operator, who may do what the role says.
    private func `operator`(_ server: TestServer) async throws -> TestAgent {
        let workload = try await server.workload("operator")
        try await server.apply(Self.operators)
        return workload
    }

    private func dismiss(_ server: TestServer) async throws {
        _ = try await server.documents.delete(
            .with {
                $0.keys = [
                    .with {
                        ($0.kind, $0.namespace, $0.name) =
                            ("RoleBinding", "signet-system", "operators")
                    }
                ]
            }
        )
    }

    private func acts(
        _ client: GRPCClient<Transport>
    ) -> [(name: String, act: @Sendable () async throws -> Void)] {
        let administration = Administration.Client(wrapping: client)
        let documents = Documents.Client(wrapping: client)
        let text = entryDocument("web", spiffeID: "spiffe://example.org/web")
        return [
            ("ban", { _ = try await administration.banNode(.with { $0.name = "web-1" }) }),
            ("token", { _ = try await administration.createToken(.with { $0.agentName = "x" }) }),
            (
                "apply",
                {
                    _ = try await documents.apply(
                        .with { $0.files = [.with { ($0.name, $0.content) = ("x.yaml", text) }] }
                    )
                }
            ),
            (
                "delete",
                {
                    _ = try await documents.delete(
                        .with {
                            $0.keys = [
                                .with {
                                    ($0.kind, $0.namespace, $0.name) =
                                        ("RegistrationEntry", "default", "operator")
                                }
                            ]
                        }
                    )
                }
            ),
        ]
    }

    @Test func `an act that waits while its right is taken away does not happen`() async throws {
        try await withServer { server in
            _ = try await server.agent("web-1")
            let caller = try await self.operator(server)
            try await server.authenticated(as: try caller.identity) { client in
                // All of them are let in at this moment, so that what is refused is refused later.
                _ = try await Administration.Client(wrapping: client).listNodes(.init())
                let acts = acts(client)
                try await server.holdingWrites { writes in
                    async let dismissed: Void = dismiss(server)
                    try await writes.queued(1)
                    async let refusals = withTaskGroup(of: (String, APIError?).self) { group in
                        for act in acts { group.addTask { (act.name, await refusal(act.act)) } }
                        return await group.reduce(into: []) { $0.append($1) }
                    }
                    try await writes.queued(1 + acts.count)
                    writes.release()
                    try await dismissed
                    for (name, error) in await refusals {
                        #expect(error?.reason == "adminDenied", "\(name): \(error as Any)")
                    }
                }
            }
            let nodes = try await server.administration.listNodes(.init()).nodes
            #expect(nodes.allSatisfy { !$0.banned })
            let entries = try await server.administration.listEntries(.init()).entries
            #expect(entries.map(\.name) == ["operator"])
            let refused = try await server.records("requestRefused") {
                $0.actor = "spiffe://example.org/operator"
            }
            #expect(refused.count == 4)
        }
    }

    @Test func `who follows the log is told nothing after the right is gone`() async throws {
        try await withServer { server in
            let caller = try await self.operator(server)
            let last = try await server.audit.query(.init()).records.map(\.index).max()
            let told = try await server.authenticated(as: try caller.identity) { client in
                let audit = Audit.Client(wrapping: client)
                let request = Signet_Admin_V1alpha1_AuditTailRequest.with { $0.fromStart = true }
                return try await audit.tail(request) { response in
                    var told: [String] = []
                    let error = await refusal {
                        for try await record in response.messages {
                            told.append(record.json)
                            if record.index == last { try await dismiss(server) }
                        }
                    }
                    #expect(error?.reason == "adminDenied")
                    return told
                }
            }
            #expect(UInt64(told.count) == (last ?? 0) + 1)
            let refused = try await server.records("requestRefused")
            #expect(refused.count == 1)
        }
    }

    @Test func `who waits for agents is told nothing after the right is gone`() async throws {
        try await withServer { server in
            let caller = try await self.operator(server)
            let agent = try await server.agent("web-1", selectors: ["role:web"])
            try await server.withSync(as: agent) { sync in
                sync.acknowledge(try await sync.snapshot().revision)
                let applied = try await server.apply(
                    entryDocument("web", spiffeID: "spiffe://example.org/web")
                )
                let delta = try await sync.delta()
                let error = try await server.authenticated(as: try caller.identity) { client in
                    async let waiting = refusal {
                        try await Documents.Client(wrapping: client).wait(
                            .with {
                                $0.revision = applied.revision
                                $0.deadlineMilliseconds = 20_000
                            }
                        )
                    }
                    // Let in first: what is refused is refused later.
                    try await eventually("it waits") { server.core.hub.waitCount == 1 }
                    try await dismiss(server)
                    sync.acknowledge(delta.toRevision)
                    return await waiting
                }
                #expect(error?.reason == "adminDenied")
            }
        }
    }
}
