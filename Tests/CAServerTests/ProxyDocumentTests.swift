// SPDX-License-Identifier: Apache-2.0

import CAServer
import ControlAPI
import ControlAPIProtos
import Datastore
import FoundationEssentials
import NodeSync
import Routing
import SPIFFE
import SwiftProtobuf
import Testing

/// What may be applied, and what not be taken away from a Proxy.
@Suite(.timeLimit(.minutes(1)))
struct ProxyDocumentTests {
    static let entry = entryDocument("web", spiffeID: "spiffe://example.org/web")

    @Test func `one file holds a Proxy and all that it needs, in any order`() async throws {
        try await withServer { server in
            let response = try await server.apply(
                proxyDocument(service: "api") + serviceDocument() + policyDocument() + Self.entry
                    + entryDocument("client", spiffeID: "spiffe://example.org/client")
            )
            #expect(response.changes.map(\.action) == Array(repeating: "created", count: 5))
            #expect(response.warnings.isEmpty)
            let state = try #require(try await server.state())
            #expect(state.proxy.reference == "default/web")
            #expect(state.services.map(\.name) == ["api"])
            #expect(state.inboundPolicies == [[0]])
            #expect(state.policies.count == 1)
            // The users of the application are those that its entry names.
            #expect(state.proxy.inbound.map(\.forwardUIDs) == [[1000]])
            for kind in ["Proxy", "Service", "AccessPolicy"] {
                let found = try await server.documents.get(.with { $0.kind = kind })
                #expect(found.documents.count == 1)
                let again = try await server.apply(found.documents[0].yaml)
                #expect(again.changes.map(\.action) == ["unchanged"])
            }
        }
    }

    @Test(arguments: [
        (proxyDocument(), "identityUnregistered"),
        (proxyDocument(service: "none") + entry, "serviceUnknown"),
        (proxyDocument(service: "api") + serviceDocument(port: "other") + entry, "portUnknown"),
        (
            proxyDocument()
                + entryDocument(
                    "web",
                    spiffeID: "spiffe://example.org/{unix.user}",
                    more: "  variables:\n    unix.user: {prefix: w}"
                ), "identityUnregistered"
        ),
    ])
    func `a Proxy that lacks something is refused where it stands`(
        _ text: String,
        _ reason: String
    ) async throws {
        try await withServer { server in
            let refused = await refusal { try await server.apply(text) }
            #expect(refused?.reason == reason)
            #expect(refused?.message.hasPrefix("test.yaml:2: Proxy default/web: ") == true)
            let state = try await server.state()
            #expect(state == nil)
        }
    }

    @Test func `there are no more Proxies than a change for all may compose anew`() async throws {
        try await withServer { server in
            try await server.apply(proxyDocument() + Self.entry)
            let stored = try await server.core.read { try $0.proxy("default/web") }
            let proxy = try #require(stored)
            try await server.core.datastore.write { transaction in
                let number = try transaction.advanceRevision().number
                for index in 1..<ProxyRecord.countMax {
                    let other = ProxyRecord(
                        id: "other-\(index)",
                        namespace: "other-\(index % 8)",
                        name: "p\(index)",
                        revision: number,
                        nodeSelectors: proxy.nodeSelectors,
                        identities: proxy.identities,
                        state: proxy.state
                    )
                    try transaction.put(other, number: number)
                }
            }
            let another = proxyDocument("another")
            let refused = await refusal { try await server.apply(another) }
            #expect(refused?.reason == "tooManyProxies")
            try await server.apply(proxyDocument(uids: "[7]"))
            #expect(try await server.state()?.proxy.inbound.map(\.forwardUIDs) == [[7]])
        }
    }

    @Test func `one namespace takes neither all Proxies nor the room of policies for all`()
        async throws
    {
        try await withServer { server in
            let guardrail = policyDocument("all", namespace: "signet-system", action: "DENY")
            try await server.apply(proxyDocument() + Self.entry)
            let stored = try await server.core.read { try $0.proxy("default/web") }
            let proxy = try #require(stored)
            try await server.core.datastore.write { transaction in
                let number = try transaction.advanceRevision().number
                for index in 1..<ProxyRecord.namespaceCountMax {
                    let other = ProxyRecord(
                        id: "other-\(index)",
                        namespace: "default",
                        name: "p\(index)",
                        revision: number,
                        nodeSelectors: proxy.nodeSelectors,
                        identities: proxy.identities,
                        // Together as much as a namespace may have, but for this one's own.
                        state: index > 1
                            ? proxy.state
                            : Array(repeating: 0, count: ProxyRecord.namespaceStateBytesMax)
                    )
                    try transaction.put(other, number: number)
                }
            }
            let another = await refusal { try await server.apply(proxyDocument("another")) }
            #expect(another?.reason == "proxiesTooLarge" || another?.reason == "tooManyProxies")
            let policy = await refusal { try await server.apply(policyDocument()) }
            #expect(policy?.reason == "proxiesTooLarge")
            try await server.apply(guardrail)
            #expect(try await server.state()?.policies.count == 1)
        }
    }

