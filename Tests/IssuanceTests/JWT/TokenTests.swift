// SPDX-License-Identifier: Apache-2.0

import Crypto
import FoundationEssentials
import Issuance
import SPIFFE
import TestSeeds
import Testing

struct TokenTests {
    /// A server's side of issuing tokens with a fixed key and a fixed moment.
    struct TokenWorkshop {
        let trustDomain: TrustDomain
        let signer: MemorySigner
        let authority: TokenAuthority
        let issuer: TokenIssuer
        let node = TemplateNode(name: "web-1", selectors: [])

        init(
            keyNumber: UInt8 = 1,
            lifetimes: TokenLifetimes = .standard,
            secondsLeft: Double = 86_400,
            issuer name: String? = nil
        ) throws {
            trustDomain = try TrustDomain("example.org")
            signer = try Workshop.signer(keyNumber)
            authority = try TokenAuthority(
                subjectPublicKeyInfo: signer.subjectPublicKeyInfo,
                signatureAlgorithm: signer.signatureAlgorithm,
                notBefore: Workshop.now,
                notAfter: Workshop.now.addingTimeInterval(secondsLeft)
            )
            issuer = try TokenIssuer(
                trustDomain: trustDomain,
                lifetimes: lifetimes,
                authority: authority,
                issuer: name
            )
        }

        func approve(
            _ id: String = "spiffe://example.org/web",
            audiences: [String] = ["api"],
            lifetimeSeconds: Int? = nil,
            expires: Date? = nil,
            now: Date = Workshop.now
        ) throws -> TokenWarrant {
            try issuer.approve(
                entry: Workshop.entry(tokenLifetimeSeconds: lifetimeSeconds, expires: expires),
                claiming: SPIFFEID(id),
                audiences: TokenAudiences(audiences),
                node: TemplateNode(name: "web-1", selectors: [Selector("role:web")]),
                now: now
            )
        }

        func refusal(
            _ id: String = "spiffe://example.org/web",
            audiences: [String] = ["api"],
            lifetimeSeconds: Int? = nil,
            expires: Date? = nil,
            now: Date = Workshop.now
        ) throws -> TokenRefusal? {
            do {
                _ = try approve(
                    id,
                    audiences: audiences,
                    lifetimeSeconds: lifetimeSeconds,
                    expires: expires,
                    now: now
                )
                return nil
            } catch let refusal as TokenRefusal {
                return refusal
            }
        }

        /// How long the token of a warrant lives, in seconds.
        func life(lifetimeSeconds: Int? = nil, expires: Date? = nil) throws -> Double {
            var batch = TokenBatch(issuer: issuer)
            var generator = SeededGenerator(seed: 3)
            let prepared = try batch.prepare(
                approve(lifetimeSeconds: lifetimeSeconds, expires: expires),
                using: &generator
            )
            #expect(prepared.issuedAt == Workshop.now)
            return prepared.notAfter.timeIntervalSince(prepared.issuedAt)
        }

        func batch(_ count: Int = 1, audiences: [String] = ["api"]) throws -> TokenBatch {
            var generator = SeededGenerator(seed: 3)
            var batch = TokenBatch(issuer: issuer)
            for _ in 0..<count {
                try batch.prepare(approve(audiences: audiences), using: &generator)
            }
            return batch
        }

        func issue() throws -> IssuedToken {
            let tokens = try batch().sign(with: signer)
            return try #require(tokens.first)
        }

        var verifier: JWTSVIDVerifier {
            JWTSVIDVerifier(bundles: [
                trustDomain: TrustBundle(
                    trustDomain: trustDomain,
                    x509Authorities: [],
                    x509Intermediates: [],
                    jwtAuthorities: [authority.published],
                    sequenceNumber: 1,
                    refreshHintSeconds: 300
                )
            ])
        }
    }

    private func refusal(
        of batch: consuming TokenBatch,
        with signer: some Signer
    ) -> TokenError? {
        do throws(TokenError) {
            _ = try batch.sign(with: signer)
            return nil
        } catch {
            return error
        }
    }

