// SPDX-License-Identifier: Apache-2.0

import CAServer
import Clocks
import ControlAPI
import ControlAPIProtos
import Datastore
import Foundation
import Issuance
import NodeSync
import SPIFFE
import SwiftProtobuf
import Testing

typealias TokenResult = Signet_Node_V1alpha1_SignJWTSVIDResult

extension TestServer {
    /// Asks for tokens as an agent.
    func tokens(
        _ requests: [(entry: String, id: String, audiences: [String])],
        as agent: TestAgent
    ) async throws -> [TokenResult] {
        try await authenticated(as: agent.identity) { client in
            try await Node.Client(wrapping: client).signJWTSVIDs(
                .with {
                    $0.requests = requests.map { one in
                        .with {
                            ($0.entryID, $0.spiffeID, $0.audiences) = (
                                one.entry, one.id, one.audiences
                            )
                        }
                    }
                }
            ).results
        }
    }

    /// What the server tells agents that verify tokens.
    fileprivate func bundle() async throws -> TrustBundle {
        try #require(try await core.read { try SyncContent.bundle(in: $0) })
    }

    fileprivate func verify(_ token: String, _ audience: String) async throws -> VerifiedJWTSVID {
        let bundle = try await bundle()
        return try JWTSVIDVerifier(bundles: [bundle.trustDomain: bundle])
            .verify(token: Array(token.utf8), audience: audience, now: core.clock.wallTime)
    }
}

/// JWT-SVIDs for agents (docs/decisions/0017-jwt-keys-and-services.md).
@Suite(.timeLimit(.minutes(2)))
struct TokenSigningTests {
    private static let web = "spiffe://example.org/web"

    @Test func `tokens are answered one by one, in order, and recorded in one leaf`() async throws {
        try await withServer { server in
            let agent = try await server.agent("web-1", selectors: ["role:web"])
            let web = try await server.register("web")
            let elsewhere = try await server.register("db", node: "role:db")
            let results = try await server.tokens(
                [
                    (web, Self.web, ["api"]), (elsewhere, "spiffe://example.org/db", ["api"]),
                    (web, "spiffe://example.org/other", ["api"]), (web, Self.web, []),
                    ("none", Self.web, ["api"]), (web, Self.web, ["db", "api"]),
                ],
                as: agent
            )
            let codes = [
                "", "nodeOutsideEntry", "idDiffersFromEntry", "audience", "entryUnknown", "",
            ]
            #expect(results.map(\.refusal.code) == codes)
            let first = try await server.verify(results[0].token, "api")
            #expect(first.id.description == Self.web && first.claims.audiences == ["api"])
            let last = try await server.verify(results[5].token, "db")
            #expect(last.claims.audiences == ["db", "api"])
            let record = try #require(try await server.records("jwtSVIDsIssued").first)
            for verified in [first, last] {
                #expect(record.contains(try #require(verified.claims.tokenID)))
            }
            #expect(!record.contains(results[0].token))
            #expect(try await server.records("jwtSVIDsIssued").count == 1)
        }
    }

    @Test func `a token lives for five minutes and ends with its entry`() async throws {
        try await withServer { server in
            let agent = try await server.agent("web-1", selectors: ["role:web"])
            let web = try await server.register("web")
            let token = try await server.tokens([(web, Self.web, ["api"])], as: agent)[0].token
            let claims = try await server.verify(token, "api").claims
            let issuedAt = try #require(claims.issuedAt)
            #expect(claims.expiresAt.timeIntervalSince(issuedAt) == 300)

            let end = Date(timeIntervalSince1970: (Date().timeIntervalSince1970 + 100).rounded())
            let expires = "expires: \"\(end.ISO8601Format())\""
            let text = entryDocument("short", spiffeID: "spiffe://example.org/short")
                .replacing("  name: short", with: "  name: short\n  \(expires)")
            let short = try #require(try await server.apply(text).changes.first).uid
            let ending = try await server.tokens(
                [(short, "spiffe://example.org/short", ["api"])],
                as: agent
            )[0]
            #expect(ending.refusal.code == "")
            #expect(try await server.verify(ending.token, "api").claims.expiresAt == end)
        }
    }

