// SPDX-License-Identifier: Apache-2.0

import FoundationEssentials
import SPIFFE
import TestPKI
import Testing

/// The rules of a token "A, through B" (RFC 8693 section 4.1, RFC 9068 section 2,
/// docs/decisions/0024-token-exchange.md).
@Suite struct DelegatedTokenTests {
    private static let header = #"{"alg":"ES256","kid":"k1","typ":"at+jwt"}"#

    /// Each claim by name as JSON, in a token that is accepted for `api`.
    private static let usual: [String: String] = [
        "act": #"{"act":{"sub":"spiffe://example.org/b"},"sub":"spiffe://example.org/c"}"#,
        "aud": #"["api"]"#,
        "client_id": #""spiffe://example.org/c""#,
        "exp": "1900000300",
        "iat": "1900000000",
        "iss": #""https://id.example.org/delegated""#,
        "jti": #""t""#,
        "sub": #""delegated:example.org/a""#,
    ]

    /// The usual token with claims replaced, or left out where they are empty.
    private static func token(
        _ changes: [String: String] = [:],
        header: String = header,
        keyNumber: UInt8 = 1
    ) -> TestToken {
        let claims = usual.merging(changes) { _, new in new }.filter { !$0.value.isEmpty }
            .map { "\"\($0.key)\":\($0.value)" }.sorted().joined(separator: ",")
        return TestToken(header: header, claims: "{\(claims)}", keyNumber: keyNumber)
    }

    /// Why the usual verifier refuses a token; nil if it does not.
    private static func refusal(
        of token: TestToken,
        audience: String = "api",
        leeway: Duration = .zero,
        now: Date = testNow
    ) throws -> DelegatedTokenError? {
        let bytes = try token.signed()
        let verifier = try TestToken.usualVerifier()
        do throws(DelegatedTokenError) {
            _ = try verifier.verifyDelegated(
                token: bytes,
                audience: audience,
                leeway: leeway,
                now: now
            )
            return nil
        } catch {
            return error
        }
    }

    private static func claimsRefusal(
        _ changes: [String: String]
    ) throws -> DelegationClaimsError? {
        guard let refusal = try refusal(of: token(changes)) else { return nil }
        guard case .claims(let error) = refusal else {
            Issue.record("refused by \(refusal)")
            return nil
        }
        return error
    }

    @Test func `a token says whose request it is and through whom it came`() throws {
        let bytes = try Self.token().signed()
        let verified = try TestToken.usualVerifier().verifyDelegated(
            token: bytes,
            audience: "api",
            now: testNow
        )
        #expect(verified.chain == (try DelegationChainTests.chain("a", "b", "c")))
        #expect(verified.claims.issuer == "https://id.example.org/delegated")
        #expect(verified.claims.tokenID == "t" && verified.keyID == "k1")
        #expect(verified.claims.issuedAt == testNow)
        #expect(verified.claims.expiresAt == testNow.addingTimeInterval(300))
        #expect(verified.tokenSHA256 != verified.signingInputSHA256)
    }