    @Test func `J-3 J-6 an issued token says what was approved and nothing else`() throws {
        let workshop = try TokenWorkshop()
        let batch = try workshop.batch(audiences: ["api", "spiffe://example.org/db"])
        let tokens = try batch.sign(with: workshop.signer)
        let issued = try #require(tokens.first)
        let parts = issued.token.split(separator: ".")
        func text(_ part: Substring) throws -> String {
            String(decoding: try #require(Base64Form.url.bytes(part.utf8)), as: UTF8.self)
        }
        let keyID = workshop.authority.keyID
        #expect(try text(parts[0]) == #"{"alg":"ES256","kid":"\#(keyID)","typ":"JWT"}"#)
        #expect(
            try text(parts[1]) == """
                {"aud":["api","spiffe://example.org/db"],"exp":1900000300,"iat":1900000000,\
                "jti":"\(issued.prepared.tokenID)","sub":"spiffe://example.org/web"}
                """
        )
        #expect(Base64Form.url.bytes(parts[2].utf8)?.count == 64)
        #expect(issued.prepared.entry == EntryReference(id: "entry-1", revision: 7))
        let verified = try workshop.verifier.verify(
            token: Array(issued.token.utf8),
            audience: "api",
            now: Workshop.now
        )
        #expect(verified.id == issued.prepared.id && verified.keyID == keyID)
    }

    @Test func `the digest of a prepared token is that of what will be signed`() throws {
        let workshop = try TokenWorkshop(issuer: "https://issuer.example")
        let batch = try workshop.batch(3)
        let prepared = batch.tokens
        let issued = try batch.sign(with: workshop.signer)
        #expect(issued.map(\.prepared) == prepared)
        #expect(Set(prepared.map(\.tokenID)).count == 3)
        for token in issued {
            let end = try #require(token.token.lastIndex(of: "."))
            let input = Array(token.token[..<end].utf8)
            #expect(Array(SHA256.hash(data: input)) == token.prepared.signingInputSHA256)
            let jws = try CompactJWS(parsing: Array(token.token.utf8))
            let claims = try JWTClaims(parsing: jws.payload)
            #expect(claims.all["iss"]?.text == "https://issuer.example")
        }
    }

    @Test func `a signature is as wide as the curve, whatever it begins with`() throws {
        let workshop = try TokenWorkshop()
        var beginnings: Set<UInt8> = []
        for _ in 0..<4 {
            let batch = try workshop.batch(TokenBatch.tokensMax)
            for token in try batch.sign(with: workshop.signer) {
                let jws = try CompactJWS(parsing: Array(token.token.utf8))
                #expect(jws.signature.count == 64)
                beginnings.insert(jws.signature[0])
            }
        }
        #expect(beginnings.count > 100)
    }