    @Test func `who may not ask for certificates may not ask for tokens`() async throws {
        try await withServer { server in
            let agent = try await server.agent("web-1", selectors: ["role:web"])
            let web = try await server.register("web")
            _ = try await server.administration.banNode(.with { $0.name = "web-1" })
            let refused = await refusal {
                _ = try await server.tokens([(web, Self.web, ["api"])], as: agent)
            }
            #expect(refused?.reason == "nodeBanned")
        }
    }

    @Test func `what was approved before a ban or a revocation is not signed after it`()
        async throws
    {
        try await withServer { server in
            let agent = try await server.agent("web-1", selectors: ["role:web"])
            let web = try await server.register("web")
            let request = [(entry: web, id: Self.web, audiences: ["api"])]
            try await server.holdingWrites { writes in
                async let revoked = server.administration.revokeIdentity(
                    .with { ($0.spiffeID, $0.reason, $0.forSeconds) = (Self.web, "stolen", 60) }
                )
                try await writes.queued(1)
                async let signed = server.tokens(request, as: agent)
                try await writes.queued(2)
                writes.release()
                _ = try await revoked
                #expect(try await signed.map(\.refusal.code) == ["identityRevoked"])
            }
            let other = try await server.register("other")
            try await server.holdingWrites { writes in
                async let banned = server.administration.banNode(.with { $0.name = "web-1" })
                try await writes.queued(1)
                async let refused = refusal {
                    _ = try await server.tokens(
                        [(other, "spiffe://example.org/other", ["api"])],
                        as: agent
                    )
                }
                try await writes.queued(2)
                writes.release()
                _ = try await banned
                // The ban ends the connection as well; whichever is quicker.
                let reason = await refused?.reason
                #expect(["nodeBanned", "transport"].contains(reason))
            }
            #expect(try await server.records("jwtSVIDsIssued").isEmpty)
        }
    }

    @Test func `a ban revokes the identities of which the node holds tokens`() async throws {
        try await withServer { server in
            let agent = try await server.agent("web-1", selectors: ["role:web"])
            let web = try await server.register("web")
            let token = try await server.tokens([(web, Self.web, ["api"])], as: agent)[0].token
            let claims = try await server.verify(token, "api").claims
            let banned = try await server.administration.banNode(.with { $0.name = "web-1" })
            #expect(banned.identitiesRevoked == 1 && banned.certificatesRevoked == 0)
            let revoked = try await server.administration.listRevocations(.init()).revocations
            let before = try #require(revoked.first).issuedBeforeUnixSeconds
            // Without the minute that certificates are dated back.
            #expect(try #require(claims.issuedAt).timeIntervalSince1970 < Double(before))
            #expect(try #require(revoked.first).spiffeID == Self.web)
        }
    }

    @Test func `an identity that has tokens only can be revoked, and gets none for a while`()
        async throws
    {
        try await withServer { server in
            let agent = try await server.agent("web-1", selectors: ["role:web"])
            let web = try await server.register("web")
            _ = try await server.tokens([(web, Self.web, ["api"])], as: agent)
            _ = try await server.administration.revokeIdentity(
                .with { ($0.spiffeID, $0.reason, $0.forSeconds) = (Self.web, "stolen", 60) }
            )
            let refused = try await server.tokens([(web, Self.web, ["api"])], as: agent)
            #expect(refused.map(\.refusal.code) == ["identityRevoked"])
        }
    }

