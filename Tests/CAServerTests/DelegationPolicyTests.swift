// SPDX-License-Identifier: Apache-2.0

import CAServer
import ControlAPI
import ControlAPIProtos
import Datastore
import SPIFFE
import SwiftProtobuf
import Testing

/// Who writes a `DelegationPolicy` lets others speak for its subjects.
@Suite(.timeLimit(.minutes(1)))
struct DelegationPolicyTests {
    private static let narrow = """
        apiVersion: core.signet/v1alpha1
        kind: Role
        metadata: {name: narrow, namespace: signet-system}
        spec:
          rules:
          - verbs: [apply, delete]
            kinds: [DelegationPolicy]
          - verbs: [apply]
            kinds: [RegistrationEntry]
            spiffeIDPrefixes: [spiffe://example.org/mine]
        ---
        apiVersion: core.signet/v1alpha1
        kind: RoleBinding
        metadata: {name: narrow, namespace: signet-system}
        spec:
          role: narrow
          subjects: ["spiffe://example.org/joe"]

        """

    private static func policy(_ name: String, _ subjects: String, _ actor: String) -> String {
        """
        ---
        apiVersion: core.signet/v1alpha1
        kind: DelegationPolicy
        metadata: {name: \(name)}
        spec:
          subjects: [\(subjects)]
          actors: [spiffe://example.org/\(actor)]
          audiences: [ledger]

        """
    }

    @Test func `who may not register a subject neither grants nor overwrites, but deletes`()
        async throws
    {
        try await withServer { server in
            let (mine, web) = ("spiffe://example.org/mine/app", "spiffe://example.org/web")
            try await server.apply(Self.narrow + Self.policy("both", "\(mine), \(web)", "b"))
            let joe = try await server.workload("joe")
            try await server.authenticated(as: try joe.identity) { client in
                func apply(_ text: String) async -> APIError? {
                    await refusal {
                        try await Documents.Client(wrapping: client).apply(
                            .with {
                                $0.files = [.with { ($0.name, $0.content) = ("a.yaml", text) }]
                            }
                        )
                    }
                }
                // Who acts, and where, is nothing that he has to own.
                #expect(await apply(Self.policy("mine", mine, "b")) == nil)
                for subjects in [web, "\(mine), \(web)"] {
                    let refused = await apply(Self.policy("new", subjects, "mine/app2"))
                    #expect(refused?.reason == "adminDenied", "\(subjects)")
                }
                // The stored one speaks for a subject that is not his.
                let taken = await apply(Self.policy("both", mine, "b"))
                #expect(taken?.reason == "adminDenied")
                // Whose it is, is not for him to see.
                #expect(taken?.message.contains(web) == false, "\(taken?.message ?? "")")
                // The kind is his to delete in the namespace, and to end a grant gives nobody
                // anything.
                _ = try await Documents.Client(wrapping: client).delete(
                    .with {
                        $0.keys = [
                            .with {
                                ($0.kind, $0.namespace, $0.name) = (
                                    "DelegationPolicy", "default", "both"
                                )
                            }
                        ]
                    }
                )
            }
            let left = try await server.documents.get(.with { $0.kind = "DelegationPolicy" })
            #expect(left.documents.map(\.key.name) == ["mine"])
        }
    }

    @Test func `a policy permits while its document is there`() async throws {
        try await withServer { server in
            let (a, b) = ("spiffe://example.org/a", "b")
            let hop = DelegationHop(
                subject: try SPIFFEID(a),
                actor: try SPIFFEID("spiffe://example.org/b"),
                audience: "ledger"
            )
            func found() async throws -> String? {
                let policy = try await server.core.read { transaction in
                    try transaction.delegationPolicy(permitting: hop)
                }
                return policy?.name
            }
            #expect(try await found() == nil)
            try await server.apply(Self.policy("p", a, b))
            #expect(try await found() == "p")
            try await server.apply(Self.policy("p", a, "c"))
            #expect(try await found() == nil)
            try await server.apply(Self.policy("p", a, b))
            #expect(try await found() == "p")
            try await server.delete("DelegationPolicy", "p")
            #expect(try await found() == nil)
        }
    }

    @Test func `there are at most a thousand, and one that is there can be changed`() async throws {
        try await withServer { server in
            let a = "spiffe://example.org/a"
            let most = DelegationPolicy.countMax
            let all = (0..<most).map { Self.policy("p\($0)", a, "b") }.joined()
            try await server.apply(all)
            let refused = await refusal { try await server.apply(Self.policy("more", a, "b")) }
            #expect(refused?.reason == "tooManyDelegationPolicies")
            try await server.apply(Self.policy("p0", a, "c"))
            #expect(try await server.core.read { try $0.delegationPolicyCount() } == most)
        }
    }

    @Test func `IDs of subjects, actors and audiences that no entry gives are warned of`()
        async throws
    {
        try await withServer { server in
            try await server.apply(entryDocument("a", spiffeID: "spiffe://example.org/shop/front"))
            let policy = Self.policy("p", "spiffe://example.org/shop/front", "nobody")
                .replacing(
                    "[ledger]",
                    with: "[ledger, spiffe://example.org/shop/frnt, spiffe://other.example/x]"
                )
            let warnings = try await server.apply(policy).warnings
            #expect(
                warnings.filter { $0.contains("no entry gives") } == [
                    "DelegationPolicy default/p: no entry gives spiffe://example.org/nobody",
                    "DelegationPolicy default/p: no entry gives spiffe://example.org/shop/frnt; "
                        + "did you mean spiffe://example.org/shop/front?",
                ]
            )
            #expect(warnings.contains { $0.contains("write tokenExchange: true") })
        }
    }

    @Test func `subjects and actors are of this server's trust domain`() async throws {
        try await withServer { server in
            let foreign = Self.policy("p", "spiffe://other.example/a", "b")
            let refused = await refusal { try await server.apply(foreign) }
            #expect(refused?.reason == "documentRefused")
        }
    }
}
