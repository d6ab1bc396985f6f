// SPDX-License-Identifier: Apache-2.0

import CAServer
import Clocks
import ControlAPIProtos
import Crypto
import Datastore
import Dispatch
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

/// A bundle endpoint on loopback, which serves what a test says.
final class PartnerEndpoint: Sendable {
    private struct State {
        var served: [UInt8] = []
        var isAway = false
        var connections = 0
        var port: UInt16 = 0
        var whenAsked: (@Sendable () -> Void)?
    }

    let authority: TestAuthority
    private let state = Mutex(State())

    /// - Parameter authority: Vouches for the endpoint; one of partner.example if none is given.
    /// - Throws: When no authority can be made.
    init(_ authority: TestAuthority? = nil) throws {
        self.authority = try authority ?? TestAuthority.root("partner.example", now: Date())
    }

    var trustDomain: TrustDomain { authority.trustDomain }
    var id: String { "spiffe://\(trustDomain)/bundle" }
    var url: String { "https://127.0.0.1:\(state.withLock { $0.port })/bundle" }
    /// How many were begun, also those that it did not take.
    var connections: Int { state.withLock { $0.connections } }

    /// A document of these authorities.
    func document(_ authorities: [TestAuthority], sequence: UInt64) throws -> [UInt8] {
        try TrustBundle(
            trustDomain: trustDomain,
            x509Authorities: authorities.map(\.der),
            x509Intermediates: [],
            jwtAuthorities: [],
            sequenceNumber: sequence,
            refreshHintSeconds: 3600
        ).document()
    }

    func serve(_ document: [UInt8]) { state.withLock { $0.served = document } }

    /// Takes no connection, or takes them again.
    func away(_ isAway: Bool) { state.withLock { $0.isAway = isAway } }

    /// What is done on its thread before an answer is given; nil: nothing.
    func whenAsked(_ act: (@Sendable () -> Void)?) { state.withLock { $0.whenAsked = act } }

    /// Serves while `body` runs.
    func run(as id: String? = nil, _ body: () async throws -> Void) async throws {
        let leaf = try authority.leaf(id ?? self.id) {
            $0.notAfter = Date().addingTimeInterval(20 * 3600)
        }
        let pair = try CertificatePair(
            certificates: Array(try leaf.certificate.serializeAsPEM().pemString.utf8),
            key: Array(leaf.key.pemRepresentation.utf8),
            now: Date()
        )
        let listener = try await PublicListener.open(
            .tls(host: "127.0.0.1", port: 0) { [self] in
                state.withLock { state in
                    state.connections += 1
                    return state.isAway ? nil : pair
                }
            },
            try service
        )
        state.withLock { $0.port = listener.port ?? 0 }
        try await withThrowingTaskGroup { group in
            group.addTask { await listener.run() }
            defer { group.cancelAll() }
            try await body()
        }
    }

    private var service: PublicService {
        get throws {
            let url = try PublicURL(parsing: "https://partner.example")
            return PublicService(
                pages: { [self] in
                    state.withLock { $0.whenAsked }?()
                    var pages = PublicPages(below: url)
                    pages.set(.bundle(state.withLock { $0.served }), as: .bundle)
                    return pages
                },
                wallTime: { Date() },
                bootTime: { .zero },
                observe: { _ in }
            )
        }
    }

    /// The document by which it is federated with.
    ///
    /// - Parameters:
    ///   - staleAfter: For how long what was fetched is believed.
    ///   - known: Whose bundle verifies the endpoint at first; its own if none is given.
    /// - Returns: One document of YAML.
    /// - Throws: When the bundle cannot be written.
    func federation(staleAfter: String = "24h", known: TestAuthority? = nil) throws -> String {
        let bundle = String(
            decoding: try document([known ?? authority], sequence: 5),
            as: UTF8.self
        )
        let name = trustDomain.name.split(separator: ".").first ?? ""
        return """
            ---
            apiVersion: core.signet/v1alpha1
            kind: FederatedTrustDomain
            metadata: {name: \(name)}
            spec:
              trustDomain: \(trustDomain)
              bundleEndpointURL: \(url)
              bundleEndpointProfile: {type: https_spiffe, endpointSPIFFEID: "\(id)"}
              trustDomainBundle: '\(bundle)'
              staleAfter: \(staleAfter)

            """
    }
}

/// Requests that wait until a test lets them be answered.
final class HeldAnswers: Sendable {
    private let gate = DispatchSemaphore(value: 0)
    private let arrivals: AsyncStream<Void>
    private let arrival: AsyncStream<Void>.Continuation

    init() { (arrivals, arrival) = AsyncStream.makeStream() }

    /// For `PartnerEndpoint.whenAsked`; gives up after a while.
    func hold() {
        arrival.yield()
        _ = gate.wait(timeout: .now() + 30)
    }

    /// Returns when one more request waits.
    func arrived() async {
        for await _ in arrivals { return }
    }

    /// Lets one be answered.
    func release() { gate.signal() }
}

/// Serves with loopback as the network of partners while `body` runs.
func withFederation(
    clock: any NodeClock = SystemClock(),
    _ body: (TestServer) async throws -> Void
) async throws {
    try await withServer(clock: clock) {
        $0.federationNetworks = [IPBlock("127.0.0.0/8")].compactMap(\.self)
    } _: {
        try await body($0)
    }
}

extension TestServer {
    /// What was fetched of a partner.
    func fetchedBundle(
        of name: String = "partner.example"
    ) async throws -> FederatedBundleRecord? {
        try await core.read { try $0.federatedBundle(named: name) }
    }

    /// How a partner stands, as `signet federation show` says.
    func standing(
        of name: String = "partner.example"
    ) async throws -> Signet_Admin_V1alpha1_FederatedBundle {
        let bundles = try await administration.listFederation(.init()).bundles
        return try #require(bundles.first { $0.trustDomain == name })
    }

    /// Waits until the last fetch had this result, and its end was noted.
    func lastFetch(
        _ result: String,
        of name: String = "partner.example",
        sourceLocation: SourceLocation = #_sourceLocation
    ) async throws {
        try await eventually("the last fetch: \(result)", sourceLocation: sourceLocation) {
            try await standing(of: name).lastResult == result
        }
    }

    func refresh(
        _ name: String = "partner.example",
        acceptOlder: Bool = false
    ) async throws -> Signet_Admin_V1alpha1_RefreshFederationResponse {
        try await administration.refreshFederation(
            .with { ($0.trustDomain, $0.acceptOlder) = (name, acceptOlder) }
        )
    }

    /// Waits until the reason of the condition has a text.
    @discardableResult
    func federationHealth(
        _ text: String,
        sourceLocation: SourceLocation = #_sourceLocation
    ) async throws -> String {
        var reason = ""
        try await eventually("health says \(text)", sourceLocation: sourceLocation) {
            reason =
                try await administration.getHealth(.init()).conditions
                .first { $0.name == "federation" }?.reason ?? ""
            return reason.contains(text)
        }
        return reason
    }
}