    @Test func `entries with variables that its Proxies cannot have read are refused as such`()
        async throws
    {
        try await withServer { server in
            try await server.apply(proxyDocument() + Self.entry)
            try await server.core.write { transaction in
                let number = try transaction.advanceRevision().number
                for place in 0..<10_000 {
                    let entry = RegistrationEntry(
                        id: "uid-\(place)",
                        namespace: "default",
                        name: "t-\(place)",
                        revision: number,
                        createdAt: .now,
                        spiffeID: "spiffe://example.org/t\(place)/{unix.user}",
                        nodeSelectors: [try Selector("role:none")],
                        workloadSelectors: [try Selector("unix:uid:1")]
                    )
                    try transaction.put(entry)
                }
            }
            func template(_ namespace: String) -> String {
                entryDocument(
                    "one",
                    namespace: namespace,
                    spiffeID: "spiffe://example.org/more/{unix.user}",
                    more: "  variables:\n    unix.user: {prefix: w}"
                )
            }
            let refused = await refusal { try await server.apply(template("default")) }
            #expect(refused?.reason == "tooManyEntries")
            // What needs the namespace's entries is not held up.
            try await server.apply(policyDocument("all", namespace: "signet-system"))
        }
    }

    @Test func `users of the application must be known`() async throws {
        try await withServer { server in
            let nobody = Self.entry.replacing("unix:uid:1000", with: "unix:path:/usr/bin/app")
            let refused = await refusal { try await server.apply(proxyDocument() + nobody) }
            #expect(refused?.reason == "forwardUsersUnknown")
            try await server.apply(proxyDocument(uids: "[1, 2]") + nobody)
            let state = try #require(try await server.state())
            #expect(state.proxy.inbound.map(\.forwardUIDs) == [[1, 2]])
        }
    }

    @Test func `a Service that a Proxy names stays, and so does its port`() async throws {
        try await withServer { server in
            try await server.apply(
                proxyDocument(service: "api") + serviceDocument() + Self.entry
            )
            let deleted = await refusal { try await server.delete("Service", "api") }
            #expect(deleted?.reason == "inUse")
            #expect(deleted?.message.contains("Proxy default/web") == true)
            let changed = await refusal { try await server.apply(serviceDocument(port: "other")) }
            #expect(changed?.reason == "inUse")
            #expect(try await server.changes().count == 1)
            // Together with the Proxy it goes.
            _ = try await server.documents.delete(
                .with {
                    $0.keys = ["Service", "Proxy"].map { kind in
                        .with {
                            ($0.kind, $0.namespace) = (kind, "default")
                            $0.name = kind == "Proxy" ? "web" : "api"
                        }
                    }
                }
            )
            #expect(try await server.state() == nil)
        }
    }

    @Test func `an entry can always be deleted, with a warning`() async throws {
        try await withServer { server in
            try await server.apply(proxyDocument() + Self.entry)
            let response = try await server.delete("RegistrationEntry", "web")
            #expect(response.warnings.contains { $0.contains("spiffe://example.org/web") })
            // Nobody is known any more who may listen behind it.
            #expect(try await server.state()?.proxy.inbound.isEmpty == true)
            let back = try await server.apply(Self.entry)
            #expect(back.warnings.isEmpty)
            #expect(try await server.state()?.proxy.inbound.count == 1)
        }
    }

    @Test func `a rule that can never match what a policy holds for is refused`() async throws {
        try await withServer { server in
            try await server.apply(proxyDocument(traffic: "tcp") + Self.entry)
            let refused = await refusal {
                try await server.apply(policyDocument(operation: "paths: [/a]"))
            }
            #expect(refused?.reason == "ruleNeverApplies")
            let elsewhere = try await server.apply(
                policyDocument(
                    target: "{spiffeIDs: [spiffe://example.org/other]}",
                    operation: "paths: [/a]"
                )
            )
            #expect(elsewhere.warnings.contains { $0.contains("no Proxy listens") })
        }
    }

