// SPDX-License-Identifier: Apache-2.0

import CAServer
import Clocks
import ControlAPI
import ControlAPIProtos
import Datastore
import Foundation
import PublicEndpoint
import SPIFFE
import SwiftProtobuf
import Telemetry
import Testing

typealias ExchangeAnswer = Signet_Node_V1alpha1_ExchangeTokenResponse

extension TestServer {
    /// Asks as an agent to exchange a token that a workload was shown.
    func exchange(
        _ token: String,
        by actor: (entry: String, id: String),
        for audience: String,
        as agent: TestAgent
    ) async throws -> ExchangeAnswer {
        try await authenticated(as: agent.identity) { client in
            try await Node.Client(wrapping: client).exchangeToken(
                .with {
                    ($0.entryID, $0.spiffeID) = actor
                    ($0.subjectToken, $0.audience) = (token, audience)
                }
            )
        }
    }

    /// Applies a policy by which b may act for a at c and at the ledger, and c at the ledger.
    func permitChain(
        _ name: String = "chain",
        subjects: String = "spiffe://example.org/a"
    ) async throws {
        try await apply(
            """
            apiVersion: core.signet/v1alpha1
            kind: DelegationPolicy
            metadata: {name: \(name)}
            spec:
              subjects: [\(subjects)]
              actors: [spiffe://example.org/b, spiffe://example.org/c]
              audiences: [spiffe://example.org/c, ledger]

            """
        )
    }
}

/// Exchanges at the server (docs/decisions/0024-token-exchange.md).
@Suite(.timeLimit(.minutes(2)))
struct TokenExchangeTests {
    private static let a = "spiffe://example.org/a"
    private static let b = "spiffe://example.org/b"
    private static let c = "spiffe://example.org/c"

    /// A server that exchanges, with entries for a, b and c on one node.
    private struct Stage {
        let server: TestServer
        let agent: TestAgent
        let entries: [String: String]

        func actor(_ id: String) -> (entry: String, id: String) { (entries[id] ?? "", id) }

        /// A JWT-SVID.
        func token(of id: String, for audiences: String...) async throws -> String {
            let results = try await server.tokens(
                [(entries[id] ?? "", id, audiences)],
                as: agent
            )
            return try #require(results.first).token
        }

        func exchange(
            _ token: String,
            by actor: String,
            for audience: String
        ) async throws -> ExchangeAnswer {
            try await server.exchange(token, by: self.actor(actor), for: audience, as: agent)
        }

