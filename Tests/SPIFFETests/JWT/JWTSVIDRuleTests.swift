// SPDX-License-Identifier: Apache-2.0

import Crypto
import FoundationEssentials
import SPIFFE
import TestPKI
import Testing

/// The rules of JWT-SVID by row of docs/conformance.md.
@Suite struct JWTSVIDRuleTests {
    @Test func `J-1 only compact serialization is read`() throws {
        let token = String(decoding: try TestToken().signed(), as: UTF8.self)
        let parts = token.split(separator: ".")
        let verifier = try TestToken.usualVerifier()
        let flattened = """
            {"protected":"\(parts[0])","payload":"\(parts[1])","signature":"\(parts[2])"}
            """
        let general = """
            {"payload":"\(parts[1])","signatures":[{"protected":"\(parts[0])",\
            "signature":"\(parts[2])"}]}
            """
        for text in [flattened, general, "", ".", "a.b", token + ".", token + ".x", "." + token] {
            #expect(
                TokenVerdict.of(Array(text.utf8), by: verifier) == .malformed(.notCompact),
                "\(text.prefix(20))"
            )
        }
        #expect(try TokenVerdict.of(TestToken()) == .web())
    }

    @Test func `J-2 the nine algorithms verify, each with its own key`() throws {
        let document = try BundleDocument(parsing: Array(JWTVectors.keySet.utf8))
        let verifier = TestToken.verifier(
            document.bundle(of: try TrustDomain("example.org"))
        )
        #expect(document.jwtAuthorities.count == 4)
        #expect(JWTVectors.tokens.count == JWSAlgorithm.allCases.count)
        var seen: Set<JWSAlgorithm> = []
        for token in JWTVectors.tokens.map({ Array($0.utf8) }) {
            seen.insert(try CompactJWS(parsing: token).algorithm)
            #expect(TokenVerdict.of(token, by: verifier) == (try .web()))
        }
        #expect(seen.count == 9)
        // RFC 7518 section 3.5: the salt is as long as the digest.
        #expect(
            TokenVerdict.of(Array(JWTVectors.ps256LongSalt.utf8), by: verifier)
                == .refused(.signatureDoesNotVerify)
        )
    }

    @Test(arguments: [
        #""none""#, #""None""#, #""HS256""#, #""HS384""#, #""HS512""#, #""EdDSA""#, #""ES256K""#,
        #""es256""#, #""ES256 ""#, #""RS1""#, #""RSA-OAEP""#, "\"\"", "256", "null", #"["ES256"]"#,
    ])
    func `J-2 any other algorithm is refused before anything else`(name: String) throws {
        let token = TestToken.headed(#""alg":\#(name),"crit":["x"],"typ":7"#)
        #expect(try TokenVerdict.of(token) == .malformed(.algorithmRefused))
        // Without a signature as well, and with nothing in the payload.
        let bare = "\(Base64Form.url.text(Array(token.header.utf8)))..".utf8
        #expect(
            TokenVerdict.of(Array(bare), by: try TestToken.usualVerifier())
                == .malformed(.algorithmRefused)
        )
    }

    @Test func `J-2 the algorithm has to fit the key`() throws {
        for name in ["ES384", "ES512", "RS256", "PS256"] {
            let token = TestToken.headed(#""alg":"\#(name)","kid":"k1""#)
            #expect(try TokenVerdict.of(token) == .refused(.algorithmDoesNotFitKey))
        }
        #expect(
            try TokenVerdict.of(.headed(#""kid":"k1""#)) == .malformed(.algorithmMissing)
        )
        // A bundle that allows a key one algorithm allows it no other.
        let rsa = try #require(
            BundleDocument(parsing: Array(JWTVectors.keySet.utf8)).jwtAuthorities.last
        )
        let bound = JWTAuthority(keyID: rsa.keyID, key: rsa.key, algorithm: .ps256)
        let verifier = TestToken.verifier(try TestToken.bundle([bound], of: "example.org"))
        #expect(TokenVerdict.of(Array(JWTVectors.ps256.utf8), by: verifier) == (try .web()))
        #expect(
            TokenVerdict.of(Array(JWTVectors.rs256.utf8), by: verifier)
                == .refused(.algorithmDoesNotFitKey)
        )
    }

    @Test func `J-3 critical parameters are refused, others change nothing`() throws {
        let head = #""alg":"ES256","kid":"k1""#
        for critical in [#"["exp"]"#, #"["b64"]"#, "[]", "null", #""x""#] {
            let token = TestToken.headed(#"\#(head),"b64":true,"crit":\#(critical)"#)
            #expect(try TokenVerdict.of(token) == .malformed(.criticalHeader))
        }
        // Keys that a token brings or points at are not looked at.
        let key = try TestToken.authority(7, id: "k1").key.members
        let jwk = String(decoding: JSONValue.object(key).encoded, as: UTF8.self)
        var token = TestToken.headed(
            #"\#(head),"jku":"https://evil.example","jwk":\#(jwk),"x5c":["AA=="]"#
        )
        #expect(try TokenVerdict.of(token) == .web())
        token.keyNumber = 7
        #expect(try TokenVerdict.of(token) == .refused(.signatureDoesNotVerify))
    }

    @Test func `J-4 a token without kid is tried with every key of its trust domain`() throws {
        for number in [1, 2] as [UInt8] {
            var token = TestToken.headed(#""alg":"ES256""#)
            token.keyNumber = number
            #expect(try TokenVerdict.of(token) == .web())
        }
        var token = TestToken.headed(#""alg":"ES256""#)
        token.keyNumber = 9
        #expect(try TokenVerdict.of(token) == .refused(.signatureDoesNotVerify))
        // One that names a key is tried with that key alone.
        let cases: [(String, TokenVerdict)] = try [
            (#""k1""#, .web()),
            (#""k2""#, .refused(.signatureDoesNotVerify)),
            (#""k3""#, .refused(.keyUnknown)),
            ("\"\"", .refused(.keyUnknown)),
            ("1", .malformed(.headerNotText("kid"))),
            ("null", .malformed(.headerNotText("kid"))),
        ]
        for (kid, verdict) in cases {
            let token = TestToken.headed(#""alg":"ES256","kid":\#(kid)"#)
            #expect(try TokenVerdict.of(token) == verdict, "\(kid)")
        }
    }

    @Test func `J-5 typ is JWT or JOSE if it is set`() throws {
        let cases: [(String, TokenVerdict)] = try [
            (#""JWT""#, .web()),
            (#""JOSE""#, .web()),
            (#""jwt""#, .refused(.typeUnknown)),
            (#""JOSE+JSON""#, .refused(.typeUnknown)),
            (#""wit+jwt""#, .refused(.typeUnknown)),
            (#""at+jwt""#, .refused(.typeUnknown)),
            ("\"\"", .refused(.typeUnknown)),
            ("1", .malformed(.headerNotText("typ"))),
        ]
        for (type, verdict) in cases {
            let token = TestToken.headed(#""alg":"ES256","kid":"k1","typ":\#(type)"#)
            #expect(try TokenVerdict.of(token) == verdict, "\(type)")
        }
        #expect(try TokenVerdict.of(.headed(#""alg":"ES256","kid":"k1""#)) == .web())
    }

    @Test func `J-6 sub is the SPIFFE ID of a workload`() throws {
        let rest = #""aud":"api","exp":1900000300"#
        let cases: [(String, JWTClaimsError)] = [
            (#""https://example.org/web""#, .subjectNotSPIFFEID(.schemeNotSPIFFE)),
            (#""spiffe://example.org/a/../b""#, .subjectNotSPIFFEID(.pathDotSegment)),
            (#""spiffe://EXAMPLE.org/a""#, .subjectNotSPIFFEID(.trustDomainCharacter(0x45))),
            (#""spiffe://example.org/web\u0000""#, .subjectNotSPIFFEID(.pathCharacter(0))),
            (#""spiffe://example.org""#, .subjectHasNoPath),
            ("\"\"", .subjectNotSPIFFEID(.schemeNotSPIFFE)),
            (#"["spiffe://example.org/web"]"#, .subjectMissing),
            ("null", .subjectMissing),
        ]
        for (subject, error) in cases {
            let token = TestToken.claiming(#""sub":\#(subject),\#(rest)"#)
            #expect(try TokenVerdict.of(token) == .claims(error), "\(subject)")
        }
        #expect(try TokenVerdict.of(.claiming(rest)) == .claims(.subjectMissing))
        let longest = "spiffe://example.org/" + String(repeating: "a", count: 2048 - 21)
        let token = TestToken.claiming(#""sub":"\#(longest)",\#(rest)"#)
        #expect(try TokenVerdict.of(token) == .accepted(SPIFFEID(longest)))
    }

    @Test func `J-7 aud is there and holds the verifier's own value`() throws {
        let rest = #""sub":"spiffe://example.org/web","exp":1900000300"#
        let many = String(repeating: #""api","#, count: JWTClaims.audiencesMax)
        let cases: [(String, TokenVerdict)] = try [
            (#""api""#, .web()),
            (#"["api"]"#, .web()),
            (#"["x","api","y"]"#, .web()),
            (#""\u0061pi""#, .web()),
            (#""API""#, .refused(.audienceDiffers)),
            (#""api/""#, .refused(.audienceDiffers)),
            (#""api ""#, .refused(.audienceDiffers)),
            (#"["x"]"#, .refused(.audienceDiffers)),
            ("[]", .claims(.audienceMissing)),
            ("\"\"", .claims(.audienceEmpty)),
            (#"["api",""]"#, .claims(.audienceEmpty)),
            (#"["api",1]"#, .claims(.audienceNotText)),
            (#"{"api":1}"#, .claims(.audienceNotText)),
            ("null", .claims(.audienceNotText)),
            ("[\(many)\"api\"]", .claims(.audiencesTooMany)),
        ]
        for (audience, verdict) in cases {
            let token = TestToken.claiming(#"\#(rest),"aud":\#(audience)"#)
            #expect(try TokenVerdict.of(token) == verdict, "\(audience.prefix(40))")
        }
        #expect(try TokenVerdict.of(.claiming(rest)) == .claims(.audienceMissing))
        #expect(try TokenVerdict.of(TestToken(), audience: "") == .refused(.audienceNotGiven))
    }

    @Test func `J-7 audiences that Unicode calls equal are not the same`() throws {
        // U+212A, the sign for kelvin, is "K" in the eyes of Unicode.
        let kelvin = TestToken.claiming(
            #""sub":"spiffe://example.org/web","exp":1900000300,"aud":"\u212a""#
        )
        #expect(try TokenVerdict.of(kelvin, audience: "K") == .refused(.audienceDiffers))
        #expect(try TokenVerdict.of(kelvin, audience: "\u{212A}") == .web())
    }

    @Test func `J-8 exp is there and not past`() throws {
        let rest = #""sub":"spiffe://example.org/web","aud":"api""#
        let cases: [(String, TokenVerdict)] = try [
            ("1900000001", .web()),
            ("1900000000.5", .web()),
            ("1.9000003e9", .web()),
            ("253402300799", .web()),
            ("1900000000", .refused(.expired)),
            ("1899999999.999", .refused(.expired)),
            ("0", .refused(.expired)),
            ("-1", .claims(.timeMalformed("exp"))),
            ("1900000300000", .claims(.timeMalformed("exp"))),
            ("1e999", .claims(.timeMalformed("exp"))),
            (#""1900000300""#, .claims(.timeMalformed("exp"))),
            ("null", .claims(.timeMalformed("exp"))),
        ]
        for (expiry, verdict) in cases {
            let token = TestToken.claiming(#"\#(rest),"exp":\#(expiry)"#)
            #expect(try TokenVerdict.of(token) == verdict, "\(expiry)")
        }
        #expect(try TokenVerdict.of(.claiming(rest)) == .claims(.expiryMissing))
    }

    @Test func `J-8 the leeway is small whatever the caller asks for`() throws {
        let end = testNow.addingTimeInterval(300)
        func verdict(_ late: Double, _ leeway: Duration) throws -> TokenVerdict {
            try .of(TestToken(), leeway: leeway, now: end.addingTimeInterval(late))
        }
        #expect(try verdict(9, .seconds(10)) == .web())
        #expect(try verdict(10, .seconds(10)) == .refused(.expired))
        #expect(try verdict(59, .seconds(86_400)) == .web())
        #expect(try verdict(60, .seconds(86_400)) == .refused(.expired))
        #expect(try verdict(0, .seconds(-10)) == .refused(.expired))
        #expect(try verdict(-1, .seconds(-10)) == .web())
        for seconds in [Double.nan, .infinity, -.infinity] {
            let now = Date(timeIntervalSince1970: seconds)
            #expect(try TokenVerdict.of(TestToken(), now: now) == .refused(.clockUnusable))
        }
    }

    @Test func `J-9 nbf is honoured`() throws {
        let rest = #""sub":"spiffe://example.org/web","aud":"api","exp":1900000300"#
        let cases: [(String, TokenVerdict)] = try [
            ("1900000000", .web()),
            ("1900000005", .refused(.notYetValid)),
            (#""x""#, .claims(.timeMalformed("nbf"))),
        ]
        for (notBefore, verdict) in cases {
            let token = TestToken.claiming(#"\#(rest),"nbf":\#(notBefore)"#)
            #expect(try TokenVerdict.of(token) == verdict)
        }
        let late = TestToken.claiming(#"\#(rest),"nbf":1900000005"#)
        #expect(try TokenVerdict.of(late, leeway: .seconds(5)) == .web())
        #expect(try TokenVerdict.of(late, leeway: .seconds(4)) == .refused(.notYetValid))
    }

    @Test func `J-11 only the bundle of the subject's trust domain counts`() throws {
        let rest = #""aud":"api","exp":1900000300"#
        // The same key ID, and the key of the other trust domain, either way.
        var foreign = TestToken.claiming(#""sub":"spiffe://other.example/web",\#(rest)"#)
        #expect(try TokenVerdict.of(foreign) == .refused(.signatureDoesNotVerify))
        foreign.keyNumber = 9
        #expect(
            try TokenVerdict.of(foreign) == .accepted(SPIFFEID("spiffe://other.example/web"))
        )
        var own = TestToken()
        own.keyNumber = 9
        #expect(try TokenVerdict.of(own) == .refused(.signatureDoesNotVerify))
        let unknown = TestToken.claiming(#""sub":"spiffe://nobody.example/web",\#(rest)"#)
        #expect(try TokenVerdict.of(unknown) == .refused(.trustDomainUnknown))
        let empty = TestToken.verifier(try TestToken.bundle([], of: "example.org"))
        #expect(
            TokenVerdict.of(try TestToken().signed(), by: empty) == .refused(.bundleHasNoKey)
        )
    }

    @Test func `J-11 a bundle under another name is left out`() throws {
        let bundle = try TestToken.bundle(
            [TestToken.authority(1, id: "k1"), TestToken.authority(2, id: "k2")],
            of: "example.org"
        )
        let misplaced = JWTSVIDVerifier(bundles: [try TrustDomain("other.example"): bundle])
        let token = try TestToken().signed()
        #expect(TokenVerdict.of(token, by: misplaced) == .refused(.trustDomainUnknown))
    }

    @Test func `J-12 jti is allowed and twice is as good as once`() throws {
        let rest = #""sub":"spiffe://example.org/web","aud":"api","exp":1900000300"#
        let token = try TestToken.claiming(#"\#(rest),"jti":"a""#).signed()
        let verifier = try TestToken.usualVerifier()
        for _ in 0..<2 {
            let verified = try verifier.verify(token: token, audience: "api", now: testNow)
            #expect(verified.claims.tokenID == "a")
            #expect(verified.keyID == "k1")
            #expect(verified.tokenSHA256 == sha256(token))
        }
        #expect(try TokenVerdict.of(.claiming(#"\#(rest),"jti":1"#)) == .claims(.tokenIDNotText))
    }
}