    @Test func `a mode that does not exist is refused in words`() async throws {
        try await withServer { server in
            let mode = proxyDocument().replacing("sidecar", with: "gateway")
            #expect(await refusal { try await server.apply(mode) }?.reason == "documentRefused")
        }
    }

    @Test func `too many bytes of policies refuse the policy, not the Proxy`() async throws {
        try await withServer { server in
            try await server.apply(proxyDocument() + Self.entry)
            let paths = (0..<100).map { "/" + String(repeating: "a", count: 900) + "/\($0)" }
            let rule = "paths: [\(paths.joined(separator: ", "))]"
            var refused: APIError?
            var applied = 0
            for number in 0..<8 where refused == nil {
                refused = await refusal {
                    try await server.apply(policyDocument("p\(number)", operation: rule))
                }
                if refused == nil { applied += 1 }
            }
            #expect(refused?.reason == "policiesTooLarge")
            #expect(refused?.message.contains("namespace default") == true)
            #expect((3...4).contains(applied))
            #expect(try await server.state()?.policies.count == applied)
        }
    }

    @Test func `more to compare than a decision may cost refuses the policy, with names`()
        async throws
    {
        try await withServer { server in
            try await server.apply(proxyDocument() + Self.entry)
            let templates = (0..<256).map { "\"/{*}/a\($0)\"" }.joined(separator: ", ")
            func document(_ number: Int) -> String {
                policyDocument("p\(number)", operation: "notPaths: [\(templates)]")
            }
            for number in 0..<3 { try await server.apply(document(number)) }
            let refused = await refusal { try await server.apply(document(3)) }
            #expect(refused?.reason == "policiesTooCostly")
            #expect(refused?.message.contains("Proxy default/web: inbound ") == true)
            #expect(refused?.message.contains("AccessPolicy default/p") == true)
            #expect(try await server.state()?.policies.count == 3)
            // The platform has its own room.
            let root = document(4).replacing("namespace: default", with: "namespace: signet-system")
            try await server.apply(root)
            // What is not looked at costs nothing, and what makes room is let through.
            let off = document(3).replacing("  action: ALLOW", with: "  mode: off\n  action: ALLOW")
            try await server.apply(off)
            try await server.apply(policyDocument("p0") + document(3))
            #expect(try await server.state()?.policies.count == 5)
        }
    }

    @Test func `policies that did not change are not judged by a part of the Proxies`() async throws
    {
        try await withServer { server in
            let other = proxyDocument("api", identity: "spiffe://example.org/api")
                .replacing("workloadPort: 8080", with: "workloadPort: 8081")
            func file(_ other: String) -> String {
                proxyDocument() + other + policyDocument() + Self.entry
                    + entryDocument("api", spiffeID: "spiffe://example.org/api")
                    + entryDocument("client", spiffeID: "spiffe://example.org/client")
            }
            try await server.apply(file(other))
            // Only the Proxy changes that has no port which the policy names.
            let response = try await server.apply(
                file(other.replacing("127.0.0.1:8443", with: "127.0.0.1:9443"))
            )
            #expect(response.changes.count { $0.action == "updated" } == 1)
            #expect(response.warnings.isEmpty, "\(response.warnings)")
        }
    }

    @Test func `a namespace has room for so many bytes of states`() async throws {
        try await withServer { server in
            try await server.core.write { transaction in
                try transaction.put(
                    ProxyRecord(
                        id: "uid-big",
                        namespace: "default",
                        name: "zz-big",
                        revision: 1,
                        nodeSelectors: [try Selector("role:none")],
                        identities: [],
                        state: [UInt8](repeating: 0, count: ProxyRecord.namespaceStateBytesMax)
                    ),
                    number: try transaction.advanceRevision().number
                )
            }
            let refused = await refusal { try await server.apply(proxyDocument() + Self.entry) }
            #expect(refused?.reason == "proxiesTooLarge")
            #expect(refused?.message.contains("namespace default") == true)
            // What was there before stands in nobody's way.
            let elsewhere = proxyDocument(namespace: "shop") + serviceDocument(namespace: "default")
            let entry = entryDocument(
                "web",
                namespace: "shop",
                spiffeID: "spiffe://example.org/web"
            )
            try await server.apply(namespaceDocument("shop") + elsewhere + entry)
        }
    }

