// SPDX-License-Identifier: Apache-2.0

import Crypto
import FoundationEssentials
import Issuance
import SPIFFE
import Testing

/// What may be exchanged, for what, and until when (docs/decisions/0024-token-exchange.md).
struct ExchangeTests {
    /// B acts for A at the ledger.
    private static func usual() throws -> [DelegationPolicy] {
        [try ExchangeWorkshop.policy(["a"], ["b"], ["ledger"])]
    }

    private static func text(_ part: Substring) throws -> String {
        String(decoding: try #require(Base64Form.url.bytes(part.utf8)), as: UTF8.self)
    }

    // MARK: - The token

    @Test func `what is issued says A through B and nothing else`() throws {
        let workshop = try ExchangeWorkshop()
        let shown = try workshop.svid(for: [ExchangeWorkshop.idText("b")])
        let issued = try workshop.exchange(
            shown,
            by: "b",
            for: "ledger",
            policies: Self.usual()
        )
        let parts = issued.token.split(separator: ".")
        let keyID = workshop.authority.keyID
        #expect(try Self.text(parts[0]) == #"{"alg":"ES256","kid":"\#(keyID)","typ":"at+jwt"}"#)
        #expect(
            try Self.text(parts[1]) == """
                {"act":{"sub":"spiffe://example.org/b"},"aud":["ledger"],\
                "client_id":"spiffe://example.org/b","exp":1900000300,"iat":1900000000,\
                "iss":"https://id.example.org/delegated","jti":"\(issued.prepared.tokenID)",\
                "sub":"delegated:example.org/a"}
                """
        )
        let prepared = issued.prepared
        #expect(prepared.id == (try ExchangeWorkshop.id("b")) && prepared.audiences == ["ledger"])
        let subject = try workshop.verifier.verify(
            token: shown,
            audience: ExchangeWorkshop.idText("b"),
            now: Workshop.now
        )
        let delegation = try #require(prepared.delegation)
        #expect(delegation.subjectTokenID == subject.claims.tokenID)
        #expect(delegation.subjectTokenSHA256 == subject.signingInputSHA256)
        #expect(delegation.hops.map(\.policy.description) == ["default/p version 1"])
    }

