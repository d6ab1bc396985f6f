// SPDX-License-Identifier: Apache-2.0

import CAServer
import Clocks
import ControlAPI
import ControlAPIProtos
import Crypto
import Datastore
import FoundationEssentials
import HTTPSemantics
import PublicEndpoint
import SPIFFE
import SwiftASN1
import SwiftProtobuf
import Synchronization
import TestPKI
import Testing
import X509

/// A partner's bundle endpoint on loopback, which serves what a test says.
final class PartnerEndpoint: Sendable {
    static let id = "spiffe://partner.example/bundle"

    let authority: TestAuthority
    private let served = Mutex<[UInt8]>([])
    private let port = Mutex<UInt16>(0)

    init() throws {
        authority = try TestAuthority.root("partner.example", now: Date())
    }

    var url: String { "https://127.0.0.1:\(port.withLock { $0 })/bundle" }

    /// A document of these authorities.
    func document(_ authorities: [TestAuthority], sequence: UInt64) throws -> [UInt8] {
        try TrustBundle(
            trustDomain: authority.trustDomain,
            x509Authorities: authorities.map(\.der),
            x509Intermediates: [],
            jwtAuthorities: [],
            sequenceNumber: sequence,
            refreshHintSeconds: 3600
        ).document()
    }

    func serve(_ document: [UInt8]) { served.withLock { $0 = document } }

    /// Serves while `body` runs, at the same port as before.
    func run(as id: String = PartnerEndpoint.id, _ body: () async throws -> Void) async throws {
        let leaf = try authority.leaf(id) { $0.notAfter = Date().addingTimeInterval(20 * 3600) }
        let pair = try CertificatePair(
            certificates: Array(try leaf.certificate.serializeAsPEM().pemString.utf8),
            key: Array(leaf.key.pemRepresentation.utf8),
            now: Date()
        )
        let url = try PublicURL(parsing: "https://partner.example")
        let service = PublicService(
            pages: { [self] in
                var pages = PublicPages(below: url)
                pages.set(.bundle(served.withLock { $0 }), as: .bundle)
                return pages
            },
            wallTime: { Date() },
            bootTime: { .zero },
            observe: { _ in }
        )
        let before = port.withLock { $0 }
        let listener = try await PublicListener.open(
            .tls(host: "127.0.0.1", port: before) { pair },
            service
        )
        port.withLock { $0 = listener.port ?? 0 }
        try await withThrowingTaskGroup { group in
            group.addTask { await listener.run() }
            defer { group.cancelAll() }
            try await body()
        }
    }

    /// The document by which it is federated with.
    func federation(staleAfter: String = "24h") throws -> String {
        let bundle = String(decoding: try document([authority], sequence: 5), as: UTF8.self)
        return """
            apiVersion: core.signet/v1alpha1
            kind: FederatedTrustDomain
            metadata: {name: partner}
            spec:
              trustDomain: partner.example
              bundleEndpointURL: \(url)
              bundleEndpointProfile: {type: https_spiffe, endpointSPIFFEID: "\(Self.id)"}
              trustDomainBundle: '\(bundle)'
              staleAfter: \(staleAfter)

            """
    }
}

/// Bundles of a partner, fetched by a server that runs (docs/decisions/0021-federation.md).
@Suite(.timeLimit(.minutes(2)))
struct FederationServiceTests {
    private static let partner = "partner.example"

    private func withFederation(
        clock: any NodeClock = SystemClock(),
        _ body: (TestServer) async throws -> Void
    ) async throws {
        try await withServer(clock: clock) {
            $0.federationNetworks = [IPBlock("127.0.0.0/8")].compactMap(\.self)
        } _: {
            try await body($0)
        }
    }

    private func row(_ server: TestServer) async throws -> FederatedBundleRecord? {
        try await server.core.read { try $0.federatedBundles().first }
    }

    private func refresh(
        _ server: TestServer,
        acceptOlder: Bool = false
    ) async throws -> Signet_Admin_V1alpha1_RefreshFederationResponse {
        try await server.administration.refreshFederation(
            .with { ($0.trustDomain, $0.acceptOlder) = (Self.partner, acceptOlder) }
        )
    }

    @Test func `a bundle is fetched after an apply, recorded and shown`() async throws {
        let endpoint = try PartnerEndpoint()
        let document = try endpoint.document([endpoint.authority], sequence: 7)
        endpoint.serve(document)
        try await endpoint.run {
            try await withFederation { server in
                try await server.apply(endpoint.federation())
                try await eventually("it is fetched") { try await row(server)?.document != nil }
                let record = try #require(try await row(server))
                #expect(record.document == document)
                #expect(record.sequenceNumber == 7)
                #expect(record.verifiedBySHA256 != nil && !record.isWithheld)
                let leaves = try await server.records("federatedBundleChanged")
                #expect(leaves.count == 1)
                #expect(leaves[0].contains("\"actor\":\"system:federation\""))
                #expect(leaves[0].contains("\"cause\":\"fetched\""))
                #expect(leaves[0].contains("\"sequence\":\"7\""))
                try await eventually("health has nothing to say") {
                    try await !server.unmetConditions().contains("federation")
                }
                let shown = try await server.administration.listFederation(.init()).bundles
                #expect(shown.map(\.trustDomain) == [Self.partner])
                #expect(shown.first?.sequence == 7)
                #expect(shown.first?.lastResult == "taken")
                #expect(shown.first?.nextFetchAtUnixSeconds != 0)
                // The same again is no change, and one fetch in ten seconds is enough.
                #expect(try await refresh(server).result == "confirmed")
                let error = await refusal { try await refresh(server) }
                #expect(error?.reason == "refreshTooSoon")
                #expect(try await server.records("federatedBundleChanged").count == 1)
                try await server.delete("FederatedTrustDomain", "partner", namespace: "")
                let last = try await server.records("federatedBundleChanged")
                #expect(last.count == 2)
                #expect(last[0].contains("\"cause\":\"removed\""))
                #expect(last[0].contains("\"actor\":\"uid:"))
            }
        }
    }

