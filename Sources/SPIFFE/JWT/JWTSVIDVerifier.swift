// SPDX-License-Identifier: Apache-2.0

package import FoundationEssentials

/// Turns a token into a `VerifiedJWTSVID`, or refuses it (docs/decisions/0012-jwt-svid.md).
///
/// The value holds the keys of one snapshot of the bundles in the form that verifies; it never
/// changes. Keys are costly to make: make them once for each bundle and share them. A token chooses its bundle by its own subject, and
/// nothing else in it chooses a key that a bundle does not hold.
package struct JWTSVIDVerifier: Sendable {
    /// How much the clocks of issuer and verifier may differ: agents warn of 5 s.
    package static let leeway: Duration = .seconds(10)
    /// Longest leeway that a caller may give: a fifth of a token's usual life.
    package static let leewayMax: Duration = .seconds(60)

    private let keys: [TrustDomain: JWTVerificationKeys]

    /// Takes the JWT authorities of every bundle.
    ///
    /// - Parameter bundles: The bundle of each trusted trust domain, without the keys of authorities
    ///   that are revoked. A bundle under another name than its own, or with more than
    ///   `TrustBundle.authoritiesMax` authorities, is left out whole.
    package init(bundles: [TrustDomain: TrustBundle]) {
        self.init(
            bundles.filter { $0.key == $0.value.trustDomain }.values
                .compactMap(JWTVerificationKeys.init)
        )
    }

    /// Takes keys that were made before.
    ///
    /// - Parameter keys: Those of each trusted trust domain; of two of one the first ones count.
    package init(_ keys: [JWTVerificationKeys]) {
        self.keys = Dictionary(keys.map { ($0.trustDomain, $0) }) { first, _ in first }
    }

    /// Verifies a token for one audience.
    ///
    /// Cheap rules come before the signature; the value exists only after all of them.
    ///
    /// - Parameters:
    ///   - token: The token as it was received.
    ///   - audience: The verifier's own name, which the token must hold.
    ///   - leeway: By how much a token may be late or early; at most `leewayMax`.
    ///   - now: The wall clock.
    /// - Returns: What the token says, signed by a key of its subject's trust domain.
    /// - Throws: `JWTSVIDError` naming the rule broken, without anything of the token.
    /// - SeeAlso: JWT-SVID sections 4 and 5; docs/conformance.md rows J-1 to J-12.
    package func verify(
        token: [UInt8],
        audience: String,
        leeway: Duration = leeway,
        now: Date
    ) throws(JWTSVIDError) -> VerifiedJWTSVID {
        guard !audience.isEmpty else { throw .audienceNotGiven }
        let jws: CompactJWS
        do throws(CompactJWSError) { jws = try CompactJWS(parsing: token) } catch {
            throw .malformed(error)
        }
        guard jws.type.map({ $0 == "JWT" || $0 == "JOSE" }) ?? true else { throw .typeUnknown }
        let claims: JWTClaims
        do throws(JWTClaimsError) { claims = try JWTClaims(parsing: jws.payload) } catch {
            throw .claims(error)
        }
        try Self.check(
            expiresAt: claims.expiresAt,
            notBefore: claims.notBefore,
            leeway: leeway,
            now: now
        )
        guard claims.names(audience: audience) else { throw .audienceDiffers }
        let key = try key(verifying: jws, of: claims.subject.trustDomain)
        return VerifiedJWTSVID(
            claims: claims,
            keyID: key.keyID,
            tokenSHA256: sha256(token),
            signingInputSHA256: sha256(jws.signingInput)
        )
    }

    /// The times of a token, with the same leeway either way (RFC 7519 sections 4.1.4, 4.1.5).
    static func check(
        expiresAt: Date,
        notBefore: Date?,
        leeway: Duration,
        now: Date
    ) throws(JWTSVIDError) {
        let seconds = now.timeIntervalSince1970
        // Without a number every comparison would be as good as its opposite.
        guard seconds.isFinite else { throw .clockUnusable }
        let slack = min(max(leeway, .zero), leewayMax) / .seconds(1)
        guard seconds < expiresAt.timeIntervalSince1970 + slack else { throw .expired }
        if let notBefore {
            guard seconds >= notBefore.timeIntervalSince1970 - slack else { throw .notYetValid }
        }
    }

    /// The first key of the trust domain that has signed the token: of those with its key ID, or of
    /// all if it names none.
    func key(
        verifying jws: CompactJWS,
        of trustDomain: TrustDomain
    ) throws(JWTSVIDError) -> JWTAuthority {
        guard let all = keys[trustDomain]?.keys else { throw .trustDomainUnknown }
        guard !all.isEmpty else { throw .bundleHasNoKey }
        let named = all.filter { key in
            jws.keyID.map { $0.utf8.elementsEqual(key.authority.keyID.utf8) } ?? true
        }
        guard !named.isEmpty else { throw .keyUnknown }
        let fitting = named.filter { $0.authority.allows(jws.algorithm) }
        guard !fitting.isEmpty else { throw .algorithmDoesNotFitKey }
        let signer = fitting.first {
            $0.verificationKey.verifies(jws.signature, of: jws.signingInput, by: jws.algorithm)
        }
        guard let signer else { throw .signatureDoesNotVerify }
        return signer.authority
    }
}

