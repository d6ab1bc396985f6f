// SPDX-License-Identifier: Apache-2.0

import BundleClient
import CAServer
import Clocks
import ControlAPI
import ControlAPIProtos
import Datastore
import FoundationEssentials
import GRPCPeer
import HTTPSemantics
import Issuance
import SPIFFE
import SwiftProtobuf
import Telemetry
import TestPKI
import Testing

/// The server's own bundle endpoint (docs/decisions/0021-federation.md, "Being fetched").
@Suite(.timeLimit(.minutes(2)))
struct FederationEndpointTests {
    private static let id = "spiffe://example.org/signet/bundle"

    private func withEndpoint(
        clock: any NodeClock = SystemClock(),
        _ body: (TestServer) async throws -> Void
    ) async throws {
        try await withServer(clock: clock) {
            $0.federationListen = ServerAddress(host: "127.0.0.1", port: 0)
        } _: { server in
            try await eventually("the endpoint is open") { server.core.federationPort != nil }
            try await body(server)
        }
    }

    @Test func `F-7 a partner who knows bundle and ID fetches the bundle, and nothing else`()
        async throws
    {
        try await withEndpoint { server in
            let bundle = try server.core.trust.bundle
            let document = try await server.fetchOwnBundle(knowing: bundle)
            #expect(document.x509Authorities == bundle.x509Authorities)
            #expect(document.jwtAuthorities.count == 1)
            #expect(document.sequenceNumber == bundle.sequenceNumber)
            for path in ["/keys", "/", "/bundle/", "/.well-known/openid-configuration"] {
                let error = await server.fetchFailure(knowing: bundle, path: path)
                #expect(error?.reason == .statusUnexpected, "\(path)")
            }
            try await eventually("what partners do is counted") {
                let metrics = server.core.metrics.exposition()
                return metrics.contains("signet_server_federation_responses_total{status=\"200\"}")
                    && metrics.contains(
                        "signet_server_federation_connections_closed_total{reason=\"answered\"}"
                    )
            }
            // The public documents' metrics tell of other people.
            #expect(!server.core.metrics.exposition().contains("signet_server_public_responses"))
            let issued = try await server.records("svidsIssued").filter { $0.contains(Self.id) }
            #expect(issued.count == 1)
            #expect(issued.first?.contains("\"profile\":\"bundleEndpoint\"") == true)
            #expect(issued.first?.contains("\"actor\":\"system:server\"") == true)
            try await eventually("health has nothing to say of the endpoint") {
                try await !server.unmetConditions().contains("federationEndpoint")
            }
            // The first authority could not be held.
            #expect(try await server.unmetConditions().contains("publicKeys"))
        }
    }

    @Test func `F-8 it is known by exactly its ID, and by the trust domain's authorities alone`()
        async throws
    {
        try await withEndpoint { server in
            let bundle = try server.core.trust.bundle
            let other = "spiffe://example.org/signet/server/\(server.core.logic.serverID)"
            let differs = await server.fetchFailure(knowing: bundle, id: other)
            #expect(differs?.reason == .endpointIDDiffers)
            let stranger = try TestAuthority.root("example.org", now: server.core.clock.wallTime)
            let untrusted = await server.fetchFailure(knowing: stranger.bundle)
            #expect(untrusted?.reason == .endpointUntrusted)
        }
    }

    @Test func `F-1 it shows a certificate of the old authority until the new one was published`()
        async throws
    {
        let clock = ShiftedClock()
        try await withEndpoint(clock: clock) { server in
            // What a partner has who fetched before, and fetches next in an hour.
            let before = try server.core.trust.bundle
            let authorities = try await server.rotate()
            _ = try await server.taint(authorities.old)
            for _ in 0..<5 {
                // It is looked each ten seconds, and the authority is distrusted.
                clock.pass(.seconds(11))
                let document = try await server.fetchOwnBundle(knowing: before)
                #expect(document.x509Authorities.count == 2)
            }
            clock.pass(.seconds(3600))
            try await eventually("it shows one of the new authority") {
                clock.pass(.seconds(11))
                let error = await server.fetchFailure(knowing: before)
                return error?.reason == .endpointUntrusted
            }
            let after = try server.core.trust.bundle
            _ = try await server.fetchOwnBundle(knowing: after)
        }
    }

