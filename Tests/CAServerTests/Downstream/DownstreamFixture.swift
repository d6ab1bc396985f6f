// SPDX-License-Identifier: Apache-2.0

import CAServer
import Clocks
import ControlAPI
import ControlAPIProtos
import FoundationEssentials
import Issuance
import SPIFFE
import SwiftProtobuf
import Testing

/// The server above, and the agent of the machine on which a server below runs.
struct Downstream: Sendable {
    static let id = "spiffe://example.org/ca-east"

    let server: TestServer
    let agent: TestAgent
    /// The ID of the downstream entry.
    let entry: String
    let fixture: UpstreamFixture
    let clock: ShiftedClock

    /// What the server below asks for.
    static func request(
        _ serverID: String = "east",
        signer: MemorySigner? = nil,
        profile: CertificateProfile = .authority,
        trustDomain: String = "example.org"
    ) throws -> [UInt8] {
        var generator = SystemRandomness()
        return try AuthorityRequest.encoded(
            trustDomain: TrustDomain(trustDomain),
            serverID: serverID,
            profile: profile,
            signer: signer ?? MemorySigner.new(.p256),
            using: &generator
        )
    }

    /// Asks as the agent does.
    func certify(
        _ csr: [UInt8]? = nil,
        entry other: String? = nil,
        lifetime: Int64 = 86_400,
        as asker: TestAgent? = nil
    ) async throws -> [[UInt8]] {
        try await server.certify(
            csr ?? Self.request(),
            entry: other ?? entry,
            lifetime: lifetime,
            as: asker ?? agent
        )
    }

    /// Asks, and says why it was refused.
    func refused(
        _ csr: [UInt8]? = nil,
        entry other: String? = nil,
        lifetime: Int64 = 86_400,
        as asker: TestAgent? = nil
    ) async -> APIError? {
        await refusal {
            try await certify(csr, entry: other, lifetime: lifetime, as: asker)
        }
    }

    /// The key ID of what was certified.
    static func keyID(_ chain: [[UInt8]]) throws -> String {
        try LeafCertificate(der: chain.first ?? []).keyIdentifier.description
    }

    /// So much later, another one may be certified.
    func pass() { clock.pass(DownstreamLimits.interval + .seconds(1)) }

    /// What the server is asked by `csr`, for an entry.
    static func order(
        _ csr: [UInt8],
        entry: String,
        lifetime: Int64 = 600
    ) throws -> DownstreamOrder {
        DownstreamOrder(
            entryID: entry,
            request: try DownstreamRequest(der: csr, trustDomain: TrustDomain("example.org")),
            lifetimeSeconds: lifetime
        )
    }

    /// A downstream entry.
    static func entry(
        _ name: String,
        node: String = "role:ca",
        spiffeID: String = Self.id,
        more: String = ""
    ) -> String {
        entryDocument(
            name,
            node: node,
            spiffeID: spiffeID,
            more: "  downstream: true\n\(more)"
        )
    }
}

extension TestServer {
    /// Asks for an authority of a server below.
    func certify(
        _ csr: [UInt8],
        entry: String,
        lifetime: Int64 = 86_400,
        as agent: TestAgent
    ) async throws -> [[UInt8]] {
        try await authenticated(as: try agent.identity) { client in
            try await Node.Client(wrapping: client).certifyAuthority(
                .with {
                    $0.entryID = entry
                    $0.csr = Data(csr)
                    $0.lifetimeSeconds = lifetime
                }
            ).chain.map { Array($0) }
        }
    }

    /// Admits a node and registers the server on it.
    func downstream(
        _ fixture: UpstreamFixture,
        _ clock: ShiftedClock
    ) async throws -> Downstream {
        let agent = try await agent("ca-1", selectors: ["role:ca"])
        let answer = try await apply(Downstream.entry("ca-east"))
        return Downstream(
            server: self,
            agent: agent,
            entry: answer.changes.first?.uid ?? "",
            fixture: fixture,
            clock: clock
        )
    }

    /// The state of an authority of a server below; nil if it is unknown.
    func downstreamState(_ id: String) async throws -> String? {
        try await administration.listAuthorities(.init()).downstream.first { $0.id == id }?.state
    }
}

/// Serves below a root on disk, with the node and entry of a server below.
func withDownstream(
    _ change: (inout ServerConfiguration) -> Void = { _ in },
    _ body: (Downstream) async throws -> Void
) async throws {
    let (directory, clock) = (try TestDirectory(), ShiftedClock())
    let fixture = try UpstreamFixture(in: directory)
    try fixture.perform()
    try await withServer(
        in: directory,
        clock: clock,
        {
            fixture.configure(&$0)
            change(&$0)
        }
    ) { server in
        try await body(try await server.downstream(fixture, clock))
    }
}
