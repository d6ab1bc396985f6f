// SPDX-License-Identifier: Apache-2.0

import Authorization
import CAServer
import ControlAPI
import ControlAPIProtos
import GRPCCore
import SPIFFE
import SwiftProtobuf
import Testing

@Suite(.timeLimit(.minutes(1)))
struct AdminAccessTests {
    private static let registrar = """
        apiVersion: core.signet/v1alpha1
        kind: Namespace
        metadata: {name: payments}
        ---
        apiVersion: core.signet/v1alpha1
        kind: Role
        metadata: {name: registrar, namespace: payments}
        spec:
          rules:
            - verbs: [get, list, apply, delete]
              kinds: [RegistrationEntry]
              spiffeIDPrefixes: [spiffe://example.org/payments]
            - verbs: [get, list, apply, delete]
              kinds: [Role, RoleBinding]
        ---
        apiVersion: core.signet/v1alpha1
        kind: RoleBinding
        metadata: {name: registrars, namespace: payments}
        spec:
          role: registrar
          subjects: [spiffe://example.org/deployer]

        """

    private func apply(
        _ text: String,
        _ client: GRPCClient<Transport>
    ) async throws -> Signet_Admin_V1alpha1_ApplyResponse {
        try await Documents.Client(wrapping: client).apply(
            .with { $0.files = [.with { ($0.name, $0.content) = ("test.yaml", text) }] }
        )
    }

    @Test func `the network makes nobody an admin, and every refusal is recorded`() async throws {
        try await withServer { server in
            let agent = try await server.agent("web-1")
            let workload = try await server.workload("deployer")
            for caller in [agent, workload] {
                try await server.authenticated(as: try caller.identity) { client in
                    let administration = Administration.Client(wrapping: client)
                    let calls: [@Sendable () async throws -> Void] = [
                        { _ = try await apply(Self.registrar, client) },
                        { _ = try await administration.createToken(.with { $0.agentName = "x" }) },
                        { _ = try await administration.listNodes(.init()) },
                        { _ = try await administration.banNode(.with { $0.name = "web-1" }) },
                        { _ = try await administration.evictNode(.with { $0.name = "web-1" }) },
                        { _ = try await administration.listAuthorities(.init()) },
                        { _ = try await Audit.Client(wrapping: client).query(.init()) },
                        { _ = try await Audit.Client(wrapping: client).getCheckpoint(.init()) },
                    ]
                    for call in calls {
                        #expect(await refusal(call)?.kind == .permissionDenied)
                    }
                }
            }
            let id = "spiffe://example.org/deployer"
            let refused = try await server.records("requestRefused") { $0.actor = id }
            #expect(refused.count == 8)
            #expect(refused.allSatisfy { $0.contains("no RoleBinding names it") })
            #expect(try await server.administration.listNodes(.init()).nodes.count == 2)
        }
    }

    @Test func `a caller without certificate gets only what first contact needs`() async throws {
        try await withServer { server in
            try await server.anonymously { client in
                let bundle = try await Attestation.Client(wrapping: client).getBundle(.init())
                #expect(bundle.x509Authorities.count == 1)
                let calls: [@Sendable () async throws -> Void] = [
                    { _ = try await apply(Self.registrar, client) },
                    { _ = try await Documents.Client(wrapping: client).get(.init()) },
                    { _ = try await Administration.Client(wrapping: client).getHealth(.init()) },
                    { _ = try await Node.Client(wrapping: client).signX509SVIDs(.init()) },
                ]
                for call in calls {
                    #expect(await refusal(call)?.kind == .unauthenticated)
                }
            }
            #expect(try await server.records("requestRefused").isEmpty)
        }
    }

    @Test func `agents speak their protocol on the network only`() async throws {
        try await withServer { server in
            let error = await refusal {
                try await Node.Client(wrapping: server.admin).renew(.init())
            }
            #expect(error?.kind == .unimplemented)
        }
    }

