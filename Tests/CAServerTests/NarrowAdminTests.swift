// SPDX-License-Identifier: Apache-2.0

import CAServer
import ControlAPI
import ControlAPIProtos
import FoundationEssentials
import GRPCCore
import SPIFFE
import SwiftProtobuf
import Testing

/// Admins of a narrow role who try to widen it, or to learn what lies outside of it.
@Suite(.timeLimit(.minutes(1)))
struct NarrowAdminTests {
    /// A root role with the rules (lines of YAML), bound to a workload, as which `body` calls.
    private func acting<Value: Sendable>(
        _ name: String,
        _ rules: String,
        on server: TestServer,
        _ body: (GRPCClient<Transport>) async throws -> Value
    ) async throws -> Value {
        let workload = try await server.workload(name)
        try await server.apply(
            """
            apiVersion: core.signet/v1alpha1
            kind: Role
            metadata: {name: \(name), namespace: signet-system}
            spec:
              rules:
            \(rules)
            ---
            apiVersion: core.signet/v1alpha1
            kind: RoleBinding
            metadata: {name: \(name), namespace: signet-system}
            spec:
              role: \(name)
              subjects: [spiffe://example.org/\(name)]

            """
        )
        return try await server.authenticated(as: try workload.identity, body)
    }

    @Test func `a token does not make its maker's machine an admin`() async throws {
        try await withServer { server in
            // Whoever runs a node with role:root gets the identity of somebody with every right.
            _ = try await server.workload("root")
            try await server.apply(
                """
                apiVersion: core.signet/v1alpha1
                kind: RoleBinding
                metadata: {name: roots, namespace: signet-system}
                spec:
                  role: admin
                  subjects: [spiffe://example.org/root]

                """
            )
            try await acting("joiner", "    - verbs: [token.create]", on: server) { client in
                let administration = Administration.Client(wrapping: client)
                let refused = await refusal {
                    try await administration.createToken(
                        .with { ($0.agentName, $0.nodeSelectors) = ("mine", ["role:root"]) }
                    )
                }
                #expect(refused?.reason == "grantExceedsOwn")
                _ = try await administration.createToken(
                    .with { ($0.agentName, $0.nodeSelectors) = ("mine", ["role:web"]) }
                )
            }
            _ = try await server.token("other", selectors: ["role:root"])
        }
    }

    @Test func `documents that reach nobody are told to who may know what agents show`()
        async throws
    {
        try await withServer { server in
            func document(_ node: String) -> String {
                entryDocument("db", node: node, spiffeID: "spiffe://example.org/db")
            }
            // Documents come before machines.
            #expect(try await server.apply(document("role:bd")).warnings.isEmpty)
            _ = try await server.agent("db-1", selectors: ["role:db"])
            #expect(try await server.apply(document("role:db")).warnings.isEmpty)
            let mistaken = try await server.apply(document("role:bd")).warnings
            #expect(mistaken.contains { $0.contains("role:bd") }, "\(mistaken)")
            let rules = "    - verbs: [apply]\n      kinds: [RegistrationEntry]"
            let told = try await acting("writer", rules, on: server) { client in
                try await Documents.Client(wrapping: client).apply(
                    .with {
                        $0.files = [
                            .with { ($0.name, $0.content) = ("test.yaml", document("role:bd2")) }
                        ]
                    }
                ).warnings
            }
            #expect(told.isEmpty)
        }
    }

