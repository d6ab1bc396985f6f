// SPDX-License-Identifier: Apache-2.0

import CAServer
import ControlAPI
import ControlAPIProtos
import FoundationEssentials
import NodeSync
import SwiftProtobuf
import Synchronization
import Testing

/// What becomes of the listeners that agents report (docs/decisions/0010-observed-endpoints.md).
@Suite(.timeLimit(.minutes(1)))
struct ObservedEndpointsTests {
    typealias Attached = Signet_Node_V1alpha1_AttachedProxy
    static let capabilities = [SyncCapability.proxy, SyncCapability.observedEndpoints]
    static let api = "spiffe://example.org/api"

    /// A Service, its servers on `role:api`, and a client on `role:client`.
    private static func documents(address: String = "192.0.2.10:8443") -> String {
        entryDocument("api", node: "role:api", spiffeID: api)
            + entryDocument(
                "client",
                node: "role:client",
                spiffeID: "spiffe://example.org/client"
            )
                + """
                ---
                apiVersion: core.signet/v1alpha1
                kind: Service
                metadata: {name: api}
                spec:
                  ports: [{name: main, number: 80, protocol: http}]
                  identities: [\(api)]
                  observed: true
                ---
                apiVersion: core.signet/v1alpha1
                kind: Proxy
                metadata: {name: api}
                spec:
                  mode: sidecar
                  nodeSelectors: ["role:any"]
                  selectors: ["unix:path:/usr/bin/signet-proxy"]
                  identities: [\(api)]
                  inbound:
                  - {name: main, address: "\(address)", identity: \(api), protocol: http, workloadPort: 80,
                     forward: {unix: /run/demo/app.sock}}

                """
            + proxyDocument(
                "client",
                node: "role:client",
                identity: "spiffe://example.org/client",
                service: "api"
            )
    }

    private func report(
        _ address: String? = "192.0.2.10:8443",
        isAttached: Bool = true,
        applied: Revision
    ) -> Signet_Node_V1alpha1_SyncRequest {
        .with {
            $0.proxyReport.proxies = [
                .with {
                    $0.proxy = "default/api"
                    $0.instance = Data(repeating: 1, count: 5)
                    $0.applied = applied.message
                    $0.attached = isAttached
                    guard let address else { return }
                    $0.listening = [
                        .with {
                            ($0.listener, $0.identity, $0.address) = ("main", Self.api, address)
                        }
                    ]
                }
            ]
        }
    }

    private func states(_ server: TestServer) async throws -> [String] {
        try await server.administration.listEndpoints(.init()).endpoints
            .map { "\($0.service) \($0.address) \($0.state)" }
    }

    /// Says that the listener is up, on the stream of an agent whose server has it as `state`.
    private func serve(
        _ server: TestServer,
        _ agent: TestAgent,
        _ address: String = "192.0.2.10:8443",
        until state: String,
        _ body: @escaping @Sendable (SyncConversation, Revision) async throws -> Void
    ) async throws {
        try await server.withSync(as: agent, capabilities: Self.capabilities) { sync in
            let (revision, _) = try await sync.snapshot()
            sync.acknowledge(revision)
            sync.send(report(address, applied: revision))
            try await eventually("it is \(state)") {
                try await states(server).contains { $0.hasSuffix(state) }
            }
            try await body(sync, revision)
        }
    }

    /// Notes what an agent is told of endpoints until its stream ends.
    private func watch(_ server: TestServer, _ agent: TestAgent, _ told: Told) async throws {
        try await server.withSync(as: agent, capabilities: Self.capabilities) { sync in
            let (revision, _) = try await sync.snapshot()
            sync.acknowledge(revision)
            while let lists = try? await sync.endpoints() {
                told.lists.withLock { $0.append(lists) }
            }
        }
    }

    @Test func `a listener that is up is told to whoever names the Service`() async throws {
        try await withServer { server in
            try await server.apply(Self.documents())
            let api = try await server.agent("api-1", selectors: ["role:api", "role:any"])
            let client = try await server.agent("client-1", selectors: ["role:client"])
            let told = Told()
            async let watching: Void = watch(server, client, told)
            try await eventually("nothing is known") { told.last == ["default/api main: "] }
            try await serve(server, api, until: "up") { sync, revision in
                let up = ["default/api main: 192.0.2.10:8443"]
                try await eventually("the client is told") { told.last == up }
                #expect(try await states(server) == ["api 192.0.2.10:8443 up"])
                // Attached, and it listens no more.
                sync.send(report(nil, applied: revision))
                try await eventually("the client is told of the end") {
                    told.last == ["default/api main: "]
                }
            }
            _ = try await server.administration.banNode(.with { $0.name = "client-1" })
            _ = try? await watching
        }
    }

    @Test func `an agent that does not know endpoints is told none`() async throws {
        try await withServer { server in
            try await server.apply(Self.documents())
            let client = try await server.agent("client-1", selectors: ["role:client"])
            let other = try await server.agent("client-2", selectors: ["role:client"])
            let api = try await server.agent("api-1", selectors: ["role:api", "role:any"])
            let told = Told()
            async let watching: Void = watch(server, other, told)
            try await server.withSync(as: client, capabilities: [SyncCapability.proxy]) { sync in
                let (revision, _) = try await sync.snapshot()
                sync.acknowledge(revision)
                try await serve(server, api, until: "up") { _, _ in
                    try await eventually("who knows endpoints is told") {
                        told.last?.first?.hasSuffix("8443") == true
                    }
                }
                try await server.apply(
                    entryDocument("new", node: "role:client", spiffeID: "spiffe://example.org/new")
                )
                while let message = try await sync.next() {
                    if case .observedEndpoints = message { Issue.record("it was told") }
                    if case .delta = message { break }
                }
            }
            _ = try await server.administration.banNode(.with { $0.name = "client-2" })
            _ = try? await watching
        }
    }

