// SPDX-License-Identifier: Apache-2.0

import Crypto
import FoundationEssentials
import SPIFFE
import TestPKI
import TestSeeds
import Testing

/// What somebody without a key tries.
@Suite struct JWTSVIDAttackTests {
    @Test func `no token with one byte changed is accepted`() throws {
        let token = try TestToken().signed()
        let verifier = try TestToken.usualVerifier()
        #expect(TokenVerdict.of(token, by: verifier) == (try .web()))
        for index in token.indices {
            for change in [0x01, 0x20, 0x80] as [UInt8] {
                var changed = token
                changed[index] ^= change
                guard case .refused = TokenVerdict.of(changed, by: verifier) else {
                    Issue.record("accepted with byte \(index) changed by \(change)")
                    continue
                }
            }
            guard case .refused = TokenVerdict.of(Array(token[..<index]), by: verifier) else {
                Issue.record("accepted with \(index) bytes")
                continue
            }
        }
        for surplus in [" ", "\n", "=", "A", "."] {
            guard case .refused = TokenVerdict.of(token + Array(surplus.utf8), by: verifier) else {
                Issue.record("accepted with \(surplus.debugDescription) at its end")
                continue
            }
        }
    }

    @Test func `a public key is no secret for HMAC`() throws {
        let der = Array(try TestToken.key(1).publicKey.derRepresentation)
        var token = TestToken.headed(#""alg":"HS256","kid":"k1","typ":"JWT""#)
        let code = HMAC<SHA256>.authenticationCode(
            for: Array(token.signingInput.utf8),
            using: SymmetricKey(data: der)
        )
        let verifier = try TestToken.usualVerifier()
        #expect(
            TokenVerdict.of(token.signed(with: Array(code)), by: verifier)
                == .malformed(.algorithmRefused)
        )
        // The code as a signature of an algorithm that is allowed.
        token.header = #"{"alg":"ES256","kid":"k1"}"#
        #expect(
            TokenVerdict.of(token.signed(with: Array(code)), by: verifier)
                == .refused(.signatureDoesNotVerify)
        )
    }

    @Test func `signatures of other forms verify nothing`() throws {
        let token = TestToken()
        let verifier = try TestToken.usualVerifier()
        let good = try TestToken.key(1).signature(for: Array(token.signingInput.utf8))
        let raw = Array(good.rawRepresentation)
        let zero = [UInt8](repeating: 0, count: 32)
        for signature in [
            Array(good.derRepresentation), zero + zero, Array(raw.prefix(32)) + zero,
            zero + Array(raw.suffix(32)), [0] + raw, raw + [0], Array(raw.dropLast()), [0],
        ] {
            #expect(
                TokenVerdict.of(token.signed(with: signature), by: verifier)
                    == .refused(.signatureDoesNotVerify)
            )
        }
        #expect(
            TokenVerdict.of(token.signed(with: []), by: verifier)
                == .malformed(.signatureNotBase64URL)
        )
        #expect(TokenVerdict.of(token.signed(with: raw), by: verifier) == (try .web()))
    }

    @Test func `a name that stands twice is refused wherever it stands`() throws {
        let rest = #""sub":"spiffe://example.org/web","aud":"api","exp":1900000300"#
        for token in [
            TestToken.headed(#""alg":"ES256","kid":"k1","alg":"none""#),
            TestToken.headed(#""alg":"none","kid":"k1","\u0061lg":"ES256""#),
        ] {
            let verdict = try TokenVerdict.of(token)
            guard case .refused(.malformed(.headerNotJSON(.duplicateName))) = verdict else {
                Issue.record("\(token.header)")
                continue
            }
        }
        for claims in [
            #"\#(rest),"sub":"spiffe://example.org/admin""#,
            #"\#(rest),"aud":"other""#,
            #"\#(rest),"x":{"a":[{"b":1,"b":1}]}"#,
        ] {
            let verdict = try TokenVerdict.of(.claiming(claims))
            guard case .refused(.claims(.notJSON(.duplicateName))) = verdict else {
                Issue.record("\(claims)")
                continue
            }
        }
    }

    @Test func `huge inputs are refused before they are read`() throws {
        let verifier = try TestToken.usualVerifier()
        let most = CompactJWS.bytesMax
        for byte in ["a", ".", "{", "\0"] {
            let huge = Array(String(repeating: byte, count: most + 1).utf8)
            #expect(TokenVerdict.of(huge, by: verifier) == .malformed(.tooLong))
        }
        #expect(
            try TokenVerdict.of(
                .headed(#""alg":"ES256","x":"\#(String(repeating: "a", count: 2048))""#)
            ) == .malformed(.headerTooLong)
        )
        let claims = (0..<JWTClaims.claimsMax).map { #""c\#($0)":0"# }.joined(separator: ",")
        #expect(try TokenVerdict.of(.claiming(claims + #","a":1"#)) == .claims(.claimsTooMany))
        let deep = String(repeating: "[", count: 5000)
        #expect(try TokenVerdict.of(.claiming(#""a":\#(deep)"#)) == .claims(.notJSON(.tooDeep)))
    }

    @Test func `nothing of a token is in a reason`() throws {
        let secret = "hunter2secret"
        let rest = #""sub":"spiffe://example.org/web","aud":"api","exp":1900000300"#
        for token in [
            TestToken.headed(#""alg":"\#(secret)""#),
            TestToken.headed(#""alg":"ES256","kid":"\#(secret)""#),
            TestToken.headed(#""alg":"ES256","typ":"\#(secret)""#),
            TestToken.headed(#""alg":"ES256",\#(secret)"#),
            TestToken.claiming(#""\#(secret)":1"#),
            TestToken.claiming(#""sub":"spiffe://\#(secret)/x","aud":"api","exp":1900000300"#),
            TestToken.claiming(#""sub":"\#(secret)""#),
            TestToken.claiming(#"\#(rest),"aud":"\#(secret)""#),
            TestToken.claiming(#"\#(rest),"nbf":"\#(secret)""#),
        ] {
            guard case .refused(let reason) = try TokenVerdict.of(token) else {
                Issue.record("accepted")
                continue
            }
            #expect(!"\(reason) \(String(reflecting: reason))".contains(secret))
        }
    }

    @Test func `a token that is held is not in its description`() throws {
        let svid = JWTSVID(
            id: try SPIFFEID("spiffe://example.org/web"),
            token: "hunter2secret",
            audiences: ["api"],
            issuedAt: testNow,
            notAfter: testNow,
            hint: "",
            entryID: "entry-1"
        )
        var dumped = ""
        dump(svid, to: &dumped)
        #expect(!"\(svid) \(String(reflecting: svid)) \(dumped)".contains("hunter2"))
    }

    @Test(arguments: [1, 2, 3] as [UInt64])
    func `random edits of header and claims are refused`(seed: UInt64) throws {
        var random = SeededGenerator(seed: seed)
        let verifier = try TestToken.usualVerifier()
        let signature = Array(
            try TestToken.key(1).signature(for: Array(TestToken().signingInput.utf8))
                .rawRepresentation
        )
        for _ in 0..<300 {
            var token = TestToken()
            var bytes = Array((Bool.random(using: &random) ? token.header : token.claims).utf8)
            let isHeader = bytes == Array(token.header.utf8)
            let place = Int.random(in: 0..<bytes.count, using: &random)
            switch Int.random(in: 0...2, using: &random) {
            case 0: bytes[place] = UInt8.random(in: 0x20...0x7E, using: &random)
            case 1: bytes.remove(at: place)
            default: bytes.insert(UInt8.random(in: 0x20...0x7E, using: &random), at: place)
            }
            let edited = String(decoding: bytes, as: UTF8.self)
            if isHeader { token.header = edited } else { token.claims = edited }
            guard token.signingInput != TestToken().signingInput else { continue }
            guard case .refused = TokenVerdict.of(token.signed(with: signature), by: verifier)
            else {
                Issue.record("accepted: \(edited)")
                continue
            }
        }
    }
}

/// The SHA-256 of `bytes`.
func sha256(_ bytes: [UInt8]) -> [UInt8] {
    Array(SHA256.hash(data: bytes))
}
