// SPDX-License-Identifier: Apache-2.0

import ControlAPI
import ControlAPIProtos
import GRPCCore
import SwiftProtobuf
import Testing

/// Where prune deletes, and what it leaves.
@Suite(.timeLimit(.minutes(1)))
struct PruneTests {
    private func namespace(_ name: String, owner: String? = nil) -> String {
        """
        ---
        apiVersion: core.signet/v1alpha1
        kind: Namespace
        metadata:
          name: \(name)
        \(owner.map { "  labels: {signet/owner: \($0)}" } ?? "")

        """
    }

    private func entry(_ name: String, in namespace: String = "default") -> String {
        entryDocument(
            name,
            namespace: namespace,
            spiffeID: "spiffe://example.org/\(namespace)/\(name)",
            owner: "team-a"
        )
    }

    /// The entries that are left, as namespace/name.
    private func left(_ server: TestServer) async throws -> [String] {
        try await server.documents.get(
            .with { ($0.kind, $0.allNamespaces) = ("RegistrationEntry", true) }
        ).documents.map { "\($0.key.namespace)/\($0.key.name)" }
    }

    @Test func `what lies in a namespace that no document names is left`() async throws {
        try await withServer { server in
            try await server.apply(
                namespace("shop") + entry("web") + entry("old") + entry("db", in: "shop")
            )
            let pruned = try await server.apply(entry("web"), pruneOwner: "team-a")
            #expect(pruned.changes.map(\.action) == ["unchanged", "deleted"])
            #expect(pruned.warnings.isEmpty)
            #expect(try await left(server) == ["default/web", "shop/db"])
            // The Namespace document names it.
            let wider = try await server.apply(
                namespace("shop") + entry("web"),
                pruneOwner: "team-a"
            )
            #expect(wider.changes.map(\.action) == ["unchanged", "unchanged", "deleted"])
            #expect(try await left(server) == ["default/web"])
        }
    }

    @Test func `a namespace goes when it is empty, and is left with a warning when it is not`()
        async throws
    {
        try await withServer { server in
            try await server.apply(
                namespace("shop", owner: "team-a") + namespace("empty", owner: "team-a")
                    + namespace("base", owner: "team-a") + entry("db", in: "shop")
            )
            // Cluster-wide documents are pruned when one of them is applied.
            let none = try await server.apply(entry("web"), pruneOwner: "team-a")
            #expect(none.changes.map(\.action) == ["created"])
            let pruned = try await server.apply(
                namespace("base", owner: "team-a"),
                pruneOwner: "team-a"
            )
            #expect(pruned.changes.map(\.key.name) == ["base", "empty"])
            #expect(pruned.changes.map(\.action) == ["unchanged", "deleted"])
            #expect(pruned.warnings.count == 1)
            #expect(pruned.warnings.first?.contains("shop") == true)
            #expect(try await left(server) == ["default/web", "shop/db"])
        }
    }

    @Test func `what its caller may not delete is left with a warning, and not named`() async throws
    {
        try await withServer { server in
            let deployer = try await server.workload("deployer")
            try await server.apply(
                """
                apiVersion: core.signet/v1alpha1
                kind: Role
                metadata: {name: deployer, namespace: default}
                spec:
                  rules:
                    - verbs: [get, list, apply, delete]
                      kinds: [RegistrationEntry]
                      spiffeIDPrefixes: [spiffe://example.org/default]
                ---
                apiVersion: core.signet/v1alpha1
                kind: RoleBinding
                metadata: {name: deployers, namespace: default}
                spec:
                  role: deployer
                  subjects: [spiffe://example.org/deployer]

                """
            )
            try await server.apply(entry("mine") + entry("web"))
            // Somebody else writes my label on what is his.
            try await server.apply(
                entryDocument("theirs", spiffeID: "spiffe://example.org/ceo", owner: "team-a")
            )
            let text = entry("web")
            let pruned = try await server.authenticated(as: try deployer.identity) { client in
                try await Documents.Client(wrapping: client).apply(
                    .with {
                        $0.files = [.with { ($0.name, $0.content) = ("test.yaml", text) }]
                        $0.pruneOwner = "team-a"
                    }
                )
            }
            #expect(pruned.changes.map(\.key.name) == ["web", "mine"])
            #expect(pruned.warnings.count == 1)
            #expect(pruned.warnings.first?.contains("theirs") == false)
            #expect(
                try await left(server) == ["default/deployer", "default/theirs", "default/web"]
            )
        }
    }

    @Test func `who may delete nothing does not prune, and nobody prunes without documents`()
        async throws
    {
        try await withServer { server in
            let writer = try await server.workload("writer")
            try await server.apply(
                """
                apiVersion: core.signet/v1alpha1
                kind: Role
                metadata: {name: writer, namespace: signet-system}
                spec:
                  rules:
                    - verbs: [apply]
                      kinds: [RegistrationEntry]
                ---
                apiVersion: core.signet/v1alpha1
                kind: RoleBinding
                metadata: {name: writers, namespace: signet-system}
                spec:
                  role: writer
                  subjects: [spiffe://example.org/writer]

                """
            )
            try await server.apply(entry("web") + entry("old"))
            let text = entry("web")
            let refused = try await server.authenticated(as: try writer.identity) { client in
                await refusal {
                    try await Documents.Client(wrapping: client).apply(
                        .with {
                            $0.files = [.with { ($0.name, $0.content) = ("test.yaml", text) }]
                            $0.pruneOwner = "team-a"
                        }
                    )
                }
            }
            #expect(refused?.reason == "adminDenied")
            let empty = await refusal { try await server.apply("", pruneOwner: "team-a") }
            #expect(empty?.reason == "pruneWithoutDocuments")
            #expect(try await left(server) == ["default/old", "default/web", "default/writer"])
        }
    }
}
