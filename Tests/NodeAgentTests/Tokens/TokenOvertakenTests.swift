// SPDX-License-Identifier: Apache-2.0

import ControlAPI
import ControlAPIProtos
import Crypto
import Foundation
import GRPCCore
import NodeAgent
import NodeSync
import SPIFFE
import SwiftProtobuf
import Testing

/// What a client on the socket hears if its identity ends while it waits: for the server's token, or
/// for its turn.
@Suite(.timeLimit(.minutes(1)))
struct TokenOvertakenTests {
    private typealias One = ExchangingAgent

    /// Tokens, or the status.
    private struct Heard: Sendable {
        var tokens: [String] = []
        var code: RPCError.Code?
        var message = ""
    }

    private static func fetch(_ one: ExchangingAgent) async throws -> Heard {
        try await one.agent.withClient { client in
            do {
                let answer = try await SpiffeWorkloadAPI.Client(wrapping: client).fetchJWTSVID(
                    .with { ($0.audience, $0.spiffeID) = (["api"], One.b) },
                    metadata: ServingAgent.header
                )
                return Heard(tokens: answer.svids.map(\.svid))
            } catch let error as RPCError {
                return Heard(code: error.code, message: error.message)
            }
        }
    }

    /// What b hears if its server signs a token, after what happens meanwhile.
    private func heard(
        _ one: ExchangingAgent,
        _ token: KeptToken,
        meanwhile: () throws -> Void = {}
    ) async throws -> Heard {
        async let heard = Self.fetch(one)
        let call = try await one.nextTokens()
        #expect(call.flights.map(\.key.spiffeID.description) == [One.b])
        try meanwhile()
        call.finish([.success(token)])
        call.release()
        return try await heard
    }

    private func counted(_ result: String) -> String {
        "signet_agent_workload_api_requests_total{method=\"FetchJWTSVID\",result=\"\(result)\"} 1"
    }

    @Test func `a token that is signed while nothing changes is given`() async throws {
        try await One.run { one in
            let token = try one.kept(of: One.b)
            let heard = try await heard(one, token)
            #expect(heard.tokens == [token.token] && heard.code == nil)
            #expect(one.shows(counted("ok")))
        }
    }

    @Test func `a token whose identity is revoked meanwhile is given to nobody`() async throws {
        try await One.run { one in
            let revocation = try ResourcePayload.revocation(
                name: "one",
                .identity(
                    try SPIFFEID(One.b),
                    issuedBefore: Date(timeIntervalSince1970: Double(one.start + 60))
                )
            ).resource
            let heard = try await heard(one, try one.kept(of: One.b)) { one.change(revocation) }
            #expect(heard.tokens.isEmpty && heard.code == .unavailable)
            #expect(heard.message.contains("has just changed; ask again"), "\(heard.message)")
            #expect(one.shows(counted("unavailable")))
        }
    }

    @Test func `a process whose entry goes meanwhile is denied`() async throws {
        try await One.run { one in
            let heard = try await heard(one, try one.kept(of: One.b)) {
                one.change(.remove(ResourceKey(.entry, "entry-b")))
            }
            #expect(heard.tokens.isEmpty && heard.code == .permissionDenied)
            #expect(one.shows(counted("denied")))
        }
    }

    @Test func `a stream whose turn comes after its entry has gone is shown nothing`() async throws
    {
        // A long message: of those one user has four at a time on their way.
        let partners = (0..<8).map { "p\($0).example" }
        let bundles = try partners.map { name in
            let domain = try TokenDomain(name)
            let spki = Array(domain.key.publicKey.derRepresentation)
            let key = try JSONWebKey(subjectPublicKeyInfo: spki)
            return TrustBundle(
                trustDomain: domain.trustDomain,
                x509Authorities: [],
                x509Intermediates: [],
                jwtAuthorities: (0..<TrustBundle.authoritiesMax).map {
                    JWTAuthority(keyID: "key-\($0)", key: key)
                },
                sequenceNumber: 1,
                refreshHintSeconds: 300
            )
        }
        try await ServingAgent.run { agent in
            try agent.serve([agent.own("web", federatesWith: partners)], bundles: bundles)
            // Has this program hashed, which a user may have done for few at once.
            _ = try await agent.first()
            let reader = SlowReader(path: "/SpiffeWorkloadAPI/FetchJWTBundles", streams: 5)
            let shown = try await reader.read(at: agent.socket, untilTaking: 4) {
                let gone = ResourceChange.remove(ResourceKey(.entry, "entry-web"))
                _ = agent.receive([agent.world.delta(1, 2, [gone])])
            }
            #expect(shown.count == 5)
            #expect(shown.count { $0 > 64 * 1024 } == 4)
            #expect(shown.count { $0 == 0 } == 1)
        }
    }
}
