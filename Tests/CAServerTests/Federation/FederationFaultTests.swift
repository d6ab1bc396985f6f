// SPDX-License-Identifier: Apache-2.0

import BundleClient
import CAServer
import Clocks
import ControlAPI
import ControlAPIProtos
import Datastore
import FoundationEssentials
import GRPCCore
import GRPCPeer
import HTTPSemantics
import Logging
import NodeSync
import SPIFFE
import SwiftProtobuf
import Telemetry
import TestPKI
import Testing

/// What comes between a fetch and what is written of it (docs/decisions/0021-federation.md).
@Suite(.timeLimit(.minutes(2)))
struct FederationFaultTests {
    private static let partner = "partner.example"

    /// Serves a partner's bundle of sequence 7, which has been fetched when `body` begins.
    private func withPartner(
        clock: ShiftedClock = ShiftedClock(),
        staleAfter: String = "24h",
        _ body: (TestServer, PartnerEndpoint) async throws -> Void
    ) async throws {
        let endpoint = try PartnerEndpoint()
        endpoint.serve(try endpoint.document([endpoint.authority], sequence: 7))
        try await endpoint.run {
            try await withFederation(clock: clock) { server in
                try await server.apply(endpoint.federation(staleAfter: staleAfter))
                try await server.lastFetch("taken")
                try await body(server, endpoint)
            }
        }
    }

    /// Has the endpoint serve other keys.
    private func rotate(_ endpoint: PartnerEndpoint, sequence: UInt64) throws -> [UInt8] {
        let next = try TestAuthority.root(Self.partner, now: Date())
        let document = try endpoint.document([endpoint.authority, next], sequence: sequence)
        endpoint.serve(document)
        return document
    }

    /// Overwrites the document with one that this release cannot read, as of a bundle that was
    /// confirmed at `confirmedAt`.
    private func plantUnreadable(_ server: TestServer, confirmedAt: Date) async throws {
        let isWritten = try await server.core.datastore.write { transaction in
            let revision = try transaction.advanceRevision()
            try transaction.put(
                DocumentDraft(
                    key: DocumentKey(
                        group: DocumentKey.nativeGroup,
                        kind: "FederatedTrustDomain",
                        namespace: "",
                        name: "partner"
                    ),
                    canonicalJSON: Array("{\"kind\":\"FederatedTrustDomain\"".utf8),
                    labels: [:],
                    actor: "test",
                    reason: ""
                ),
                newUID: "unused",
                expecting: .any,
                number: revision.number,
                now: Date()
            )
            guard var record = try transaction.federatedBundle(named: Self.partner) else {
                return false
            }
            record.confirmedAt = confirmedAt
            return try transaction.update(record, ifDocumentHasVersion: revision.number)
        }
        #expect(isWritten)
    }

    @Test func `a document that cannot be read is named, and its bundle ends all the same`()
        async throws
    {
        let clock = ShiftedClock()
        try await withPartner(clock: clock, staleAfter: "720h") { server, _ in
            try await plantUnreadable(server, confirmedAt: Date())
            clock.pass(.seconds(61))
            let health = try await server.federationHealth("cannot be read by this release")
            #expect(health.contains("partner.example: ") && health.contains("withheld from"))
            let shown = try await server.standing()
            #expect(shown.problem.contains("cannot be read by this release"))
            #expect(shown.bundleEndpointURL.isEmpty && !shown.withheld)
            let refused = await refusal { try await server.refresh() }
            #expect(refused?.reason == "documentUnreadable")
            // What it says of `staleAfter` is not known: a day counts.
            try await plantUnreadable(server, confirmedAt: Date().addingTimeInterval(-86_500))
            clock.pass(.seconds(61))
            try await eventually("it is withheld") {
                try await server.fetchedBundle()?.isWithheld == true
            }
            try await server.federationHealth("withheld, as it could not be fetched")
            let leaf = try #require(try await server.records("federatedBundleChanged").first)
            #expect(leaf.contains("\"cause\":\"withheld\""))
        }
    }

    @Test func `nothing is taken by a clock that jumped during the fetch`() async throws {
        let clock = ShiftedClock()
        try await withPartner(clock: clock) { server, endpoint in
            let before = try await server.fetchedBundle()
            _ = try rotate(endpoint, sequence: 8)
            endpoint.whenAsked { clock.stepWall(by: 7200) }
            let refused = await refusal { try await server.refresh() }
            #expect(refused?.reason == "clockJumped")
            #expect(try await server.fetchedBundle() == before)
            endpoint.whenAsked(nil)
            try await server.federationHealth("the clock is not believed")
            let held = await refusal { try await server.refresh() }
            #expect(held?.reason == "clockNotBelieved")
        }
    }