    @Test func `F-1 a new root is waited for; below one that partners know nothing is`()
        async throws
    {
        let (directory, clock) = (try TestDirectory(), ShiftedClock())
        // Self-signed at first.
        try await withServer(in: directory, clock: clock) { _ in }
        let fixture = try UpstreamFixture(in: directory)
        try fixture.perform()
        try await withServer(in: directory, clock: clock) {
            fixture.configure(&$0)
            $0.federationListen = ServerAddress(host: "127.0.0.1", port: 0)
        } _: { server in
            try await eventually("the endpoint is open") { server.core.federationPort != nil }
            let bundle = try server.core.trust.bundle
            // What a partner has who fetched before the start.
            let before = bundle.with(
                authorities: bundle.x509Authorities.filter {
                    $0 != fixture.root
                }
            )
            let first = try await server.rotate()
            _ = try await server.taint(first.old)
            for _ in 0..<3 {
                clock.pass(.seconds(11))
                let document = try await server.fetchOwnBundle(knowing: before)
                #expect(document.x509Authorities.contains(fixture.root))
            }
            // Who has fetched knows the root, and by it what is below.
            let root = bundle.with(authorities: [fixture.root])
            clock.pass(.seconds(3600))
            try await eventually("it shows one below the root") {
                clock.pass(.seconds(11))
                return await server.fetchFailure(knowing: root) == nil
            }
            let second = try await server.rotate()
            _ = try await server.taint(second.old)
            try await eventually("it shows one of the next authority") {
                clock.pass(.seconds(11))
                let issued = try await server.records("svidsIssued")
                return issued.filter { $0.contains(Self.id) && $0.contains(second.new) }.count == 1
            }
            _ = try await server.fetchOwnBundle(knowing: root)
        }
    }

    @Test func `the bundle that is served follows the authorities`() async throws {
        try await withEndpoint { server in
            let before = try server.core.trust.bundle
            let next = try await server.administration.prepareAuthority(.init()).authority.id
            try await eventually("the next authority is served") {
                let document = try await server.fetchOwnBundle(knowing: before)
                return document.x509Authorities.count == 2
            }
            _ = try await server.administration.revokeAuthority(
                .with { ($0.id, $0.reason, $0.now) = (next, "test", true) }
            )
            try await eventually("it is gone") {
                let document = try await server.fetchOwnBundle(knowing: before)
                return document.x509Authorities == before.x509Authorities
            }
        }
    }

    @Test func `B-2 the sequence rises with each change of the bundle and with nothing else`()
        async throws
    {
        try await withEndpoint { server in
            let first = try server.core.trust.bundle
            let start = try await server.fetchOwnBundle(knowing: first)
            // A revision of the datastore, and none of the bundle.
            _ = try await server.register("web")
            let stored = try await server.core.datastore.read { try $0.bundleSequenceNumber() }
            #expect(start.sequenceNumber == stored)
            let next = try await server.administration.prepareAuthority(.init()).authority.id
            var document = start
            try await eventually("the next authority is served") {
                document = try await server.fetchOwnBundle(knowing: first)
                return document.x509Authorities.count == 2
            }
            let prepared = document.sequenceNumber ?? 0
            #expect(prepared > stored)
            #expect(try await server.fetchOwnBundle(knowing: first) == document)
            _ = try await server.administration.revokeAuthority(
                .with { ($0.id, $0.reason, $0.now) = (next, "test", true) }
            )
            try await eventually("it is gone") {
                document = try await server.fetchOwnBundle(knowing: first)
                return document.x509Authorities == first.x509Authorities
            }
            // The same authorities as at the start, and a later bundle.
            #expect(document.sequenceNumber.map { $0 > prepared } == true)
        }
    }

    @Test func `an address that somebody has is said at the start`() async throws {
        try await withEndpoint { server in
            guard let port = server.core.federationPort else { throw CancellationError() }
            await #expect(throws: (any Error).self) {
                try await withServer {
                    $0.federationListen = ServerAddress(host: "127.0.0.1", port: port)
                } _: { _ in
                }
            }
        }
    }
}

extension TestServer {
    /// Fetches as a partner does who knows this bundle and ID.
    func fetchOwnBundle(
        knowing bundle: TrustBundle,
        id: String = "spiffe://example.org/signet/bundle",
        path: String = "/bundle"
    ) async throws -> BundleDocument {
        let request = BundleRequest(
            url: try HTTPSURL(parsing: "https://127.0.0.1:\(core.federationPort ?? 1)\(path)"),
            trust: .spiffe(
                try SPIFFEID(id),
                PeerVerifier(bundles: [bundle.trustDomain: bundle])
            ),
            networks: FetchNetworks([IPBlock("127.0.0.0/8")].compactMap(\.self)),
            now: core.clock.wallTime
        )
        let client = HTTPSClient()
        let fetched: Result<[UInt8], BundleFetchError>
        do throws(BundleFetchError) {
            fetched = .success(try await client.fetch(request))
        } catch {
            fetched = .failure(error)
        }
        await client.close()
        return try BundleDocument(parsing: try fetched.get())
    }

    /// Why such a fetch does not succeed; nil if it does.
    func fetchFailure(
        knowing bundle: TrustBundle,
        id: String = "spiffe://example.org/signet/bundle",
        path: String = "/bundle"
    ) async -> BundleFetchError? {
        do {
            _ = try await fetchOwnBundle(knowing: bundle, id: id, path: path)
            return nil
        } catch {
            return error as? BundleFetchError
        }
    }
}

extension TrustBundle {
    /// The same with other authorities, and nothing that hangs on them.
    fileprivate func with(authorities: [[UInt8]]) -> TrustBundle {
        TrustBundle(
            trustDomain: trustDomain,
            x509Authorities: authorities,
            x509Intermediates: [],
            sequenceNumber: sequenceNumber,
            refreshHintSeconds: refreshHintSeconds
        )
    }
}