    @Test func `an endpoint of another ID is not believed, and health names it`() async throws {
        let endpoint = try PartnerEndpoint()
        endpoint.serve(try endpoint.document([endpoint.authority], sequence: 7))
        try await endpoint.run(as: "spiffe://partner.example/web") {
            try await withFederation { server in
                try await server.apply(endpoint.federation())
                let health = try await eventualHealth(server, "endpointIDDiffers")
                #expect(health.contains("no bundle was fetched yet"))
                #expect(try await row(server)?.document == nil)
                #expect(try await server.records("federatedBundleChanged").isEmpty)
            }
        }
    }

    @Test func `an address that is not listed is not connected to`() async throws {
        let endpoint = try PartnerEndpoint()
        try await endpoint.run {
            try await withServer { server in
                try await server.apply(endpoint.federation())
                _ = try await eventualHealth(server, "addressRefused")
            }
        }
    }

    @Test func `B-2 an old bundle is refused until an admin takes it`() async throws {
        let endpoint = try PartnerEndpoint()
        let other = try TestAuthority.root(Self.partner, now: Date())
        let clock = ShiftedClock()
        endpoint.serve(try endpoint.document([endpoint.authority, other], sequence: 9))
        try await endpoint.run {
            try await withFederation(clock: clock) { server in
                try await server.apply(endpoint.federation())
                try await eventually("it is fetched") { try await row(server)?.document != nil }
                let before = try await row(server)?.document
                let old = try endpoint.document([endpoint.authority], sequence: 8)
                endpoint.serve(old)
                let refused = try await refresh(server)
                #expect(refused.result == "sequenceWentBack")
                #expect(try await row(server)?.document == before)
                clock.pass(.seconds(11))
                #expect(try await refresh(server).result == "sequenceWentBack")
                // One leaf an hour.
                let refusals = try await server.records("federatedBundleRefused")
                #expect(refusals.count == 1)
                #expect(refusals[0].contains("\"reason\":\"sequenceWentBack\""))
                #expect(refusals[0].contains("\"sequence\":\"8\""))
                clock.pass(.seconds(11))
                #expect(try await refresh(server, acceptOlder: true).result == "taken")
                #expect(try await row(server)?.document == old)
                #expect(try await row(server)?.sequenceNumber == 8)
                let leaves = try await server.records("federatedBundleChanged")
                #expect(leaves[0].contains("\"cause\":\"olderAccepted\""))
                #expect(leaves[0].contains("\"actor\":\"uid:"))
            }
        }
    }

    @Test func `what cannot be fetched for too long is withheld, and returns`() async throws {
        let endpoint = try PartnerEndpoint()
        let clock = ShiftedClock()
        endpoint.serve(try endpoint.document([endpoint.authority], sequence: 7))
        try await withFederation(clock: clock) { server in
            try await endpoint.run {
                try await server.apply(endpoint.federation(staleAfter: "2h"))
                try await eventually("it is fetched") { try await row(server)?.document != nil }
            }
            // An hour later it is fetched again, in vain.
            clock.pass(.seconds(3700))
            try await eventually("a fetch has failed") {
                try await server.administration.listFederation(.init()).bundles.first?
                    .failuresInRow == 1
            }
            #expect(try await row(server)?.isWithheld == false)
            clock.pass(.seconds(3700))
            try await eventually("it is withheld") { try await row(server)?.isWithheld == true }
            #expect(try await row(server)?.document != nil)
            _ = try await eventualHealth(server, "withheld")
            try await endpoint.run {
                let response = try await refresh(server)
                #expect(response.result == "confirmed")
            }
            #expect(try await row(server)?.isWithheld == false)
            let causes = try await server.records("federatedBundleChanged")
            #expect(causes.count == 3)
            #expect(causes[0].contains("\"cause\":\"returned\""))
            #expect(causes[1].contains("\"cause\":\"withheld\""))
        }
    }

    @Test func `what is no bundle is refused, whoever asked for it`() async throws {
        let endpoint = try PartnerEndpoint()
        endpoint.serve(Array("{}".utf8))
        try await endpoint.run {
            try await withFederation { server in
                try await server.apply(endpoint.federation())
                try await eventually("a leaf tells of it") {
                    try await server.records("federatedBundleRefused").count == 1
                }
                let result = try await refresh(server, acceptOlder: true)
                #expect(result.result == "documentMalformed")
                #expect(try await row(server)?.document == nil)
            }
        }
    }

    @Test func `nothing is refreshed that no document names`() async throws {
        try await withFederation { server in
            let error = await refusal { try await refresh(server) }
            #expect(error?.reason == "federatedTrustDomainUnknown")
            let listed = try await server.administration.listFederation(.init())
            #expect(listed.bundles.isEmpty)
        }
    }

    /// Waits until the reason of the condition has a text.
    private func eventualHealth(_ server: TestServer, _ text: String) async throws -> String {
        var reason = ""
        try await eventually("health says \(text)") {
            reason =
                try await server.administration.getHealth(.init()).conditions
                .first { $0.name == "federation" }?.reason ?? ""
            return reason.contains(text)
        }
        return reason
    }
}