    @Test func `nothing is withheld or recorded by a clock that jumped during the fetch`()
        async throws
    {
        let clock = ShiftedClock()
        try await withPartner(clock: clock, staleAfter: "2h") { server, endpoint in
            endpoint.serve(Array("{}".utf8))
            endpoint.whenAsked { clock.stepWall(by: 3 * 3600) }
            let refused = try await server.refresh()
            #expect(refused.result == "documentMalformed" && refused.state == "believed")
            #expect(try await server.fetchedBundle()?.isWithheld == false)
            // Nor does a leaf get the time of such a clock.
            #expect(try await server.records("federatedBundleRefused").isEmpty)
        }
    }

    @Test func `new keys that come too early are taken when they may be`() async throws {
        let clock = ShiftedClock()
        try await withPartner(clock: clock) { server, endpoint in
            let before = try await server.fetchedBundle()?.document
            let next = try rotate(endpoint, sequence: 8)
            // No admin asks for the fetch that follows an edit.
            try await server.apply(endpoint.federation(staleAfter: "48h"))
            try await server.lastFetch("postponed")
            #expect(try await server.fetchedBundle()?.document == before)
            let shown = try await server.standing()
            #expect(shown.failuresInRow == 0 && shown.problem.isEmpty)
            let latest = Int64(clock.wallTime.timeIntervalSince1970) + 301
            #expect(shown.nextFetchAtUnixSeconds <= latest)
            clock.pass(.seconds(301))
            try await server.lastFetch("taken")
            #expect(try await server.fetchedBundle()?.document == next)
        }
    }

    @Test func `a fetch for a document that was changed meanwhile says nothing of the partner`()
        async throws
    {
        try await withPartner { server, endpoint in
            let held = HeldAnswers()
            endpoint.whenAsked { held.hold() }
            async let refreshed = server.refresh()
            await held.arrived()
            try await server.apply(endpoint.federation(staleAfter: "48h"))
            held.release()
            let answer = try await refreshed
            #expect(answer.result == "superseded")
            // The next one has begun, so the end of the one before was noted.
            await held.arrived()
            let shown = try await server.standing()
            #expect(shown.lastResult == "taken" && shown.failuresInRow == 0)
            held.release()
            try await server.lastFetch("confirmed")
        }
    }

    @Test func `rights that end during the fetch count`() async throws {
        try await withPartner { server, endpoint in
            let workload = try await server.workload("operator")
            try await server.apply(
                """
                ---
                apiVersion: core.signet/v1alpha1
                kind: Role
                metadata: {name: operator, namespace: signet-system}
                spec:
                  rules:
                    - {verbs: [apply], kinds: [FederatedTrustDomain]}
                ---
                apiVersion: core.signet/v1alpha1
                kind: RoleBinding
                metadata: {name: operator, namespace: signet-system}
                spec: {role: operator, subjects: ["spiffe://example.org/operator"]}

                """
            )
            let before = try await server.fetchedBundle()
            _ = try rotate(endpoint, sequence: 8)
            let held = HeldAnswers()
            endpoint.whenAsked { held.hold() }
            try await server.authenticated(as: try workload.identity) { client in
                async let refused = refusal {
                    try await Administration.Client(wrapping: client).refreshFederation(
                        .with { $0.trustDomain = Self.partner }
                    )
                }
                await held.arrived()
                try await server.delete("RoleBinding", "operator", namespace: "signet-system")
                held.release()
                let refusal = await refused
                #expect(refusal?.reason == "adminDenied")
            }
            #expect(try await server.fetchedBundle() == before)
        }
    }

    @Test func `nothing older is taken for an admin who has hung up`() async throws {
        try await withPartner { server, endpoint in
            let before = try await server.fetchedBundle()
            _ = try rotate(endpoint, sequence: 6)
            let held = HeldAnswers()
            endpoint.whenAsked { held.hold() }
            let refreshing = Task { try await server.refresh(acceptOlder: true) }
            await held.arrived()
            refreshing.cancel()
            try await eventually("the server has noticed") {
                server.core.metrics.exposition().split(separator: "\n").contains {
                    $0.hasPrefix("signet_rpcs_total{") && $0.contains("RefreshFederation")
                }
            }
            held.release()
            try await server.lastFetch("sequenceWentBack")
            #expect(try await server.fetchedBundle() == before)
            _ = await refreshing.result
        }
    }