    @Test func `a token ends with the shortest of default, entry, profile and key`() throws {
        let workshop = try TokenWorkshop()
        let now = Workshop.now
        #expect(try workshop.life() == 300)
        #expect(try workshop.life(lifetimeSeconds: 60) == 60)
        #expect(try workshop.life(lifetimeSeconds: 86_400) == 3600)
        #expect(try workshop.life(expires: now.addingTimeInterval(100)) == 100)
        #expect(try TokenWorkshop(secondsLeft: 90).life() == 90)
        #expect(try TokenWorkshop(secondsLeft: 15).life() == 15)
        let shorter = try TokenLifetimes(token: .seconds(60), entryMax: .seconds(120))
        #expect(try TokenWorkshop(lifetimes: shorter).life() == 60)
        #expect(try TokenWorkshop(lifetimes: shorter).life(lifetimeSeconds: 600) == 120)
        for seconds in [29, 0, -1, .min] {
            #expect(try workshop.refusal(lifetimeSeconds: seconds) == .lifetimeTooShort)
        }
        #expect(
            try workshop.refusal(expires: now.addingTimeInterval(14)) == .grant(.entryExpired)
        )
        #expect(try workshop.refusal(expires: now) == .grant(.entryExpired))
        #expect(try TokenWorkshop(secondsLeft: 14).refusal() == .authorityExpiresTooSoon)
        #expect(
            try workshop.refusal(now: now.addingTimeInterval(-1)) == .authorityNotYetValid
        )
        #expect(
            try workshop.refusal(now: Date(timeIntervalSince1970: .nan)) == .clockOutOfRange
        )
    }

    @Test func `lifetimes hold to each other`() {
        let cases: [(Duration, Duration, TokenLifetimeError)] = [
            (.seconds(29), .seconds(60), .tooShort),
            (.seconds(60), .seconds(3601), .tooLong),
            (.seconds(120), .seconds(60), .tokenExceedsMax),
            (.milliseconds(60_500), .seconds(120), .notWholeSeconds),
        ]
        for (token, entryMax, error) in cases {
            #expect(throws: error) { try TokenLifetimes(token: token, entryMax: entryMax) }
        }
        #expect(TokenLifetimes.standard.token == .seconds(300))
    }

    @Test func `the longest token that is approved is read again`() throws {
        let workshop = try TokenWorkshop(
            issuer: String(repeating: "\"", count: TokenIssuer.issuerBytesMax)
        )
        let id = "spiffe://example.org/" + String(repeating: "a", count: SPIFFEID.bytesMax - 21)
        let each = TokenAudiences.bytesOverallMax / TokenAudiences.countMax
        let audiences = (0..<TokenAudiences.countMax).map {
            "\($0)" + String(repeating: "\"", count: each - 1)
        }
        let warrant = try workshop.issuer.approve(
            entry: Workshop.entry(id),
            claiming: SPIFFEID(id),
            audiences: TokenAudiences(audiences),
            node: TemplateNode(name: "web-1", selectors: [Selector("role:web")]),
            now: Workshop.now
        )
        var generator = SeededGenerator(seed: 1)
        var batch = TokenBatch(issuer: workshop.issuer)
        try batch.prepare(warrant, using: &generator)
        let tokens = try batch.sign(with: workshop.signer)
        let issued = try #require(tokens.first)
        // An RSA-4096 signature is 512 bytes long, this one 64.
        #expect(issued.token.utf8.count + (512 - 64) * 4 / 3 + 1 <= CompactJWS.bytesMax)
        _ = try workshop.verifier.verify(
            token: Array(issued.token.utf8),
            audience: audiences[7],
            now: Workshop.now
        )
    }

    @Test func `an ID that the entry does not give is refused`() throws {
        let workshop = try TokenWorkshop()
        #expect(
            try workshop.refusal("spiffe://other.example/web") == .grant(.trustDomainDiffers)
        )
        #expect(try workshop.refusal("spiffe://example.org") == .grant(.idWithoutPath))
        #expect(
            try workshop.refusal("spiffe://example.org/signet/server/a") == .grant(.idReserved)
        )
        #expect(
            try workshop.refusal("spiffe://example.org/admin")
                == .grant(.idDiffersFromEntry(resolved: SPIFFEID("spiffe://example.org/web")))
        )
        #expect(throws: TokenRefusal.grant(.nodeOutsideEntry)) {
            _ = try workshop.issuer.approve(
                entry: Workshop.entry(),
                claiming: SPIFFEID("spiffe://example.org/web"),
                audiences: TokenAudiences(["api"]),
                node: workshop.node,
                now: Workshop.now
            )
        }
    }

    @Test func `a batch takes no more than its most`() throws {
        let workshop = try TokenWorkshop()
        var batch = try workshop.batch(TokenBatch.tokensMax)
        let warrant = try workshop.approve()
        var generator = SeededGenerator(seed: 5)
        var refusal: TokenError?
        do throws(TokenError) { try batch.prepare(warrant, using: &generator) } catch {
            refusal = error
        }
        #expect(refusal == .batchFull && batch.tokens.count == TokenBatch.tokensMax)
    }

    @Test func `a warrant of an earlier key is not prepared under the next`() throws {
        let warrant = try TokenWorkshop(keyNumber: 1).approve()
        var batch = TokenBatch(issuer: try TokenWorkshop(keyNumber: 2).issuer)
        var generator = SeededGenerator(seed: 5)
        var refusal: TokenError?
        do throws(TokenError) { try batch.prepare(warrant, using: &generator) } catch {
            refusal = error
        }
        #expect(refusal == .authorityChanged && batch.tokens.isEmpty)
    }

    @Test func `another signer, another signature and other bytes stop a batch`() throws {
        let workshop = try TokenWorkshop()
        let other = try Workshop.signer(7)
        #expect(refusal(of: try workshop.batch(), with: other) == .signerIsNotAuthority)
        let foreign = ForeignSigner(shown: workshop.signer, used: other)
        #expect(refusal(of: try workshop.batch(), with: foreign) == .signatureDoesNotVerify)
        // Every token is verified, not the first alone.
        let first = try firstInput(workshop)
        let late = LateSigner(shown: workshop.signer, used: other, sparing: first)
        #expect(refusal(of: try workshop.batch(2), with: late) == .signatureDoesNotVerify)

        let batch = try workshop.batch(2)
        let prepared = batch.tokens
        let issued = try batch.sign(with: workshop.signer)
        #expect(throws: TokenError.signedBytesDiffer) {
            try IssuedToken(
                token: Array(issued[0].token.utf8),
                prepared: prepared[1],
                authority: workshop.authority
            )
        }
        #expect(throws: TokenError.signatureDoesNotVerify) {
            try IssuedToken(
                token: Array(issued[0].token.utf8),
                prepared: prepared[0],
                authority: TokenWorkshop(keyNumber: 2).authority
            )
        }
    }

    /// What the first token of `workshop.batch` is signed over.
    private func firstInput(_ workshop: TokenWorkshop) throws -> [UInt8] {
        let token = try workshop.issue().token
        let end = try #require(token.lastIndex(of: "."))
        return Array(token[..<end].utf8)
    }

    /// A signer that uses another key for all but one input.
    private struct LateSigner: Signer {
        let shown: MemorySigner
        let used: MemorySigner
        let sparing: [UInt8]

        var subjectPublicKeyInfo: [UInt8] { shown.subjectPublicKeyInfo }
        var signatureAlgorithm: SignatureAlgorithm { shown.signatureAlgorithm }

        func signature(for bytes: [UInt8]) throws(SignerError) -> [UInt8] {
            try (bytes == sparing ? shown : used).signature(for: bytes)
        }
    }

    @Test func `a token is not in its description`() throws {
        let workshop = try TokenWorkshop()
        let issued = try workshop.issue()
        var dumped = ""
        dump(issued, to: &dumped)
        let signature = try #require(issued.token.split(separator: ".").last)
        #expect(!"\(issued) \(String(reflecting: issued)) \(dumped)".contains(signature))
    }

    @Test func `an issuer is a word`() throws {
        let workshop = try TokenWorkshop()
        for name in ["", "a\n", String(repeating: "a", count: TokenIssuer.issuerBytesMax + 1)] {
            #expect(throws: TokenError.issuerMalformed) {
                try TokenIssuer(
                    trustDomain: workshop.trustDomain,
                    lifetimes: .standard,
                    authority: workshop.authority,
                    issuer: name
                )
            }
        }
    }

    @Test func `the algorithm of a key is that of its curve`() throws {
        let p384 = P384.Signing.PrivateKey().publicKey.derRepresentation
        #expect(throws: TokenError.algorithmDoesNotFitKey) {
            try TokenAuthority(
                subjectPublicKeyInfo: Array(p384),
                signatureAlgorithm: .ecdsaWithSHA256,
                notBefore: Workshop.now,
                notAfter: Workshop.now
            )
        }
    }
}
