// SPDX-License-Identifier: Apache-2.0

import CAServer
import ControlAPI
import ControlAPIProtos
import Crypto
import FoundationEssentials
import GRPCCore
import NodeAttestation
import NodeSync
import SPIFFE
import SwiftProtobuf
import Testing

@Suite(.timeLimit(.minutes(1)))
struct ReviewFindingsTests {
    private static let role = """
        apiVersion: core.signet/v1alpha1
        kind: Role
        metadata: {name: reader, namespace: default}
        spec:
          rules:
            - verbs: [get, list]
              kinds: [RegistrationEntry]
              spiffeIDPrefixes: [spiffe://example.org/a]

        """
    private static let binding = """
        ---
        apiVersion: core.signet/v1alpha1
        kind: RoleBinding
        metadata: {name: readers, namespace: default}
        spec:
          role: reader
          subjects: [spiffe://example.org/reader]

        """

    private func key(_ kind: String, _ name: String) -> Signet_Admin_V1alpha1_DocumentKey {
        .with { ($0.kind, $0.namespace, $0.name) = (kind, "default", name) }
    }

    @Test func `a binding does not wait for its role, and a role that is bound stays`() async throws
    {
        try await withServer { server in
            let planted = await refusal { try await server.apply(Self.binding) }
            #expect(planted?.reason == "roleUnknown")
            try await server.apply(Self.role + Self.binding)
            let bound = await refusal {
                try await server.documents.delete(.with { $0.keys = [key("Role", "reader")] })
            }
            #expect(bound?.reason == "roleBound")
            let both = try await server.documents.delete(
                .with { $0.keys = [key("Role", "reader"), key("RoleBinding", "readers")] }
            )
            #expect(both.changes.map(\.action) == ["deleted", "deleted"])
        }
    }

    @Test func `a list tells nothing of what its reader may not see`() async throws {
        try await withServer { server in
            let reader = try await server.workload("reader")
            try await server.apply(Self.role + Self.binding)
            let ids = ["a/1", "b/1", "b/2", "b/3", "a/2", "b/4", "a/3", "b/5"]
            for (index, id) in ids.enumerated() {
                try await server.register("e-\(index)", spiffeID: "spiffe://example.org/\(id)")
            }
            try await server.authenticated(as: try reader.identity) { client in
                let documents = Documents.Client(wrapping: client)
                var (listed, token) = ([String](), "")
                repeat {
                    let page = try await documents.get(
                        .with {
                            ($0.kind, $0.limit, $0.pageToken) = ("RegistrationEntry", 2, token)
                        }
                    )
                    listed += page.documents.map(\.key.name)
                    token = page.nextPageToken
                    #expect(token.isEmpty || token.hasSuffix(listed.last ?? "-"))
                } while !token.isEmpty
                #expect(listed == ["e-0", "e-4", "e-6"])
                let other = await refusal { try await documents.get(.with { $0.kind = "Role" }) }
                #expect(other?.kind == .permissionDenied)
                let hidden = try await documents.get(
                    .with { ($0.kind, $0.name) = ("RegistrationEntry", "e-1") }
                )
                #expect(hidden.documents.isEmpty)
                // What may not be read is not looked at either.
                let apply = await refusal {
                    try await documents.apply(
                        .with { $0.files = [.with { ($0.name, $0.content) = ("x", "}{") }] }
                    )
                }
                #expect(apply?.kind == .permissionDenied)
                let delete = await refusal {
                    try await documents.delete(.with { $0.keys = [key("Role", "unknown")] })
                }
                #expect(delete?.kind == .permissionDenied)
                let health = try await Administration.Client(wrapping: client).getHealth(.init())
                #expect(health.ready && !health.conditions.isEmpty)
            }
            let nobody = try await server.agent("web-1")
            try await server.authenticated(as: try nobody.identity) { client in
                let health = try await Administration.Client(wrapping: client).getHealth(.init())
                #expect(health.ready && health.conditions.isEmpty && health.serverID.isEmpty)
            }
            let empty = await refusal { try await server.documents.delete(.init()) }
            #expect(empty?.reason == "orderEmpty")
        }
    }

    @Test func `a node that was removed while it became known is not waited for`() async throws {
        try await withServer { server in
            let (hub, here) = (server.core.hub, AgentName("here"))
            _ = try await server.agent("here")
            let number = try await server.administration.getHealth(.init()).revision.number
            // As after an eviction between the commit and the hub's being told.
            hub.remembered(AgentName("ghost"), selectors: [], mayBeLive: true)
            #expect(hub.appliedState(of: number, amongAll: true).waiting.count == 2)
            for name in ["ghost", "here"] { await server.core.forgetIfGone(name) }
            #expect(hub.appliedState(of: number, amongAll: true).waiting == [here])
        }
    }