    @Test func `a node that could not get the key has no endpoint`() async throws {
        try await withServer { server in
            try await server.apply(Self.documents())
            // The Proxy may run there, and no entry gives the identity there.
            let other = try await server.agent("other-1", selectors: ["role:any"])
            try await server.withSync(as: other, capabilities: Self.capabilities) { sync in
                let (revision, _) = try await sync.snapshot()
                sync.acknowledge(revision)
                sync.send(report(applied: revision))
                try await eventually("the report is read") {
                    !server.core.hub.proxies { $0.isAttached }.isEmpty
                }
                // What is asked later comes after the report was looked at.
                let api = try await server.agent("api-1", selectors: ["role:api", "role:any"])
                try await serve(server, api, until: "up") { _, _ in }
                #expect(
                    try await server.administration.listEndpoints(.init()).endpoints.map(\.node)
                        == ["api-1"]
                )
            }
        }
    }

    @Test func `a wildcard is where the agent's connection comes from`() async throws {
        try await withServer { server in
            try await server.apply(Self.documents(address: "[::]:8443"))
            let api = try await server.agent("api-1", selectors: ["role:api", "role:any"])
            try await serve(server, api, "[::]:8443", until: "up") { _, _ in
                let found = try await states(server)
                #expect(found == ["api 127.0.0.1:8443 up"])
            }
        }
    }

    @Test func `who listens elsewhere than its document says is no endpoint, and why is shown`()
        async throws
    {
        try await withServer { server in
            try await server.apply(Self.documents())
            let api = try await server.agent("api-1", selectors: ["role:api", "role:any"])
            try await serve(server, api, "192.0.2.66:22", until: "unusable") { _, _ in
                let rows = try await server.administration.listEndpoints(.init()).endpoints
                #expect(rows.map(\.reason).first?.contains("192.0.2.10:8443") == true)
            }
        }
    }

    @Test func `what the documents do not allow any more is gone, though nothing is reported`()
        async throws
    {
        try await withServer { server in
            try await server.apply(Self.documents())
            let api = try await server.agent("api-1", selectors: ["role:api", "role:any"])
            try await serve(server, api, until: "up") { sync, _ in
                try await server.delete("RegistrationEntry", "api")
                let delta = try await sync.delta()
                sync.acknowledge(delta.toRevision)
                try await eventually("it is gone") { try await states(server).isEmpty }
            }
        }
    }

    @Test func `a banned agent's endpoints go at once, one that is away leases them`() async throws
    {
        try await withServer { server in
            try await server.apply(Self.documents())
            let api = try await server.agent("api-1", selectors: ["role:api", "role:any"])
            try await serve(server, api, until: "up") { _, _ in }
            try await eventually("its stream has ended") {
                try await states(server) == ["api 192.0.2.10:8443 leased"]
            }
            _ = try await server.administration.banNode(
                .with { ($0.name, $0.reason) = ("api-1", "stolen") }
            )
            try await eventually("it is banned") { try await states(server).isEmpty }
        }
    }

    @Test func `a Service that becomes observed waits for agents that do not know it`() async throws
    {
        try await withServer { server in
            let listed = Self.documents().replacing(
                "observed: true",
                with: "endpoints: [{address: 192.0.2.1:8443}]"
            )
            try await server.apply(listed)
            let client = try await server.agent("client-1", selectors: ["role:client"])
            try await server.withSync(as: client, capabilities: [SyncCapability.proxy]) { sync in
                let (revision, _) = try await sync.snapshot()
                sync.acknowledge(revision)
                let refused = await refusal { try await server.apply(Self.documents()) }
                #expect(refused?.reason == "capabilityMissing")
            }
            try await eventually("it has gone") { server.core.hub.connectedCount == 0 }
            try await server.apply(Self.documents())
        }
    }

    @Test func `endpoints are shown to who may see Services and Proxies`() async throws {
        try await withServer { server in
            try await server.apply(Self.documents())
            let unknown = await refusal {
                try await server.administration.listEndpoints(.with { $0.service = "none" })
            }
            #expect(unknown?.reason == "serviceUnknown")
            let workload = try await server.workload("deployer")
            try await server.authenticated(as: try workload.identity) { client in
                let refused = await refusal {
                    try await Signet_Admin_V1alpha1_Administration.Client(wrapping: client)
                        .listEndpoints(.init())
                }
                #expect(refused?.kind == .permissionDenied)
            }
        }
    }
}

/// What a stream was told, list by list.
private final class Told: Sendable {
    let lists = Mutex<[[String]]>([])
    var last: [String]? { lists.withLock { $0.last } }
}

extension SyncConversation {
    /// The next lists of endpoints; whatever comes before is left aside.
    func endpoints() async throws -> [String] {
        while let message = try await next() {
            guard case .observedEndpoints(let lists) = message else { continue }
            return lists.ports.map { port in
                "\(port.namespace)/\(port.service) \(port.port): "
                    + port.endpoints.joined(separator: " ")
            }
        }
        throw UnexpectedMessage()
    }
}