    @Test func `a bound identity may do what its role says, where it says it`() async throws {
        try await withServer { server in
            let deployer = try await server.workload("deployer")
            try await server.apply(Self.registrar)
            try await server.authenticated(as: try deployer.identity) { client in
                let own = entryDocument(
                    "web",
                    namespace: "payments",
                    spiffeID: "spiffe://example.org/payments/web"
                )
                let applied = try await apply(own, client)
                #expect(applied.changes.map(\.action) == ["created"])
                let others = [
                    entryDocument("web", spiffeID: "spiffe://example.org/payments/web"),
                    entryDocument(
                        "ceo",
                        namespace: "payments",
                        spiffeID: "spiffe://example.org/ceo"
                    ),
                    entryDocument(
                        "near",
                        namespace: "payments",
                        spiffeID: "spiffe://example.org/payments2/web"
                    ),
                ]
                for text in others {
                    let error = await refusal { try await apply(text, client) }
                    #expect(error?.kind == .permissionDenied, "\(text)")
                }
                let listed = try await Documents.Client(wrapping: client).get(
                    .with { $0.allNamespaces = true }
                )
                #expect(
                    Set(listed.documents.map(\.key.kind)).isSubset(of: [
                        "RegistrationEntry", "Role", "RoleBinding",
                    ])
                )
                #expect(listed.documents.allSatisfy { $0.key.namespace == "payments" })
            }
            let written = try await server.records("documentsApplied") {
                $0.actor = "spiffe://example.org/deployer"
            }
            #expect(written.count == 1)
        }
    }

    @Test func `nobody grants what he does not hold`() async throws {
        try await withServer { server in
            let deployer = try await server.workload("deployer")
            try await server.apply(Self.registrar)
            let wider = """
                apiVersion: core.signet/v1alpha1
                kind: Role
                metadata: {name: wider, namespace: payments}
                spec:
                  rules:
                    - verbs: [apply]
                      kinds: [RegistrationEntry]
                      spiffeIDPrefixes: [spiffe://example.org/ceo]

                """
            let everything = """
                apiVersion: core.signet/v1alpha1
                kind: RoleBinding
                metadata: {name: me, namespace: payments}
                spec:
                  role: signet-system/admin
                  subjects: [spiffe://example.org/deployer]

                """
            let within = """
                apiVersion: core.signet/v1alpha1
                kind: RoleBinding
                metadata: {name: colleague, namespace: payments}
                spec:
                  role: registrar
                  subjects: [spiffe://example.org/colleague]

                """
            try await server.authenticated(as: try deployer.identity) { client in
                for text in [wider, everything] {
                    let error = await refusal { try await apply(text, client) }
                    #expect(error?.reason == "grantExceedsOwn")
                }
                _ = try await apply(within, client)
            }
            #expect(
                try await server.records("requestRefused") {
                    $0.actor = "spiffe://example.org/deployer"
                }.count == 2
            )
        }
    }

    @Test func `a uid that is not bound is refused on the socket, too`() async throws {
        try await withServer {
            $0.admins = [.localUser(uid: 4_000_000, host: nil)]
        } _: { server in
            let error = await refusal { try await server.administration.listNodes(.init()) }
            #expect(error?.kind == .permissionDenied)
            #expect(error?.message.contains(TestServer.actor) == true)
        }
    }

    @Test func `a caller that is refused all the time does not fill the log`() async throws {
        try await withServer { server in
            let agent = try await server.agent("web-1")
            try await server.authenticated(as: try agent.identity) { client in
                for _ in 0..<60 {
                    _ = await refusal {
                        try await Administration.Client(wrapping: client).listNodes(.init())
                    }
                }
            }
            let recorded = try await server.records("requestRefused") { $0.limit = 1000 }
            #expect((20..<50).contains(recorded.count), "\(recorded.count)")
        }
    }
}
