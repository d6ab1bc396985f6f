// SPDX-License-Identifier: Apache-2.0

import Authorization
import CAServer
import Clocks
import ControlAPI
import ControlAPIProtos
import Datastore
import FoundationEssentials
import NodeSync
import Routing
import SPIFFE
import SwiftProtobuf
import Testing

/// Of which documents a proxy's state is made, and what changes it.
@Suite(.timeLimit(.minutes(1)))
struct ProxyCompositionTests {
    static let entry = entryDocument("web", spiffeID: "spiffe://example.org/web")

    private func policies(
        _ server: TestServer,
        _ reference: String = "default/web"
    ) async throws
        -> [String]
    {
        let state = try #require(try await server.state(reference))
        let all = try state.policies.map { try AccessPolicy(decoding: $0) }
        #expect(state.inboundPolicies == [Array(all.indices)])
        return all.map { "\($0.namespace)/\($0.name)" }
    }

    @Test func `policies hold by namespace and target, those of the root everywhere`()
        async throws
    {
        try await withServer { server in
            let labelled = Self.entry.replacing(
                "  name: web\n",
                with: "  name: web\n  labels: {app: web}\n"
            )
            try await server.apply(
                namespaceDocument("other") + labelled + proxyDocument()
                    + serviceDocument("front").replacing("org/api", with: "org/web")
                    + serviceDocument("back")
                    + policyDocument("all")
                    + policyDocument("foreign", namespace: "other")
                    + policyDocument("root", namespace: "signet-system")
                    + policyDocument("quiet", more: "  mode: \"off\"")
                    + policyDocument("label", target: "{matchLabels: {app: web}}")
                    + policyDocument("nolabel", target: "{matchLabels: {app: db}}")
                    + policyDocument("id", target: "{spiffeIDs: [spiffe://example.org/*]}")
                    + policyDocument("noid", target: "{spiffeIDs: [spiffe://example.org/db]}")
                    + policyDocument("service", target: "{services: [front]}")
                    + policyDocument("noservice", target: "{services: [back]}")
            )
            #expect(
                try await policies(server) == [
                    "default/all", "default/id", "default/label", "default/service",
                    "signet-system/root",
                ]
            )
            // Another label, and another Service: the state follows.
            try await server.apply(
                labelled.replacing("{app: web}", with: "{app: db}")
                    + serviceDocument("back").replacing("org/api", with: "org/web")
            )
            #expect(
                try await policies(server) == [
                    "default/all", "default/id", "default/nolabel", "default/noservice",
                    "default/service", "signet-system/root",
                ]
            )
        }
    }

    @Test func `where entries of one identity differ, that counts against access`() async throws {
        try await withServer { server in
            func entry(_ name: String, _ label: String) -> String {
                entryDocument(name, spiffeID: "spiffe://example.org/web").replacing(
                    "  name: \(name)\n",
                    with: "  name: \(name)\n  labels: {app: \(label)}\n"
                )
            }
            let target = "{matchLabels: {app: web}}"
            try await server.apply(
                entry("web", "web") + proxyDocument()
                    + policyDocument("allow", target: target)
                    + policyDocument("deny", action: "DENY", target: target)
            )
            #expect(try await policies(server) == ["default/allow", "default/deny"])
            try await server.apply(entry("web2", "db"))
            #expect(try await policies(server) == ["default/deny"])
        }
    }

    @Test func `only what makes a difference is a change, under the number of its act`()
        async throws
    {
        try await withServer { server in
            try await server.apply(
                namespaceDocument("other") + Self.entry + proxyDocument(service: "api")
                    + serviceDocument()
            )
            #expect(try await server.changes().count == 1)
            func changed(by text: String) async throws -> Bool {
                let before = try await server.changes().count
                let response = try await server.apply(text)
                let after = try await server.changes()
                if after.count > before { #expect(after.last == response.revision.number) }
                return after.count == before + 1
            }
            #expect(try await changed(by: policyDocument()))
            #expect(try await !changed(by: policyDocument("x", namespace: "other")))
            #expect(try await changed(by: policyDocument("x", namespace: "signet-system")))
            #expect(try await !changed(by: policyDocument("quiet", more: "  mode: \"off\"")))
            #expect(try await !changed(by: serviceDocument("unnamed")))
            #expect(try await changed(by: serviceDocument(endpoint: "127.0.0.1:9444")))
            #expect(
                try await !changed(by: entryDocument("db", spiffeID: "spiffe://example.org/db"))
            )
            // The entry changed in what the state does not hold.
            #expect(try await !changed(by: Self.entry + "  hint: web\n"))
            #expect(
                try await changed(by: Self.entry.replacing("uid:1000", with: "uid:1001"))
            )
            // A reason is a new version of the document and no other state.
            let reason = proxyDocument(service: "api").replacing(
                "namespace: default}",
                with: "namespace: default, reason: why}"
            )
            #expect(try await !changed(by: reason))
            let written = try await server.documents.get(.with { $0.kind = "Proxy" }).documents[0]
            let record = try await server.core.read { try $0.proxy("default/web") }
            #expect(record?.revision == written.resourceVersion)
            #expect(
                try await changed(by: proxyDocument(service: "api").replacing("8443", with: "8444"))
            )
        }
    }

    @Test func `a rehearsal changes nothing`() async throws {
        try await withServer { server in
            try await server.apply(Self.entry)
            try await server.apply(proxyDocument(), isDryRun: true)
            #expect(try await server.state() == nil)
        }
    }

    @Test func `what an expired entry gives ends with it`() async throws {
        let clock = ShiftedClock()
        try await withServer(clock: clock) { server in
            let end = server.core.clock.wallTime + 600
            let text = end.formatted(.iso8601)
            try await server.apply(
                Self.entry.replacing("  name: web\n", with: "  name: web\n  expires: \"\(text)\"\n")
                    + proxyDocument()
            )
            #expect(try await server.state()?.proxy.inbound.count == 1)
            try await server.core.refreshExpiredProxies(now: end - 2)
            #expect(try await server.state()?.proxy.inbound.count == 1)
            try await server.core.refreshExpiredProxies(now: end + 1)
            #expect(try await server.state()?.proxy.inbound.isEmpty == true)
            #expect(try await server.changes().count == 2)
        }
    }

    @Test func `an agent gets the state with its Delta, and its removal`() async throws {
        try await withServer { server in
            let agent = try await server.agent("web-1", selectors: ["role:web"])
            try await server.withSync(as: agent, capabilities: [SyncCapability.proxy]) { sync in
                let (revision, _) = try await sync.snapshot()
                sync.acknowledge(revision)
                try await server.apply(Self.entry + proxyDocument() + policyDocument())
                let delta = try await sync.delta()
                let key = ResourceKey(.proxy, "default/web")
                guard case .upsert(_, let payload)? = delta.changes.first(where: { $0.key == key }),
                    case .proxy(let state) = try ResourcePayload(key, payload)
                else {
                    Issue.record("\(delta)")
                    return
                }
                #expect(state.policies.count == 1)
                sync.acknowledge(delta.toRevision)
                try await server.delete("Proxy", "web")
                #expect(try await sync.delta().changes == [.remove(key)])
            }
        }
    }
}