/// The keys of one bundle in the form that verifies; never changes.
package struct JWTVerificationKeys: Sendable {
    fileprivate struct Key: Sendable {
        let authority: JWTAuthority
        let verificationKey: JWSVerificationKey
    }

    package let trustDomain: TrustDomain
    fileprivate let keys: [Key]

    /// Makes the keys of a bundle, without those that verify nothing.
    ///
    /// - Returns: nil of a bundle with more than `TrustBundle.authoritiesMax` authorities.
    package init?(_ bundle: TrustBundle) {
        guard bundle.jwtAuthorities.count <= TrustBundle.authoritiesMax else { return nil }
        trustDomain = bundle.trustDomain
        keys = bundle.jwtAuthorities.compactMap { authority in
            authority.key.verificationKey.map { Key(authority: authority, verificationKey: $0) }
        }
    }
}

/// A token that `JWTSVIDVerifier` has verified; nothing else can make one.
package struct VerifiedJWTSVID: Hashable, Sendable {
    package let claims: JWTClaims
    /// The key ID of the authority that signed it, whether or not the token names it.
    package let keyID: String
    /// SHA-256 of the token: what logs may hold of it.
    package let tokenSHA256: [UInt8]
    /// SHA-256 of header and payload as they were signed, by which the issuer's log has the token.
    package let signingInputSHA256: [UInt8]

    /// The identity; its path is not empty.
    package var id: SPIFFEID { claims.subject }

    fileprivate init(
        claims: JWTClaims,
        keyID: String,
        tokenSHA256: [UInt8],
        signingInputSHA256: [UInt8]
    ) {
        self.claims = claims
        self.keyID = keyID
        self.tokenSHA256 = tokenSHA256
        self.signingInputSHA256 = signingInputSHA256
    }
}

/// Why `JWTSVIDVerifier` refused a token; nothing of the token is in it.
package enum JWTSVIDError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The key that the token names makes no signatures of the token's algorithm.
    case algorithmDoesNotFitKey
    case audienceDiffers
    /// The verifier gave no audience of its own.
    case audienceNotGiven
    /// The bundle of the token's trust domain has no key for JWT-SVIDs.
    case bundleHasNoKey
    case claims(JWTClaimsError)
    /// The clock shows no time at all.
    case clockUnusable
    case expired
    case keyUnknown
    case malformed(CompactJWSError)
    case notYetValid
    case signatureDoesNotVerify
    /// There is no bundle for the trust domain of the token's subject.
    case trustDomainUnknown
    case typeUnknown

    package var description: String {
        switch self {
        case .algorithmDoesNotFitKey: "the token's algorithm does not fit the key that it names"
        case .audienceDiffers: "the token is for another audience"
        case .audienceNotGiven: "no audience was given to verify the token for; give the own name"
        case .bundleHasNoKey:
            "the bundle of the token's trust domain has no key for JWT-SVIDs; all are untrusted"
        case .claims(let error): error.description
        case .clockUnusable: "the clock shows no time"
        case .expired: "the token has expired"
        case .keyUnknown: "no key of the trust domain's bundle has the token's key ID"
        case .malformed(let error): error.description
        case .notYetValid: "the token is not yet valid"
        case .signatureDoesNotVerify: "no key of the trust domain's bundle signed the token"
        case .trustDomainUnknown:
            "there is no bundle for the trust domain of the token's subject; federate with it"
        case .typeUnknown: "the token's type (\"typ\") is neither JWT nor JOSE"
        }
    }
}
