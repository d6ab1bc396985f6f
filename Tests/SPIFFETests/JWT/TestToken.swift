// SPDX-License-Identifier: Apache-2.0

import Crypto
import FoundationEssentials
import SPIFFE
import TestPKI

/// A token whose parts a test writes as it likes, signed with ES256.
struct TestToken {
    /// `testNow` as tokens write it.
    static let now = 1_900_000_000

    var header = #"{"alg":"ES256","kid":"k1","typ":"JWT"}"#
    var claims = #"{"sub":"spiffe://example.org/web","aud":"api","exp":1900000300}"#
    /// The key whose scalar is this number repeated.
    var keyNumber: UInt8 = 1

    static func key(_ number: UInt8) throws -> P256.Signing.PrivateKey {
        try P256.Signing.PrivateKey(rawRepresentation: [UInt8](repeating: number, count: 32))
    }

    static func authority(_ number: UInt8, id: String) throws -> JWTAuthority {
        JWTAuthority(
            keyID: id,
            key: try JSONWebKey(
                subjectPublicKeyInfo: Array(key(number).publicKey.derRepresentation)
            )
        )
    }

    static func bundle(_ authorities: [JWTAuthority], of name: String) throws -> TrustBundle {
        TrustBundle(
            trustDomain: try TrustDomain(name),
            x509Authorities: [],
            x509Intermediates: [],
            jwtAuthorities: authorities,
            sequenceNumber: 1,
            refreshHintSeconds: 300
        )
    }

    static func verifier(_ bundles: TrustBundle...) -> JWTSVIDVerifier {
        JWTSVIDVerifier(
            bundles: Dictionary(uniqueKeysWithValues: bundles.map { ($0.trustDomain, $0) })
        )
    }

    /// Keys `k1` and `k2` in example.org, `k1` of another key in other.example.
    static func usualVerifier() throws -> JWTSVIDVerifier {
        verifier(
            try bundle([authority(1, id: "k1"), authority(2, id: "k2")], of: "example.org"),
            try bundle([authority(9, id: "k1")], of: "other.example")
        )
    }

    var signingInput: String {
        "\(Base64Form.url.text(Array(header.utf8))).\(Base64Form.url.text(Array(claims.utf8)))"
    }

    func signed() throws -> [UInt8] {
        let signature = try Self.key(keyNumber).signature(for: Array(signingInput.utf8))
        return signed(with: Array(signature.rawRepresentation))
    }

    func signed(with signature: [UInt8]) -> [UInt8] {
        Array("\(signingInput).\(Base64Form.url.text(signature))".utf8)
    }

    /// The token with these claims, where `claims` is the inside of the object.
    static func claiming(_ claims: String) -> TestToken {
        TestToken(claims: "{\(claims)}")
    }

    static func headed(_ header: String) -> TestToken {
        TestToken(header: "{\(header)}")
    }
}

/// How a verification ended, in a form that tests compare.
enum TokenVerdict: Equatable, Sendable {
    case accepted(SPIFFEID)
    case refused(JWTSVIDError)

    static func of(
        _ token: [UInt8],
        by verifier: JWTSVIDVerifier,
        audience: String = "api",
        leeway: Duration = .zero,
        now: Date = testNow
    ) -> Self {
        do throws(JWTSVIDError) {
            return .accepted(
                try verifier.verify(token: token, audience: audience, leeway: leeway, now: now).id
            )
        } catch {
            return .refused(error)
        }
    }

    /// What the usual verifier says of a token.
    static func of(
        _ token: TestToken,
        audience: String = "api",
        leeway: Duration = .zero,
        now: Date = testNow
    ) throws -> Self {
        of(
            try token.signed(),
            by: try TestToken.usualVerifier(),
            audience: audience,
            leeway: leeway,
            now: now
        )
    }

    static func web() throws -> Self { .accepted(try SPIFFEID("spiffe://example.org/web")) }

    static func malformed(_ error: CompactJWSError) -> Self { .refused(.malformed(error)) }

    static func claims(_ error: JWTClaimsError) -> Self { .refused(.claims(error)) }
}