    @Test func `templates that could not all be read refuse a Proxy, whatever they give`()
        async throws
    {
        try await withServer { server in
            try await server.core.write { transaction in
                let number = try transaction.advanceRevision().number
                for place in 0...10_000 {
                    let entry = RegistrationEntry(
                        id: "uid-\(place)",
                        namespace: "default",
                        name: "t-\(place)",
                        revision: number,
                        createdAt: .now,
                        spiffeID: "spiffe://example.org/t\(place)/{unix.user}",
                        nodeSelectors: [try Selector("role:none")],
                        workloadSelectors: [try Selector("unix:uid:1")]
                    )
                    try transaction.put(entry)
                }
            }
            let refused = await refusal { try await server.apply(proxyDocument() + Self.entry) }
            #expect(refused?.reason == "tooManyEntries")
        }
    }

    @Test func `an agent of its scope that does not know proxies is named`() async throws {
        try await withServer { server in
            let old = try await server.agent("web-1", selectors: ["role:web"])
            try await server.withSync(as: old) { sync in
                _ = try await sync.snapshot()
                let text = proxyDocument() + Self.entry
                let refused = await refusal { try await server.apply(text) }
                #expect(refused?.reason == "capabilityMissing")
                #expect(refused?.message.contains("web-1") == true)
                // Elsewhere it is no matter.
                try await server.apply(proxyDocument(node: "role:db") + Self.entry)
            }
        }
    }

    @Test func `an attached proxy that does not know policies is named`() async throws {
        try await withServer { server in
            try await server.apply(proxyDocument() + Self.entry)
            let agent = try await server.agent("web-1", selectors: ["role:web"])
            try await server.withSync(as: agent, capabilities: [SyncCapability.proxy]) { sync in
                func attach(_ capabilities: [String]) async throws {
                    sync.send(
                        .with {
                            $0.proxyReport.proxies = [
                                .with {
                                    $0.proxy = "default/web"
                                    $0.instance = Data(repeating: 1, count: 5)
                                    $0.capabilities = capabilities
                                    $0.pid = Int32(capabilities.count + 1)
                                    $0.attached = true
                                }
                            ]
                        }
                    )
                    try await eventually("it is attached") {
                        server.core.hub.proxies { $0.pid == capabilities.count + 1 }.count == 1
                    }
                }
                try await attach([])
                let refused = await refusal { try await server.apply(policyDocument()) }
                #expect(refused?.reason == "capabilityMissing")
                #expect(refused?.message.contains("web-1/default/web") == true)
                try await attach(["access-policy/1"])
                try await server.apply(policyDocument())
                // What it cannot read waits for it, and is left out of nothing.
                let hosts = policyDocument("hosts", operation: "hosts: [api.example.org]")
                let newer = await refusal { try await server.apply(hosts) }
                #expect(newer?.reason == "capabilityMissing")
                try await attach(["access-policy/1", "access-policy/2"])
                try await server.apply(hosts)
                // Who says later that it understands nothing keeps nobody from the rest.
                try await attach([])
                let deny = policyDocument("deny", action: "DENY")
                let denied = try await server.apply(deny)
                #expect(denied.warnings.contains { $0.contains("web-1/default/web") })
                let other = try await server.apply(
                    entryDocument("second", spiffeID: "spiffe://example.org/web")
                )
                #expect(other.changes.map(\.action) == ["created"])
                // Nor whoever applies a whole directory, the Proxy itself in it.
                let all = proxyDocument() + policyDocument("more", action: "DENY")
                #expect(
                    try await server.apply(all).changes.map(\.action) == ["unchanged", "created"]
                )
                let narrowed = try await server.apply(proxyDocument(uids: "[7]"))
                #expect(narrowed.changes.map(\.action) == ["updated"])
            }
        }
    }

    @Test func `who may not register an identity writes no Proxy of it, nor takes it over`()
        async throws
    {
        try await withServer { server in
            let text = """
                ---
                apiVersion: core.signet/v1alpha1
                kind: Role
                metadata: {name: narrow, namespace: signet-system}
                spec:
                  rules:
                  - verbs: [apply, delete]
                    kinds: [Proxy]
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
            let mine = "spiffe://example.org/mine/app"
            try await server.apply(
                text + Self.entry + proxyDocument() + entryDocument("mine", spiffeID: mine)
            )
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
                #expect(await apply(proxyDocument("mine", identity: mine)) == nil)
                let foreign = await apply(proxyDocument("new"))
                #expect(foreign?.reason == "adminDenied")
                // The stored one speaks for an identity that is not his.
                let taken = await apply(proxyDocument("web", identity: mine))
                #expect(taken?.reason == "adminDenied")
                // Whose it is, is not for him to see.
                let message = taken?.message ?? ""
                #expect(!message.contains("spiffe://example.org/web"), "\(message)")
            }
        }
    }
}