    @Test func `another trustDomainBundle verifies the endpoint again`() async throws {
        let clock = ShiftedClock()
        try await withPartner(clock: clock) { server, first in
            let second = try PartnerEndpoint()
            let document = try second.document([second.authority], sequence: 9)
            second.serve(document)
            try await second.run {
                // What was fetched counts, and vouches for the first alone.
                try await server.apply(second.federation(known: first.authority))
                try await server.lastFetch("endpointUntrusted")
                // New keys are not taken before.
                clock.pass(.seconds(301))
                try await server.apply(second.federation())
                try await eventually("it is fetched") {
                    try await server.fetchedBundle()?.document == document
                }
            }
        }
    }

    @Test func `an endpoint of a third trust domain is asked when that one's bundle is there`()
        async throws
    {
        let broker = try PartnerEndpoint(TestAuthority.root("broker.example", now: Date()))
        let relay = try PartnerEndpoint(broker.authority)
        broker.serve(try broker.document([broker.authority], sequence: 1))
        let partner = try TestAuthority.root(Self.partner, now: Date())
        relay.serve(try relay.document([partner], sequence: 1))
        try await broker.run {
            try await relay.run {
                try await withFederation { server in
                    try await server.apply(
                        """
                        ---
                        apiVersion: core.signet/v1alpha1
                        kind: FederatedTrustDomain
                        metadata: {name: partner}
                        spec:
                          trustDomain: partner.example
                          bundleEndpointURL: \(relay.url)
                          bundleEndpointProfile:
                            type: https_spiffe
                            endpointSPIFFEID: "\(relay.id)"

                        """
                    )
                    try await server.lastFetch("endpointUntrusted")
                    #expect(relay.connections == 0)
                    // Nobody waits for the next turn, which is minutes away.
                    try await server.apply(broker.federation())
                    try await server.lastFetch("taken")
                    #expect(try await server.fetchedBundle()?.document != nil)
                }
            }
        }
    }

    /// Serves from all of them while `body` runs.
    private func run(
        _ endpoints: ArraySlice<PartnerEndpoint>,
        _ body: () async throws -> Void
    ) async throws {
        guard let first = endpoints.first else { return try await body() }
        try await first.run { try await run(endpoints.dropFirst(), body) }
    }

    @Test func `who waits for a fetch when the server ends is told so, and holds up nothing`()
        async throws
    {
        // One more than are fetched at a time, so that one waits for its fetch to begin.
        let endpoints = try (0...FederationSchedule.fetchesMax).map { number in
            let root = try TestAuthority.root("p\(number).example", now: Date())
            let endpoint = try PartnerEndpoint(root)
            endpoint.serve(try endpoint.document([root], sequence: 7))
            return endpoint
        }
        let (directory, held, clock) = (try TestDirectory(), HeldAnswers(), SystemClock())
        var configuration = try HeldServer.configuration(directory)
        configuration.federationNetworks = [IPBlock("127.0.0.0/8")].compactMap(\.self)
        var logger = Logger(label: "test")
        logger.logLevel = .critical
        let server = try Server(configuration, clock: clock, logger: logger)
        let transport = try PeerClientTransport.unixSocket(path: configuration.adminSocket)
        try await run(endpoints[...]) {
            try await withThrowingTaskGroup(of: Void.self) { group in
                let (ports, announce) = AsyncStream.makeStream(of: UInt16.self)
                group.addTask {
                    defer { announce.finish() }
                    try await server.run { announce.yield($0) }
                }
                var serving = ports.makeAsyncIterator()
                let port = await serving.next() ?? 0
                try await withGRPCClient(transport: transport) { admin in
                    let running = TestServer(
                        core: server.core,
                        address: ServerAddress(host: "127.0.0.1", port: port),
                        admin: admin
                    )
                    for endpoint in endpoints {
                        try await running.apply(endpoint.federation())
                        try await running.lastFetch("taken", of: endpoint.trustDomain.name)
                        endpoint.whenAsked { held.hold() }
                    }
                    let callers = endpoints.map { endpoint in
                        Task {
                            await refusal { try await running.refresh(endpoint.trustDomain.name) }
                        }
                    }
                    for _ in 0..<FederationSchedule.fetchesMax { await held.arrived() }
                    let ending = clock.bootTime
                    group.cancelAll()
                    for caller in callers { #expect(await caller.value != nil) }
                    do { try await group.waitForAll() } catch is CancellationError {}
                    // Nobody has waited until the time of a fetch was over.
                    #expect(clock.bootTime - ending < HTTPSClient.timeMax)
                }
                for _ in endpoints { held.release() }
            }
        }
    }
}
