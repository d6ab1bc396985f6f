// SPDX-License-Identifier: Apache-2.0

internal import Crypto
internal import FoundationEssentials
internal import SPIFFE

/// A token "A, through B" that is accepted was signed, byte by byte, by the key of its trust domain,
/// and is no JWT-SVID; what is signed is accepted if its claims say so, and reads as it is written.
enum DelegatedTokenProperty {
    /// 2030-03-17 17:46:40 UTC.
    private static let now = Date(timeIntervalSince1970: 1_900_000_000)
    private static let dot = UInt8(ascii: ".")

    static func check(_ input: [UInt8]) throws(PropertyBroken) -> Bool {
        guard let workshop = Workshop.shared else {
            throw PropertyBroken("the workshop of the test cannot be made")
        }
        if let jws = try? CompactJWS(parsing: input) {
            let isAccepted = workshop.accepts(input, audience: "api")
            let isSigned = isSigned(input, by: workshop.key.publicKey)
            try expect(!isAccepted || isSigned, "accepted without the key's signature")
            try expect(
                !isAccepted || jws.type == DelegationClaims.type,
                "accepted with the type of another token"
            )
            try expect(
                !isAccepted || !workshop.acceptsAsSVID(input, audience: "api"),
                "accepted as both kinds of token"
            )
            return isAccepted
        }
        guard let claims = try? DelegationClaims(parsing: input) else { return false }
        try checkWriting(of: claims, isReadAsSVID: (try? JWTClaims(parsing: input)) != nil)
        let token = try expectSuccess("sign") {
            try workshop.token(input, type: DelegationClaims.type)
        }
        guard token.count <= DelegationClaims.tokenBytesMax else { return false }
        let audience = claims.audience
        let isMeant =
            claims.chain.trustDomain == workshop.trustDomain && now < claims.expiresAt
            && (claims.notBefore ?? now) <= now
        try expect(
            workshop.accepts(token, audience: audience) == isMeant,
            "a signed token is accepted although its claims forbid it, or refused without reason"
        )
        try expect(
            !workshop.accepts(token, audience: audience + "x"),
            "accepted for an audience that it does not name"
        )
        // The same claims under the type of a JWT-SVID are nobody's.
        let other = try expectSuccess("sign") { try workshop.token(input, type: "JWT") }
        for token in [token, other] {
            try expect(
                !workshop.acceptsAsSVID(token, audience: audience),
                "a token \"A, through B\" is accepted as a JWT-SVID"
            )
        }
        try expect(
            !workshop.accepts(other, audience: audience),
            "accepted with the type of another token"
        )
        return true
    }

    /// Every chain that is read has one way to be written, which reads as the same chain.
    private static func checkWriting(
        of claims: DelegationClaims,
        isReadAsSVID: Bool
    ) throws(PropertyBroken) {
        try expect(!isReadAsSVID, "the payload is that of both kinds of token")
        let chain = claims.chain
        try expect(
            (1...DelegationChain.actorsMax).contains(chain.actors.count),
            "a chain of \(chain.actors.count) actors"
        )
        let all = [chain.subject] + chain.actors
        try expect(Set(all).count == all.count, "somebody is in the chain twice")
        try expect(
            all.allSatisfy { $0.trustDomain == chain.trustDomain && !$0.isReserved },
            "a chain leaves its trust domain, or reaches what is Signet's own"
        )
        let written = claims.all.merging(chain.claims) { _, written in written }
        try expect(written == claims.all, "the chain is not written as it was read")
    }

    private static func isSigned(_ token: [UInt8], by key: P256.Signing.PublicKey) -> Bool {
        guard let end = token.lastIndex(of: dot),
            let raw = Base64Form.url.bytes(token[(end + 1)...]),
            let signature = try? P256.Signing.ECDSASignature(rawRepresentation: raw)
        else { return false }
        return key.isValidSignature(signature, for: Array(token[..<end]))
    }

    /// A trust domain with one fixed key, which Tests/Fuzz/seeds knows.
    private struct Workshop: Sendable {
        static let shared = try? Workshop()

        let trustDomain: TrustDomain
        let key: P256.Signing.PrivateKey
        private let verifier: JWTSVIDVerifier

        init() throws {
            trustDomain = try TrustDomain("example.org")
            key = try P256.Signing.PrivateKey(
                rawRepresentation: [UInt8](repeating: 2, count: 32)
            )
            let published = try JSONWebKey(
                subjectPublicKeyInfo: Array(key.publicKey.derRepresentation)
            )
            verifier = JWTSVIDVerifier(bundles: [
                trustDomain: TrustBundle(
                    trustDomain: trustDomain,
                    x509Authorities: [],
                    x509Intermediates: [],
                    jwtAuthorities: [JWTAuthority(keyID: "k", key: published)],
                    sequenceNumber: 1,
                    refreshHintSeconds: 300
                )
            ])
        }

        func accepts(_ token: [UInt8], audience: String) -> Bool {
            let verified = try? verifier.verifyDelegated(
                token: token,
                audience: audience,
                leeway: .zero,
                now: DelegatedTokenProperty.now
            )
            return verified != nil
        }

        func acceptsAsSVID(_ token: [UInt8], audience: String) -> Bool {
            let verified = try? verifier.verify(
                token: token,
                audience: audience,
                leeway: .zero,
                now: DelegatedTokenProperty.now
            )
            return verified != nil
        }

        func token(_ claims: [UInt8], type: String) throws -> [UInt8] {
            let header = Base64Form.url.text(Array(#"{"alg":"ES256","typ":"\#(type)"}"#.utf8))
            let input = "\(header).\(Base64Form.url.text(claims))"
            let signature = try key.signature(for: Array(input.utf8)).rawRepresentation
            return Array("\(input).\(Base64Form.url.text(signature))".utf8)
        }
    }
}