    @Test func `selectors that no record could hold are refused with a sentence`() async throws {
        try await withServer { server in
            let long = (0..<3).map { "role:\($0)" + String(repeating: "\"", count: 3000) }
            let refused = await refusal {
                try await server.administration.createToken(
                    .with { ($0.agentName, $0.nodeSelectors) = ("web", long) }
                )
            }
            #expect(refused?.kind == .invalidArgument)
            #expect(refused?.reason == "selectorsTooLarge")
            // Just below it, everything fits, escaped and beside the node's own.
            let token = try await server.administration.createToken(
                .with { ($0.agentName, $0.nodeSelectors) = ("web", Array(long.prefix(1))) }
            )
            #expect(!token.token.isEmpty)
        }
    }

    @Test func `a second token does not take a node over, and none outlives a ban`() async throws {
        try await withServer { server in
            let (first, second) = (try await server.token("a"), try await server.token("a"))
            _ = try await server.attest("a", secret: first.secret)
            let again = await refusal { try await server.attest("a", secret: second.secret) }
            #expect(again?.reason == "nodeExists")
            _ = try await server.administration.banNode(.with { $0.name = "a" })
            _ = try await server.administration.evictNode(.with { $0.name = "a" })
            let late = await refusal { try await server.attest("a", secret: second.secret) }
            #expect(late?.reason == "joinTokenRefused")
        }
    }

    @Test func `who may admit agents below a prefix does not choose their selectors`() async throws
    {
        try await withServer { server in
            let workload = try await server.workload("operator")
            try await server.apply(
                """
                apiVersion: core.signet/v1alpha1
                kind: Role
                metadata: {name: operator, namespace: signet-system}
                spec:
                  rules:
                    - verbs: [token.create]
                      spiffeIDPrefixes: [spiffe://example.org/signet/agent/mine]
                ---
                apiVersion: core.signet/v1alpha1
                kind: RoleBinding
                metadata: {name: operators, namespace: signet-system}
                spec:
                  role: operator
                  subjects: [spiffe://example.org/operator]

                """
            )
            try await server.authenticated(as: try workload.identity) { client in
                let administration = Administration.Client(wrapping: client)
                _ = try await administration.createToken(.with { $0.agentName = "mine" })
                let chosen = await refusal {
                    try await administration.createToken(
                        .with { ($0.agentName, $0.nodeSelectors) = ("mine", ["role:db"]) }
                    )
                }
                #expect(chosen?.reason == "selectorsNotYours")
            }
        }
    }

    @Test func `refused signing does not fill the log`() async throws {
        try await withServer { server in
            let agent = try await server.agent("web-1")
            let request = try signingRequest(entry: "none", spiffeID: "spiffe://example.org/x")
            let batch = Array(repeating: request, count: 20)
            for _ in 0..<10 {
                let results = try await server.sign(batch, as: agent)
                #expect(results.allSatisfy { $0.refusal.code == "entryUnknown" })
            }
            let recorded = try await server.records("requestRefused") { $0.limit = 1000 }
            #expect((20..<40).contains(recorded.count), "\(recorded.count)")
            let empty = await refusal { try await server.sign([], as: agent) }
            #expect(empty?.reason == "batchEmpty")
        }
    }

    @Test func `an agent with a superseded key is refused and recorded`() async throws {
        try await withServer { server in
            let old = try await server.agent("web-1")
            _ = try await server.renew(old, key: P256.Signing.PrivateKey())
            let request = try signingRequest(entry: "none", spiffeID: "spiffe://example.org/x")
            let sign = await refusal { try await server.sign([request], as: old) }
            #expect(sign?.reason == "keySuperseded")
            let sync = await refusal { try await server.withSync(as: old) { _ in } }
            #expect(sync != nil)
            #expect(try await server.records("requestRefused").count == 2)
        }
    }

    @Test func `a follower that is ahead of the log is told nothing and breaks nothing`()
        async throws
    {
        try await withServer { server in
            var options = CallOptions.defaults
            options.timeout = .milliseconds(300)
            let request = Signet_Admin_V1alpha1_AuditTailRequest.with { $0.afterIndex = .max }
            let told = try? await server.audit.tail(request, options: options) { response in
                try await response.messages.reduce(into: 0) { count, _ in count += 1 }
            }
            #expect(told == nil)
            let unmet = try await server.unmetConditions()
            #expect(unmet.isEmpty)
        }
    }
}