        func verify(_ token: String, _ audience: String) async throws -> VerifiedDelegatedToken {
            let bundle = try #require(
                try await server.core.read { try SyncContent.bundle(in: $0) }
            )
            return try JWTSVIDVerifier(bundles: [bundle.trustDomain: bundle]).verifyDelegated(
                token: Array(token.utf8),
                audience: audience,
                now: server.core.clock.wallTime
            )
        }
    }

    private func staged(_ body: (Stage) async throws -> Void) async throws {
        let url = try PublicURL(parsing: "https://id.example.org")
        try await withServer {
            ($0.publicURL, $0.exchangesTokens) = (url, true)
        } _: { server in
            let agent = try await server.agent("web-1", selectors: ["role:web"])
            var entries: [String: String] = [:]
            for name in ["a", "b", "c"] {
                entries["spiffe://example.org/\(name)"] = try await server.register(name)
            }
            try await body(Stage(server: server, agent: agent, entries: entries))
        }
    }

    @Test func `a chain of two hops says whose request it is and through whom, and is recorded`()
        async throws
    {
        try await staged { stage in
            try await stage.server.permitChain()
            let shown = try await stage.token(of: Self.a, for: Self.b)
            let first = try await stage.exchange(shown, by: Self.b, for: Self.c)
            #expect(first.refusal.code == "")
            let second = try await stage.exchange(first.token, by: Self.c, for: "ledger")
            #expect(second.refusal.code == "")

            let claims = try await stage.verify(second.token, "ledger").claims
            #expect(claims.chain.subject.description == Self.a)
            #expect(claims.chain.actors.map(\.description) == [Self.b, Self.c])
            #expect(claims.issuer == "https://id.example.org/delegated")
            let middle = try await stage.verify(first.token, Self.c).claims
            #expect(claims.expiresAt <= middle.expiresAt)

            for id in [Self.a, Self.b, Self.c] {
                let leaves = try await stage.server.records("delegatedTokenIssued") {
                    $0.spiffeID = id
                }
                #expect(leaves.count == (id == Self.c ? 1 : 2), "\(id)")
            }
            let leaf = try #require(
                try await stage.server.records("delegatedTokenIssued").first
            )
            #expect(leaf.contains("\"tokenID\":\"\(claims.tokenID)\""))
            #expect(leaf.contains("\"subjectTokenID\":\"\(middle.tokenID)\""))
            #expect(leaf.contains("\"policy\":\"default/chain\""))
            #expect(!leaf.contains(second.token))
            let metrics = stage.server.core.metrics.exposition()
            #expect(metrics.contains("signet_server_svids_issued_total{kind=\"delegated\"} 2"))
        }
    }

    @Test func `what no policy permits is refused and recorded with the hop`() async throws {
        try await staged { stage in
            try await stage.server.permitChain()
            let shown = try await stage.token(of: Self.a, for: Self.b)
            let other = try await stage.exchange(shown, by: Self.b, for: "payroll")
            #expect(other.refusal.code == "delegationNotPermitted" && other.token.isEmpty)
            #expect(other.refusal.message.contains("\(Self.b) for \(Self.a) at \"payroll\""))
            let leaves = try await stage.server.records("requestRefused")
            #expect(leaves.first?.contains("payroll") == true)

            // What stood for the first hop has gone meanwhile.
            let first = try await stage.exchange(shown, by: Self.b, for: Self.c)
            _ = try await stage.server.documents.delete(
                .with {
                    $0.keys = [
                        .with {
                            ($0.kind, $0.namespace, $0.name) = (
                                "DelegationPolicy", "default", "chain"
                            )
                        }
                    ]
                }
            )
            let late = try await stage.exchange(first.token, by: Self.c, for: "ledger")
            #expect(late.refusal.code == "delegationNoLongerPermitted")
        }
    }

    @Test func `only a token for the actor alone is exchanged`() async throws {
        try await staged { stage in
            try await stage.server.permitChain()
            // A word that means whom it pleases, one of two names, and somebody else's.
            for audiences in [["b"], [Self.b, "x"], [Self.c]] {
                let results = try await stage.server.tokens(
                    [(stage.entries[Self.a] ?? "", Self.a, audiences)],
                    as: stage.agent
                )
                let token = try #require(results.first).token
                let answer = try await stage.exchange(token, by: Self.b, for: "ledger")
                #expect(answer.refusal.code == "subjectTokenAudience", "\(audiences)")
            }
            let own = try await stage.token(of: Self.b, for: Self.b)
            let repeated = try await stage.exchange(own, by: Self.b, for: "ledger")
            #expect(repeated.refusal.code == "chainRefused")
            let nothing = try await stage.exchange("a.b.c", by: Self.b, for: "ledger")
            #expect(nothing.refusal.code == "subjectTokenRefused")
        }
    }

    @Test func `an actor that is not on the node gets nothing`() async throws {
        try await staged { stage in
            try await stage.server.permitChain()
            let shown = try await stage.token(of: Self.a, for: Self.b)
            let db = try await stage.server.agent("db-1", selectors: ["role:db"])
            let answer = try await stage.server.exchange(
                shown,
                by: stage.actor(Self.b),
                for: "ledger",
                as: db
            )
            #expect(answer.refusal.code == "nodeOutsideEntry")
            let stolen = try await stage.server.exchange(
                shown,
                by: (stage.entries[Self.c] ?? "", Self.b),
                for: "ledger",
                as: stage.agent
            )
            #expect(stolen.refusal.code == "idDiffersFromEntry")
        }
    }

    @Test func `whoever is named and revoked ends the chain, by a moment after its last token`()
        async throws
    {
        try await staged { stage in
            try await stage.server.permitChain()
            let shown = try await stage.token(of: Self.a, for: Self.b)
            let first = try await stage.exchange(shown, by: Self.b, for: Self.c)
            _ = try await stage.server.administration.revokeIdentity(
                .with { ($0.spiffeID, $0.reason, $0.forSeconds) = (Self.a, "stolen", 60) }
            )
            for (token, actor) in [(shown, Self.b), (first.token, Self.c)] {
                let answer = try await stage.exchange(token, by: actor, for: "ledger")
                #expect(answer.refusal.code == "partyRevoked", "\(actor)")
            }
            let revoked = try await stage.server.administration.listRevocations(.init())
            let before = try #require(revoked.revocations.first).issuedBeforeUnixSeconds
            let claims = try await stage.verify(first.token, Self.c).claims
            #expect(claims.issuedAt.timeIntervalSince1970 < Double(before))
        }
    }

    @Test func `a ban of the actor's node revokes the actor and not the subject`() async throws {
        let url = try PublicURL(parsing: "https://id.example.org")
        try await withServer {
            ($0.publicURL, $0.exchangesTokens) = (url, true)
        } _: { server in
            let web = try await server.agent("web-1", selectors: ["role:web"])
            let db = try await server.agent("db-1", selectors: ["role:db"])
            let a = try await server.register("a")
            let b = try await server.register("b", node: "role:db")
            try await server.permitChain()
            let shown = try await server.tokens([(a, Self.a, [Self.b])], as: web)[0].token
            let answer = try await server.exchange(shown, by: (b, Self.b), for: "ledger", as: db)
            #expect(answer.refusal.code == "")
            _ = try await server.administration.banNode(.with { $0.name = "db-1" })
            let revoked = try await server.administration.listRevocations(.init()).revocations
            #expect(revoked.map(\.spiffeID) == [Self.b])
        }
    }

    @Test func `what was approved before a policy went is not signed after it`() async throws {
        try await staged { stage in
            try await stage.server.permitChain()
            let shown = try await stage.token(of: Self.a, for: Self.b)
            // The keys that verify are made before, so that nothing is read while writes wait.
            _ = try await stage.exchange(shown, by: Self.b, for: Self.c)
            try await stage.server.holdingWrites { writes in
                async let deleted = stage.server.documents.delete(
                    .with {
                        $0.keys = [
                            .with {
                                ($0.kind, $0.namespace, $0.name) = (
                                    "DelegationPolicy", "default", "chain"
                                )
                            }
                        ]
                    }
                )
                try await writes.queued(1)
                async let answer = stage.exchange(shown, by: Self.b, for: "ledger")
                try await writes.queued(2)
                writes.release()
                _ = try await deleted
                #expect(try await answer.refusal.code == "delegationNotPermitted")
            }
            #expect(try await stage.server.records("delegatedTokenIssued").count == 1)
        }
    }

    @Test func `what was approved before a party was revoked is not signed after it`() async throws
    {
        try await staged { stage in
            try await stage.server.permitChain()
            let shown = try await stage.token(of: Self.a, for: Self.b)
            // The keys that verify are made before, so that nothing is read while writes wait.
            _ = try await stage.exchange(shown, by: Self.b, for: Self.c)
            try await stage.server.holdingWrites { writes in
                async let revoked = stage.server.revoke(Self.a, forSeconds: 60)
                try await writes.queued(1)
                async let answer = stage.exchange(shown, by: Self.b, for: "ledger")
                try await writes.queued(2)
                writes.release()
                _ = try await revoked
                #expect(try await answer.refusal.code == "partyRevoked")
            }
            #expect(try await stage.server.records("delegatedTokenIssued").count == 1)
        }
    }

    @Test func `a token of an authority that was revoked meanwhile is exchanged no more`()
        async throws
    {
        try await staged { stage in
            let server = stage.server
            try await server.permitChain()
            let shown = try await stage.token(of: Self.a, for: Self.b)
            let (old, _) = try await server.rotate()
            // By the bundle with both keys, whose verifier is kept.
            let before = try await stage.exchange(shown, by: Self.b, for: "ledger")
            #expect(before.refusal.code == "")
            _ = try await server.revokeAuthority(old)
            // The server's own certificate is replaced as well, which takes a moment.
            var again: TestAgent?
            try await eventually("the agent comes back") {
                again = try? await server.readmit("web-1", key: stage.agent.key)
                return again != nil
            }
            let after = try await server.exchange(
                shown,
                by: stage.actor(Self.b),
                for: "ledger",
                as: #require(again)
            )
            #expect(after.refusal.code == "subjectTokenRefused")
        }
    }

    @Test func `while the actor's revocation lasts he is told when it ends`() async throws {
        try await staged { stage in
            try await stage.server.permitChain()
            let shown = try await stage.token(of: Self.a, for: Self.b)
            _ = try await stage.server.revoke(Self.b, forSeconds: 600)
            let refusal = try await stage.exchange(shown, by: Self.b, for: "ledger").refusal
            #expect(refusal.code == "identityRevoked" && refusal.retryable)
            #expect((500_000...602_000).contains(refusal.retryAfterMilliseconds))
        }
    }

    @Test func `nothing is exchanged unless the configuration says so, and apply warns`()
        async throws
    {
        try await withServer { server in
            let agent = try await server.agent("web-1", selectors: ["role:web"])
            let a = try await server.register("a")
            let b = try await server.register("b")
            let text = """
                apiVersion: core.signet/v1alpha1
                kind: DelegationPolicy
                metadata: {name: chain}
                spec: {subjects: [\(Self.a)], actors: [\(Self.b)], audiences: [ledger]}

                """
            let warnings = try await server.apply(text).warnings
            #expect(warnings.count == 1 && warnings.first?.contains("tokenExchange") == true)
            let shown = try await server.tokens([(a, Self.a, [Self.b])], as: agent)[0].token
            let answer = try await server.exchange(
                shown,
                by: (b, Self.b),
                for: "ledger",
                as: agent
            )
            #expect(answer.refusal.code == "exchangeOff")
        }
    }
}