    @Test(arguments: [
        #""JWT""#, #""JOSE""#, #""AT+JWT""#, #""at+jwt ""#, #""application/at+jwt""#, "\"\"",
    ])
    func `typ is at+jwt and nothing else`(type: String) throws {
        let token = Self.token(header: #"{"alg":"ES256","kid":"k1","typ":\#(type)}"#)
        #expect(try Self.refusal(of: token) == .typeNotAccessToken)
        let bare = Self.token(header: #"{"alg":"ES256","kid":"k1"}"#)
        #expect(try Self.refusal(of: bare) == .typeNotAccessToken)
    }

    @Test func `a JWT-SVID is none of them, and none of them is a JWT-SVID`() throws {
        #expect(try Self.refusal(of: TestToken()) == .typeNotAccessToken)
        // By the subject alone too.
        let subject = ["sub": #""spiffe://example.org/a""#]
        #expect(try Self.claimsRefusal(subject) == .subjectNotDelegated)
        #expect(try TokenVerdict.of(Self.token()) == .refused(.typeUnknown))
        for type in [#","typ":"JWT""#, #","typ":"JOSE""#, ""] {
            let token = Self.token(header: #"{"alg":"ES256","kid":"k1"\#(type)}"#)
            #expect(
                try TokenVerdict.of(token) == .claims(.subjectNotSPIFFEID(.schemeNotSPIFFE))
            )
        }
    }

    @Test func `sub is the ID behind its own word`() throws {
        let cases: [(String, DelegationClaimsError)] = [
            ("", .subjectMissing), ("7", .subjectMissing),
            (#""example.org/a""#, .subjectNotDelegated),
            (#""Delegated:example.org/a""#, .subjectNotDelegated),
            (#""delegated:spiffe://example.org/a""#, .subjectMalformed(.trustDomainHasPort)),
            (#""delegated:""#, .subjectMalformed(.trustDomainEmpty)),
            (#""delegated:example.org""#, .chain(.idWithoutPath)),
            (#""delegated:example.org/signet/agent/n""#, .chain(.idReserved)),
            (#""delegated:example.org/b""#, .chain(.actorRepeated)),
            (#""delegated:other.example/a""#, .chain(.trustDomainDiffers)),
        ]
        for (subject, error) in cases {
            #expect(try Self.claimsRefusal(["sub": subject]) == error, "\(subject)")
        }
    }

    @Test func `act is of sub and act alone`() throws {
        let b = #""sub":"spiffe://example.org/b""#
        let cases: [(String, DelegationClaimsError)] = [
            ("", .actorMissing), ("null", .actorNotNamed), ("[]", .actorNotNamed),
            (#""spiffe://example.org/c""#, .actorNotNamed), ("{}", .actorNotNamed),
            (#"{"act":{\#(b)}}"#, .actorNotNamed),
            (#"{"sub":["spiffe://example.org/c"]}"#, .actorNotNamed),
            (#"{\#(b),"iss":"https://example.org"}"#, .actorHasOtherClaims),
            (#"{\#(b),"act":{"sub":"spiffe://example.org/c","x":1}}"#, .actorHasOtherClaims),
            (#"{\#(b),"act":null}"#, .actorNotNamed),
            (#"{"sub":"delegated:example.org/b"}"#, .actorNotSPIFFEID(.schemeNotSPIFFE)),
            (#"{\#(b),"act":{\#(b)}}"#, .chain(.actorRepeated)),
        ]
        for (act, error) in cases {
            #expect(try Self.claimsRefusal(["act": act]) == error, "\(act)")
        }
    }

    @Test func `a chain that is read has at most four actors, whatever stands deeper`() throws {
        func act(_ paths: [String], inside: String = "") -> String {
            paths.reduce(inside) { inner, path in
                let act = inner.isEmpty ? "" : "\"act\":\(inner),"
                return #"{\#(act)"sub":"spiffe://example.org/\#(path)"}"#
            }
        }
        let client = ["client_id": #""spiffe://example.org/e""#]
        let four = client.merging(["act": act(["b", "c", "d", "e"])]) { _, new in new }
        #expect(try Self.refusal(of: Self.token(four)) == nil)
        for inside in [act(["f"]), "7", "{}"] {
            let deep = act(["b", "c", "d", "e"], inside: inside)
            let five = client.merging(["act": deep]) { _, new in new }
            #expect(try Self.claimsRefusal(five) == .chain(.tooManyActors), "\(inside)")
        }
    }

    @Test func `client_id is who acts now`() throws {
        for client in ["", "7", #""spiffe://example.org/b""#, #""delegated:example.org/a""#] {
            #expect(try Self.claimsRefusal(["client_id": client]) == .clientIsNotActor, "\(client)")
        }
    }

    @Test func `aud is one name and the verifier's own`() throws {
        #expect(try Self.refusal(of: Self.token(["aud": #""api""#])) == nil)
        let cases: [(String, DelegationClaimsError)] = [
            (#"["api","b"]"#, .audiencesTooMany), (#"["api","api"]"#, .audiencesTooMany),
            ("", .claims(.audienceMissing)), ("[]", .claims(.audienceMissing)),
            ("[7]", .claims(.audienceNotText)), ("\"\"", .claims(.audienceEmpty)),
        ]
        for (audience, error) in cases {
            #expect(try Self.claimsRefusal(["aud": audience]) == error, "\(audience)")
        }
        for audience in ["API", "api/", "ap", "spiffe://example.org/c"] {
            #expect(
                try Self.refusal(of: Self.token(), audience: audience)
                    == .token(.audienceDiffers)
            )
        }
        #expect(try Self.refusal(of: Self.token(), audience: "") == .token(.audienceNotGiven))
    }

    @Test func `iat, jti, iss and exp are there`() throws {
        let long = "\"" + String(repeating: "a", count: DelegationClaims.tokenIDBytesMax + 1) + "\""
        let url = "\"" + String(repeating: "a", count: DelegationClaims.issuerBytesMax + 1) + "\""
        let cases: [(String, String, DelegationClaimsError)] = [
            ("iat", "", .issuedAtMissing), ("iat", "\"1\"", .claims(.timeMalformed("iat"))),
            ("exp", "", .claims(.expiryMissing)), ("nbf", "-1", .claims(.timeMalformed("nbf"))),
            ("jti", "", .tokenIDMalformed), ("jti", "\"\"", .tokenIDMalformed),
            ("jti", "7", .tokenIDMalformed), ("jti", long, .tokenIDMalformed),
            ("iss", "", .issuerMalformed), ("iss", "[]", .issuerMalformed),
            ("iss", url, .issuerMalformed),
        ]
        for (name, value, error) in cases {
            #expect(try Self.claimsRefusal([name: value]) == error, "\(name) \(value)")
        }
    }

    @Test func `times are judged as those of JWT-SVIDs`() throws {
        let token = Self.token(["nbf": "1900000000"])
        func refusal(_ seconds: Double, _ leeway: Int = 0) throws -> DelegatedTokenError? {
            try Self.refusal(
                of: token,
                leeway: .seconds(leeway),
                now: testNow.addingTimeInterval(seconds)
            )
        }
        #expect(try refusal(299.9) == nil)
        #expect(try refusal(300) == .token(.expired))
        #expect(try refusal(309.9, 10) == nil)
        #expect(try refusal(360, 3_600) == .token(.expired))
        #expect(try refusal(-0.1) == .token(.notYetValid))
        #expect(try refusal(.nan) == .token(.clockUnusable))
    }

    @Test func `the key is one of the subject's trust domain`() throws {
        #expect(
            try Self.refusal(of: Self.token(keyNumber: 2)) == .token(.signatureDoesNotVerify)
        )
        let other = Self.token(header: #"{"alg":"ES256","kid":"k7","typ":"at+jwt"}"#)
        #expect(try Self.refusal(of: other) == .token(.keyUnknown))
        // Our IDs by a foreign key, which has the same name there.
        #expect(
            try Self.refusal(of: Self.token(keyNumber: 9)) == .token(.signatureDoesNotVerify)
        )
        let unknown = Self.usual.mapValues { $0.replacing("example.org/", with: "x/") }
        #expect(try Self.refusal(of: Self.token(unknown)) == .token(.trustDomainUnknown))
    }

    @Test func `a token is at most 6 KiB long`() throws {
        func token(_ count: Int) throws -> (TestToken, Int) {
            let token = Self.token(["x": "\"" + String(repeating: "x", count: count) + "\""])
            return (token, try token.signed().count)
        }
        let (_, bare) = try token(0)
        let room = DelegationClaims.tokenBytesMax - bare
        let (most, bytes) = try token(room * 3 / 4)
        #expect(bytes <= DelegationClaims.tokenBytesMax)
        #expect(try Self.refusal(of: most) == nil)
        #expect(try Self.refusal(of: token(room * 3 / 4 + 4).0) == .tooLong)
    }

    @Test func `no token with one byte changed is accepted`() throws {
        let token = try Self.token().signed()
        let verifier = try TestToken.usualVerifier()
        func isAccepted(_ token: [UInt8]) -> Bool {
            let verified = try? verifier.verifyDelegated(
                token: token,
                audience: "api",
                now: testNow
            )
            return verified != nil
        }
        #expect(isAccepted(token))
        for index in token.indices {
            var changed = token
            changed[index] ^= 0x01
            #expect(!isAccepted(changed), "byte \(index)")
        }
    }
}