    @Test func `no warning tells of an entry or Service that its reader may not list`() async throws
    {
        try await withServer { server in
            try await server.apply(
                entryDocument("web", spiffeID: "spiffe://example.org/shop/frontend")
                    + entryDocument("api", spiffeID: "spiffe://example.org/hidden/backend")
                    + serviceDocument()
            )
            func policy(_ principal: String) -> String {
                policyDocument(target: "{services: [apy]}").replacing(
                    "spiffe://example.org/client",
                    with: "spiffe://example.org/\(principal)"
                )
            }
            let rules = """
                    - verbs: [apply]
                      kinds: [AccessPolicy]
                    - verbs: [list]
                      kinds: [RegistrationEntry]
                      spiffeIDPrefixes: [spiffe://example.org/shop]
                """
            try await acting("writer", rules, on: server) { client in
                func told(_ principal: String) async throws -> [String] {
                    try await Documents.Client(wrapping: client).apply(
                        .with {
                            $0.files = [
                                .with { ($0.name, $0.content) = ("test.yaml", policy(principal)) }
                            ]
                        }
                    ).warnings.filter { !$0.contains("no Proxy listens") }
                }
                // Whether it is there or not, the answer is the same.
                for principal in ["hidden/backend", "hidden/backnd", "hidden/other"] {
                    let warnings = try await told(principal)
                    #expect(warnings.isEmpty, "\(principal)")
                }
                let warnings = try await told("shop/frontnd")
                #expect(
                    warnings == [
                        "AccessPolicy default/allow: no entry that you may list gives "
                            + "spiffe://example.org/shop/frontnd; did you mean "
                            + "spiffe://example.org/shop/frontend?"
                    ]
                )
            }
        }
    }

    @Test func `a blast radius shows no entry that its reader may not list`() async throws {
        try await withServer { server in
            _ = try await server.agent("web-1", selectors: ["role:web"])
            try await server.register("web")
            try await acting("viewer", "    - verbs: [node.list]", on: server) { client in
                let administration = Administration.Client(wrapping: client)
                let targets: [Signet_Admin_V1alpha1_BlastRadiusRequest.OneOf_Target] = [
                    .node("web-1"), .entry("web"), .entry("none"),
                    .spiffeID("spiffe://example.org/web"),
                ]
                for target in targets {
                    let refused = await refusal {
                        try await administration.blastRadius(.with { $0.target = target })
                    }
                    #expect(refused?.reason == "adminDenied", "\(target)")
                    let tells = refused?.message.contains("example.org/web") == true
                    #expect(!tells, "\(target): \(refused?.message ?? "")")
                }
            }
            let shown = try await server.administration.blastRadius(
                .with { $0.target = .node("web-1") }
            )
            #expect(shown.entries == ["default/web"])
        }
    }

    @Test func `the history shows the versions that its reader could have read`() async throws {
        try await withServer { server in
            let key = Signet_Admin_V1alpha1_DocumentKey.with {
                ($0.kind, $0.namespace, $0.name) = ("RegistrationEntry", "default", "web")
            }
            for path in ["ceo", "a/web", "ceo", "a/web"] {
                try await server.register("web", spiffeID: "spiffe://example.org/\(path)")
            }
            _ = try await server.documents.delete(.with { $0.keys = [key] })
            let rules = """
                    - verbs: [get]
                      kinds: [RegistrationEntry]
                      spiffeIDPrefixes: [spiffe://example.org/a]
                """
            try await acting("reader", rules, on: server) { client in
                let documents = Documents.Client(wrapping: client)
                let history = try await documents.history(.with { $0.key = key }).documents
                #expect(history.map(\.deleted) == [true, false, false])
                #expect(history.allSatisfy { !$0.json.contains("ceo") })
                let other = await refusal {
                    try await documents.history(
                        .with {
                            $0.key = .with {
                                ($0.kind, $0.namespace, $0.name) = ("Role", "default", "x")
                            }
                        }
                    )
                }
                #expect(other?.kind == .permissionDenied)
            }
            let whole = try await server.documents.history(.with { $0.key = key })
            #expect(whole.documents.count == 5)
        }
    }

    @Test func `whose a certificate is is not told to who may not revoke it`() async throws {
        try await withServer { server in
            let leaf = try await server.workload("ceo").leaf
            let rules = """
                    - verbs: [revoke]
                      spiffeIDPrefixes: [spiffe://example.org/a]
                """
            try await acting("revoker", rules, on: server) { client in
                let service = Administration.Client(wrapping: client)
                let refused = await refusal {
                    try await service.revokeCertificate(.with { $0.serial = Data(leaf.serial) })
                }
                #expect(refused?.kind == .permissionDenied)
                #expect(refused?.message.contains("ceo") == false)
            }
            let listed = try await server.administration.listRevocations(.init())
            #expect(listed.certificates.isEmpty)
        }
    }

    @Test func `an explanation shows near misses only to who may see the entries`() async throws {
        try await withServer { server in
            let agent = try await server.agent("web-1", selectors: ["role:web"])
            try await server.register("secret", node: "role:db")
            let narrow = """
                    - verbs: [explain]
                      spiffeIDPrefixes: [spiffe://example.org/signet/agent/web-1]
                """
            try await server.withSync(as: agent) { sync in
                sync.acknowledge(try await sync.snapshot().revision)
                let request = Signet_Admin_V1alpha1_ExplainWorkloadRequest.with {
                    ($0.agentName, $0.pid) = ("web-1", 42)
                }
                async let narrowly = acting("helper", narrow, on: server) { client in
                    try await Administration.Client(wrapping: client).explainWorkload(request)
                }
                try await sync.explainOnce(selectors: ["unix:uid:1000"])
                let mine = try await narrowly
                #expect(mine.pid == 42)
                #expect(mine.nearMisses.isEmpty)
                async let wholly = server.administration.explainWorkload(request)
                try await sync.explainOnce(selectors: ["unix:uid:1000"])
                let all = try await wholly
                #expect(all.nearMisses.map(\.entry).contains("default/secret"))
                async let wrongly = refusal {
                    try await server.administration.explainWorkload(request)
                }
                try await sync.explainOnce(selectors: ["nonsense"])
                #expect(await wrongly?.reason == "agentAnswer")
            }
            let away = await refusal {
                try await server.administration.explainWorkload(
                    .with { ($0.agentName, $0.pid) = ("web-9", 1) }
                )
            }
            #expect(away?.reason == "agentAway")
        }
    }

    @Test func `reasons and selectors are bounded`() async throws {
        try await withServer { server in
            _ = try await server.agent("web-1")
            let long = String(repeating: "x", count: ServerLogic.reasonBytesMax + 1)
            let reason = await refusal {
                try await server.administration.banNode(
                    .with { ($0.name, $0.reason) = ("web-1", long) }
                )
            }
            #expect(reason?.reason == "reasonTooLong")
            let many = (0...64).map { "role:\($0)" }
            let selectors = await refusal { try await server.token("web-2", selectors: many) }
            #expect(selectors?.kind == .invalidArgument)
            let wrong = await refusal { try await server.token("web-2", selectors: ["none"]) }
            #expect(wrong?.kind == .invalidArgument)
        }
    }
}
