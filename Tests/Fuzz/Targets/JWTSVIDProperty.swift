// SPDX-License-Identifier: Apache-2.0

internal import Crypto
internal import FoundationEssentials
internal import SPIFFE

/// A token that is accepted was signed, byte by byte, by the key of its trust domain; and what is
/// signed is accepted if its claims say so.
enum JWTSVIDProperty {
    /// 2030-03-17 17:46:40 UTC.
    private static let now = Date(timeIntervalSince1970: 1_900_000_000)
    private static let dot = UInt8(ascii: ".")

    static func check(_ input: [UInt8]) throws(PropertyBroken) -> Bool {
        guard let workshop = Workshop.shared else {
            throw PropertyBroken("the workshop of the test cannot be made")
        }
        if let jws = try? CompactJWS(parsing: input) {
            let parts = [jws.signingInput, Array(Base64Form.url.text(jws.signature).utf8)]
            let again = Array(parts.joined(separator: [dot]))
            try expect(again == input, "the parts are not the token")
            let isAccepted = workshop.accepts(input, audience: "api")
            // The other reading: everything before the last dot, and what stands behind it.
            let isSigned = try isSigned(input, by: workshop.key.publicKey)
            try expect(!isAccepted || isSigned, "accepted without the key's signature")
            return isAccepted
        }
        // No mutation of a token is accepted, so what lies behind the signature is reached by
        // signing: an input that is no token is also read as claims.
        guard let claims = try? JWTClaims(parsing: input), let audience = claims.audiences.first
        else { return false }
        let token = try expectSuccess("sign") { try workshop.token(input) }
        guard token.count <= CompactJWS.bytesMax else { return false }
        let isMeant =
            claims.subject.trustDomain == workshop.trustDomain && now < claims.expiresAt
            && (claims.notBefore ?? now) <= now
        try expect(
            workshop.accepts(token, audience: audience) == isMeant,
            "a signed token is accepted although its claims forbid it, or refused without reason"
        )
        try expect(
            !workshop.accepts(token, audience: audience + "x") || claims.audiences.count > 1,
            "accepted for an audience that it does not name"
        )
        return true
    }

    private static func isSigned(
        _ token: [UInt8],
        by key: P256.Signing.PublicKey
    ) throws(PropertyBroken) -> Bool {
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
            let verified = try? verifier.verify(
                token: token,
                audience: audience,
                leeway: .zero,
                now: JWTSVIDProperty.now
            )
            return verified != nil
        }

        func token(_ claims: [UInt8]) throws -> [UInt8] {
            let header = Base64Form.url.text(Array(#"{"alg":"ES256"}"#.utf8))
            let input = "\(header).\(Base64Form.url.text(claims))"
            let signature = try key.signature(for: Array(input.utf8)).rawRepresentation
            return Array("\(input).\(Base64Form.url.text(signature))".utf8)
        }
    }
}