    @Test func `the bundle has a key of each authority, and loses it with a revocation`()
        async throws
    {
        try await withServer { server in
            let agent = try await server.agent("web-1", selectors: ["role:web"])
            let web = try await server.register("web")
            let before = try await server.bundle()
            #expect(before.jwtAuthorities.count == 1)
            #expect(before.jwtAuthorities.map(\.authorityKeyID) == [before.authorityKeyIDs.first])
            let token = try await server.tokens([(web, Self.web, ["api"])], as: agent)[0].token
            let old = try await server.administration.listAuthorities(.init()).authorities[0].id
            let next = try await server.administration.prepareAuthority(.init()).authority.id
            _ = try await server.administration.activateAuthority(
                .with { ($0.id, $0.now) = (next, true) }
            )
            #expect(try await server.bundle().jwtAuthorities.count == 2)
            _ = try await server.verify(token, "api")
            // A token for another audience, by the new authority, replaces none.
            _ = try await server.tokens([(web, Self.web, ["db"])], as: agent)
            let outlook = try await server.administration.revokeAuthority(
                .with { ($0.id, $0.reason, $0.rehearse) = (old, "lost", true) }
            )
            let objection = outlook.objections.first { $0.contains("JWT-SVIDs") }
            #expect(objection?.hasPrefix("1 holder(s)") == true, "\(outlook.objections)")
            _ = try await server.administration.revokeAuthority(
                .with { ($0.id, $0.reason, $0.now) = (old, "lost", true) }
            )
            let after = try await server.bundle()
            #expect(after.jwtAuthorities.count == 1)
            await #expect(throws: JWTSVIDError.keyUnknown) {
                try await server.verify(token, "api")
            }
        }
    }

    @Test func `a missing key takes nothing but tokens away`() async throws {
        let directory = try TestDirectory()
        let agent = try await withServer(in: directory) { server in
            try await server.agent("web-1", selectors: ["role:web"])
        }
        let keys = "\(directory.path)/data/keys"
        for file in try FileManager.default.contentsOfDirectory(atPath: keys)
        where file.hasPrefix("jwt-") {
            try FileManager.default.removeItem(atPath: "\(keys)/\(file)")
        }
        try await withServer(in: directory) { server in
            let web = try await server.register("web")
            let request = try signingRequest(entry: web, spiffeID: Self.web)
            #expect(try await server.sign([request], as: agent).map(\.refusal.code) == [""])
            let refused = await refusal {
                _ = try await server.tokens([(web, Self.web, ["api"])], as: agent)
            }
            #expect(refused?.reason == "tokenKeyMissing")
            #expect(refused?.message.contains("signet authority rotate") == true)
        }
    }

    @Test func `tokens take nothing of the line of certificates`() async throws {
        try await withServer { server in
            let agent = try await server.agent("web-1", selectors: ["role:web"])
            let web = try await server.register("web")
            // One identity may not have all of the budget.
            var asking = [(entry: web, id: Self.web, audiences: ["api"])]
            for name in ["cart", "mail", "shop", "till"] {
                let entry = try await server.register(name)
                asking.append((entry, "spiffe://example.org/\(name)", ["api"]))
            }
            let many = (0..<100).map { asking[$0 % 5] }
            // Five batches are the budget, and twenty more a second come in meanwhile.
            var codes: [String] = []
            for _ in 0..<50 where !codes.contains("signingRate") {
                let refused = await refusal {
                    codes = try await server.tokens(many, as: agent).map(\.refusal.code)
                }
                if let refused { codes = [refused.reason] }
            }
            // What there was a budget for was signed, the first first.
            #expect(codes.last == "signingRate")
            #expect(codes == codes.sorted())
            let request = try signingRequest(entry: web, spiffeID: Self.web)
            #expect(try await server.sign([request], as: agent).map(\.refusal.code) == [""])
        }
    }

    @Test func `an identity above its share gets no token, and the others of its node do`()
        async throws
    {
        try await withServer { server in
            let agent = try await server.agent("web-1", selectors: ["role:web"])
            let web = try await server.register("web")
            let cart = try await server.register("cart")
            let loud = Array(repeating: (entry: web, id: Self.web, audiences: ["api"]), count: 99)
            // Half of the budget is 250, and twenty more a second come in meanwhile.
            var codes: [String] = []
            for _ in 0..<50 where !codes.contains("identityRate") {
                codes = try await server.tokens(loud, as: agent).map(\.refusal.code)
            }
            #expect(codes.last == "identityRate")
            let other = (entry: cart, id: "spiffe://example.org/cart", audiences: ["api"])
            let answers = try await server.tokens(loud + [other], as: agent)
            #expect(answers.last?.refusal.code == "")
            #expect(answers.dropLast().last?.refusal.message.contains("one identity") == true)
        }
    }
}
