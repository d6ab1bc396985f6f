// SPDX-License-Identifier: Apache-2.0

import ControlAPIProtos
import Foundation
import GRPCCore
import NodeAgent
import SPIFFE
import SwiftProtobuf
import TestPKI
import Testing

/// Other trust domains as a client on the socket sees them (docs/decisions/0021-federation.md).
@Suite(.timeLimit(.minutes(1)))
struct WorkloadFederationTests {
    private static let web = "spiffe://partner.example/web"

    /// What a workload is told of a token: its ID and the names of its claims; or the status.
    private static func verdict(
        _ agent: ServingAgent,
        _ token: [UInt8]
    ) async throws -> (id: String, claims: [String], code: RPCError.Code?) {
        try await agent.withClient { client in
            do {
                let answer = try await SpiffeWorkloadAPI.Client(wrapping: client).validateJWTSVID(
                    .with {
                        $0.audience = "api"
                        $0.svid = String(decoding: token, as: UTF8.self)
                    },
                    metadata: ServingAgent.header
                )
                return (answer.spiffeID, answer.claims.fields.keys.sorted(), nil)
            } catch let error as RPCError {
                return ("", [], error.code)
            }
        }
    }

    @Test(arguments: [true, false])
    func `A-10 a foreign token is valid for who federates, without its own claims`(
        _ isFederating: Bool
    ) async throws {
        try await ServingAgent.run { agent in
            let partner = try TokenDomain("partner.example")
            let names = isFederating ? ["partner.example"] : []
            try agent.serve(
                [agent.own("web", federatesWith: names)],
                bundles: [partner.bundle()]
            )
            let token = try partner.token(of: Self.web, at: Date(), more: #","role":"admin""#)
            let found = try await Self.verdict(agent, token)
            #expect(found.code == (isFederating ? nil : .invalidArgument))
            #expect(found.id == (isFederating ? Self.web : ""))
            #expect(found.claims == (isFederating ? ["aud", "exp", "sub"] : []))
            // X-14: a partner's key signs nobody of ours.
            let ours = try partner.token(of: "spiffe://example.org/web", at: Date())
            #expect(try await Self.verdict(agent, ours).code == .invalidArgument)
        }
    }

    @Test func `messages with many bundles come whole, one after the other`() async throws {
        // As many as need a turn, of which one user has a few at a time.
        let partners = try (0..<5).map { number in
            try (0..<TrustBundle.authoritiesMax)
                .map { _ in try TestAuthority.root("p\(number).example").der }
        }
        try await ServingAgent.run { agent in
            let bundles = try partners.enumerated().map { number, ders in
                try TokenDomain("p\(number).example").bundle(x509: ders)
            }
            #expect(partners.joined().reduce(0) { $0 + $1.count } > 64 * 1024)
            let names = bundles.map(\.trustDomain.name)
            try agent.serve([agent.own("web", federatesWith: names)], bundles: bundles)
            let expected = Dictionary(
                uniqueKeysWithValues: bundles.map {
                    ($0.trustDomain.id.description, Data($0.x509Authorities.joined()))
                }
            )
            // The first of them has this program hashed, which a user may have done for few at once.
            #expect(try await agent.first().federatedBundles == expected)
            try await withThrowingTaskGroup(of: X509SVIDResponse.self) { group in
                for _ in 0..<12 { group.addTask { try await agent.first() } }
                for try await message in group {
                    #expect(message.federatedBundles == expected)
                }
            }
        }
    }
}