    @Test func `a token is of one kind for every verifier`() throws {
        let workshop = try ExchangeWorkshop()
        let shown = try workshop.svid(for: [ExchangeWorkshop.idText("b")])
        let issued = try workshop.exchange(
            shown,
            by: "b",
            for: "ledger",
            policies: Self.usual()
        )
        let token = Array(issued.token.utf8)
        let verifier = workshop.verifier
        #expect(throws: JWTSVIDError.typeUnknown) {
            try verifier.verify(token: token, audience: "ledger", now: Workshop.now)
        }
        #expect(throws: DelegatedTokenError.typeNotAccessToken) {
            try verifier.verifyDelegated(
                token: shown,
                audience: ExchangeWorkshop.idText("b"),
                now: Workshop.now
            )
        }
        let verified = try verifier.verifyDelegated(
            token: token,
            audience: "ledger",
            now: Workshop.now
        )
        #expect(verified.signingInputSHA256 == issued.prepared.signingInputSHA256)
    }

    @Test func `a chain grows by who was shown the token`() throws {
        let workshop = try ExchangeWorkshop()
        let c = ExchangeWorkshop.idText("c")
        let policies = [
            try ExchangeWorkshop.policy(named: "first", ["a"], ["b"], [c]),
            try ExchangeWorkshop.policy(named: "second", ["a"], ["c"], ["ledger"], version: 7),
        ]
        let shown = try workshop.svid(for: [ExchangeWorkshop.idText("b")])
        let first = try workshop.exchange(shown, by: "b", for: c, policies: policies)
        let second = try workshop.exchange(
            Array(first.token.utf8),
            by: "c",
            for: "ledger",
            policies: policies
        )
        let delegation = try #require(second.prepared.delegation)
        #expect(delegation.chain.subject == (try ExchangeWorkshop.id("a")))
        #expect(delegation.chain.actors.map(\.path) == ["/b", "/c"])
        #expect(delegation.subjectTokenID == first.prepared.tokenID)
        #expect(delegation.subjectTokenSHA256 == first.prepared.signingInputSHA256)
        #expect(
            delegation.hops.map(\.policy.description)
                == ["default/first version 1", "default/second version 7"]
        )
        let subject = try SubjectToken(
            verifying: Array(first.token.utf8),
            shownTo: ExchangeWorkshop.id("c"),
            by: workshop.verifier,
            now: Workshop.now
        )
        #expect(subject.parties.map(\.path) == ["/a", "/b"])
    }

    @Test func `the longest token stays below 6 KiB, whatever the key`() throws {
        let issuerName = String(repeating: "\"", count: DelegationClaims.issuerBytesMax)
        let workshop = try ExchangeWorkshop(delegatedIssuer: issuerName)
        let audience = String(repeating: "\"", count: TokenAudiences.bytesMax)
        // Five IDs, the last written twice, which fill what a chain may have.
        let room = DelegationChain.bytesMax - 22 - 5 * 21
        let paths = ["a", "b", "c", "d", "e"].enumerated().map { index, letter in
            String(repeating: letter, count: index == 0 ? room - 5 * 64 : 64)
        }
        var token = try workshop.svid(of: paths[0], for: [ExchangeWorkshop.idText(paths[1])])
        for (index, path) in paths.enumerated().dropFirst() {
            let next =
                index + 1 < paths.count ? ExchangeWorkshop.idText(paths[index + 1]) : audience
            let policies = try paths.indices.dropFirst().map {
                try ExchangeWorkshop.policy(
                    [paths[0]],
                    [paths[$0]],
                    [$0 == index ? next : ExchangeWorkshop.idText(paths[min($0 + 1, 4)])]
                )
            }
            let issued = try workshop.exchange(token, by: path, for: next, policies: policies)
            token = Array(issued.token.utf8)
        }
        let verified = try workshop.verifier.verifyDelegated(
            token: token,
            audience: audience,
            now: Workshop.now
        )
        #expect(verified.chain.actors.count == DelegationChain.actorsMax)
        // An RSA-4096 signature is 512 bytes long, this one 64.
        #expect(token.count + (512 - 64) * 4 / 3 + 1 <= DelegationClaims.tokenBytesMax)
    }

    // MARK: - What may be exchanged

    @Test func `only who was shown the token exchanges it`() throws {
        let workshop = try ExchangeWorkshop()
        let policies = try Self.usual()
        for audiences in [
            [ExchangeWorkshop.idText("c")], ["b"], [ExchangeWorkshop.idText("b/")],
            [ExchangeWorkshop.idText("b"), "ledger"], ["ledger", ExchangeWorkshop.idText("b")],
        ] {
            let token = try workshop.svid(for: audiences)
            #expect(
                try workshop.refusal(token, by: "b", policies: policies) == .subjectTokenAudience,
                "\(audiences)"
            )
        }
        let good = try workshop.svid(for: [ExchangeWorkshop.idText("b")])
        #expect(try workshop.refusal(good, by: "b", policies: policies) == nil)
        #expect(
            try workshop.refusal(good, by: "c", policies: policies) == .subjectTokenAudience
        )
        // What was made of it is for the ledger.
        let made = try workshop.exchange(good, by: "b", for: "ledger", policies: policies)
        for actor in ["b", "c"] {
            #expect(
                try workshop.refusal(Array(made.token.utf8), by: actor) == .subjectTokenAudience
            )
        }
    }

    @Test func `a subject token has a jti, an iat that is past, and our signature`() throws {
        let workshop = try ExchangeWorkshop()
        let b = #""aud":"spiffe://example.org/b","exp":1900000300,"sub":"spiffe://example.org/a""#
        let cases: [(String, SubjectTokenFault?)] = [
            (#""iat":1900000000,"jti":"x""#, nil),
            (#""iat":1900000000"#, .tokenIDMalformed),
            (#""iat":1900000000,"jti":"""#, .tokenIDMalformed),
            (#""jti":"x""#, .issuedAtMissing),
            (#""iat":1900000001,"jti":"x""#, .issuedAhead),
            (#""iat":1900000000,"jti":"x","nbf":1900000001"#, .svid(.notYetValid)),
        ]
        for (claims, fault) in cases {
            let token = try workshop.signed("\(b),\(claims)")
            #expect(
                try workshop.refusal(token, by: "b", policies: Self.usual())
                    == fault.map { .subjectTokenRefused($0) },
                "\(claims)"
            )
        }
        let foreign = try workshop.signed("\(b),\(cases[0].0)", keyNumber: 2)
        #expect(
            try workshop.refusal(foreign, by: "b")
                == .subjectTokenRefused(.svid(.signatureDoesNotVerify))
        )
        #expect(
            try workshop.refusal(Array("x".utf8), by: "b")
                == .subjectTokenRefused(.svid(.malformed(.notCompact)))
        )
        // A chain by the type of a JWT-SVID is neither.
        let mixed = try workshop.signed("\(b),\(cases[0].0)", type: "at+jwt")
        #expect(
            try workshop.refusal(mixed, by: "b")
                == .subjectTokenRefused(.delegated(.claims(.subjectNotDelegated)))
        )
    }

    @Test func `a chain that is shown has one audience and is not ahead`() throws {
        let workshop = try ExchangeWorkshop()
        let rest = #"""
            "act":{"sub":"spiffe://example.org/b"},"client_id":"spiffe://example.org/b",\#
            "exp":1900000300,"iss":"i","jti":"x","sub":"delegated:example.org/a"
            """#
        let c = #""aud":"spiffe://example.org/c""#
        let both = #""aud":["spiffe://example.org/c","x"]"#
        let cases: [(String, ExchangeRefusal)] = [
            ("\(both),\"iat\":1900000000", .subjectTokenAudience),
            ("\(c),\"iat\":1900000001", .subjectTokenRefused(.issuedAhead)),
            (c, .subjectTokenRefused(.delegated(.claims(.issuedAtMissing)))),
        ]
        for (claims, refusal) in cases {
            let token = try workshop.signed("\(rest),\(claims)", type: "at+jwt")
            #expect(try workshop.refusal(token, by: "c") == refusal, "\(claims)")
        }
    }

    @Test func `a subject token is valid without leeway`() throws {
        let workshop = try ExchangeWorkshop()
        let token = try workshop.svid(for: [ExchangeWorkshop.idText("b")], lifetimeSeconds: 60)
        let policies = try Self.usual()
        func refusal(_ seconds: Double) throws -> ExchangeRefusal? {
            try workshop.refusal(
                token,
                by: "b",
                policies: policies,
                now: Workshop.now.addingTimeInterval(seconds)
            )
        }
        #expect(try refusal(45) == nil)
        #expect(try refusal(46) == .subjectTokenEnds)
        #expect(try refusal(59) == .subjectTokenEnds)
        #expect(try refusal(60) == .subjectTokenRefused(.svid(.expired)))
        #expect(
            try refusal(-1) == .subjectTokenRefused(.issuedAhead)
        )
    }

    @Test func `nobody acts for himself, twice, or as what is Signet's own`() throws {
        let workshop = try ExchangeWorkshop()
        let own = try workshop.svid(for: [ExchangeWorkshop.idText("a")])
        #expect(try workshop.refusal(own, by: "a") == .chainRefused(.actorRepeated))
        let policies = [
            try ExchangeWorkshop.policy(
                ["a"],
                ["b", "c"],
                [ExchangeWorkshop.idText("b"), ExchangeWorkshop.idText("c")]
            )
        ]
        var token = try workshop.svid(for: [ExchangeWorkshop.idText("b")])
        for (actor, next) in [("b", "c"), ("c", "b")] {
            let audience = ExchangeWorkshop.idText(next)
            let issued = try workshop.exchange(token, by: actor, for: audience, policies: policies)
            token = Array(issued.token.utf8)
        }
        #expect(
            try workshop.refusal(token, by: "b", policies: policies)
                == .chainRefused(.actorRepeated)
        )
        let times = #""exp":1900000300,"iat":1900000000,"jti":"x""#
        let agent = try workshop.signed(
            #"\#(times),"aud":"spiffe://example.org/b","sub":"spiffe://example.org/signet/agent/n""#
        )
        #expect(try workshop.refusal(agent, by: "b") == .chainRefused(.idReserved))
    }

    // MARK: - Who may

    @Test func `what no policy permits is refused with the hop`() throws {
        let workshop = try ExchangeWorkshop()
        let token = try workshop.svid(for: [ExchangeWorkshop.idText("b")])
        let hop = DelegationHop(
            subject: try ExchangeWorkshop.id("a"),
            actor: try ExchangeWorkshop.id("b"),
            audience: "ledger"
        )
        let refused = ExchangeRefusal.delegationNotPermitted(hop, isLast: true)
        #expect(try workshop.refusal(token, by: "b") == refused)
        for policy in [
            try ExchangeWorkshop.policy(["b"], ["b"], ["ledger"]),
            try ExchangeWorkshop.policy(["a"], ["a"], ["ledger"]),
            try ExchangeWorkshop.policy(["a"], ["b"], ["Ledger", "ledger/", "*"]),
            try ExchangeWorkshop.policy(["a/x"], ["b"], ["ledger"]),
        ] {
            #expect(try workshop.refusal(token, by: "b", policies: [policy]) == refused)
        }
        // Halves of two policies are none.
        let halves = [
            try ExchangeWorkshop.policy(named: "1", ["a"], ["b"], ["x"]),
            try ExchangeWorkshop.policy(named: "2", ["c"], ["b"], ["ledger"]),
        ]
        #expect(try workshop.refusal(token, by: "b", policies: halves) == refused)
        #expect(try workshop.refusal(token, by: "b", policies: halves + Self.usual()) == nil)
    }

    @Test func `a chain ends with the policy of each of its hops`() throws {
        let workshop = try ExchangeWorkshop()
        let c = ExchangeWorkshop.idText("c")
        let first = try ExchangeWorkshop.policy(named: "1", ["a"], ["b"], [c])
        let second = try ExchangeWorkshop.policy(named: "2", ["a"], ["c"], ["ledger"])
        let shown = try workshop.svid(for: [ExchangeWorkshop.idText("b")])
        let issued = try workshop.exchange(shown, by: "b", for: c, policies: [first])
        let token = Array(issued.token.utf8)
        func hop(_ actor: String, _ audience: String) throws -> DelegationHop {
            DelegationHop(
                subject: try ExchangeWorkshop.id("a"),
                actor: try ExchangeWorkshop.id(actor),
                audience: audience
            )
        }
        #expect(try workshop.refusal(token, by: "c", policies: [first, second]) == nil)
        #expect(
            try workshop.refusal(token, by: "c", policies: [second])
                == .delegationNotPermitted(hop("b", c), isLast: false)
        )
        #expect(
            try workshop.refusal(token, by: "c", policies: [first])
                == .delegationNotPermitted(hop("c", "ledger"), isLast: true)
        )
    }

    @Test func `a policy that ends too soon permits nothing`() throws {
        let workshop = try ExchangeWorkshop()
        let token = try workshop.svid(for: [ExchangeWorkshop.idText("b")])
        for (seconds, isPermitted) in [(-1.0, false), (0, false), (14, false), (15, true)] {
            let policy = try ExchangeWorkshop.policy(
                ["a"],
                ["b"],
                ["ledger"],
                expires: Workshop.now.addingTimeInterval(seconds)
            )
            let refusal = try workshop.refusal(token, by: "b", policies: [policy])
            #expect((refusal == nil) == isPermitted, "\(seconds)")
        }
    }

    @Test func `of several policies the one counts that permits longest`() throws {
        let workshop = try ExchangeWorkshop()
        let token = try workshop.svid(for: [ExchangeWorkshop.idText("b")])
        func policy(_ name: String, _ seconds: Double?) throws -> DelegationPolicy {
            try ExchangeWorkshop.policy(
                named: name,
                ["a"],
                ["b"],
                ["ledger"],
                expires: seconds.map { Workshop.now.addingTimeInterval($0) }
            )
        }
        let cases: [([DelegationPolicy], String, Double)] = [
            ([try policy("x", 60), try policy("y", 90)], "y", 90),
            ([try policy("x", 90), try policy("y", 60)], "x", 90),
            ([try policy("x", 90), try policy("y", nil)], "y", 300),
            ([try policy("y", nil), try policy("x", nil)], "x", 300),
        ]
        for (policies, name, seconds) in cases {
            let issued = try workshop.exchange(
                token,
                by: "b",
                for: "ledger",
                policies: policies
            )
            #expect(issued.prepared.delegation?.hops.map(\.policy.name) == [name])
            #expect(issued.prepared.notAfter == Workshop.now.addingTimeInterval(seconds))
        }
    }

    // MARK: - The actor, the server and the end

    @Test func `it ends with the first of what it rests on`() throws {
        let policies = try Self.usual()
        func life(
            subject: Int? = nil,
            lifetime: Int? = nil,
            expires: Double? = nil,
            key: Double = 86_400
        ) throws -> Double {
            let workshop = try ExchangeWorkshop(secondsLeft: key)
            let token = try workshop.svid(
                for: [ExchangeWorkshop.idText("b")],
                lifetimeSeconds: subject
            )
            let issued = try workshop.exchange(
                token,
                by: "b",
                for: "ledger",
                policies: policies,
                entry: Workshop.entry(
                    ExchangeWorkshop.idText("b"),
                    tokenLifetimeSeconds: lifetime,
                    expires: expires.map { Workshop.now.addingTimeInterval($0) }
                )
            )
            return issued.prepared.notAfter.timeIntervalSince(Workshop.now)
        }
        #expect(try life() == 300)
        #expect(try life(subject: 3_600, lifetime: 1_800) == 1_800)
        #expect(try life(subject: 60, lifetime: 3_600) == 60)
        #expect(try life(expires: 20) == 20)
        #expect(try life(key: 25) == 25)
    }

    @Test func `who acts has to be whom his entry names`() throws {
        let workshop = try ExchangeWorkshop()
        let token = try workshop.svid(for: [ExchangeWorkshop.idText("b")])
        let other = try Workshop.entry(ExchangeWorkshop.idText("c"))
        #expect(
            try workshop.refusal(token, by: "b", policies: Self.usual(), entry: other)
                == .token(
                    .grant(.idDiffersFromEntry(resolved: ExchangeWorkshop.id("c")))
                )
        )
        let elsewhere = try Workshop.entry(
            ExchangeWorkshop.idText("b"),
            nodeSelectors: ["role:db"]
        )
        #expect(
            try workshop.refusal(token, by: "b", policies: Self.usual(), entry: elsewhere)
                == .token(.grant(.nodeOutsideEntry))
        )
    }

    @Test func `a server without an issuer of its own for them exchanges nothing`() throws {
        let workshop = try ExchangeWorkshop(delegatedIssuer: nil)
        let token = try workshop.svid(for: [ExchangeWorkshop.idText("b")])
        #expect(
            try workshop.refusal(token, by: "b", policies: Self.usual()) == .exchangeOff
        )
    }

    @Test func `the issuer is a short name that JWT-SVIDs do not have`() throws {
        let bytesMax = DelegationClaims.issuerBytesMax
        let long = String(repeating: "a", count: bytesMax + 1)
        for name in ["", "a\n", long, "https://id.example.org"] {
            #expect(throws: TokenError.delegatedIssuerMalformed) {
                try ExchangeWorkshop(delegatedIssuer: name)
            }
        }
        _ = try ExchangeWorkshop(delegatedIssuer: String(repeating: "a", count: bytesMax))
    }

    @Test func `an audience is a word`() throws {
        let workshop = try ExchangeWorkshop()
        let token = try workshop.svid(for: [ExchangeWorkshop.idText("b")])
        for audience in ["", "a\nb", String(repeating: "a", count: TokenAudiences.bytesMax + 1)] {
            #expect(
                try workshop.refusal(
                    token,
                    by: "b",
                    for: audience,
                    policies: Self.usual()
                ) == .audienceMalformed
            )
        }
    }
}
