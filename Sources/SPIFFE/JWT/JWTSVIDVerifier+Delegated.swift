// SPDX-License-Identifier: Apache-2.0

package import FoundationEssentials

extension JWTSVIDVerifier {
    /// Verifies a token "A, through B" for one audience.
    ///
    /// No JWT-SVID passes, by `typ` and by `sub`; and no such token passes `verify`, by the same
    /// two. The issuer is not compared: the key says whose it is.
    ///
    /// - Parameters:
    ///   - token: The token as it was received.
    ///   - audience: The verifier's own name, which has to be the token's one audience.
    ///   - leeway: By how much a token may be late or early; at most `leewayMax`.
    ///   - now: The wall clock.
    /// - Returns: What the token says, signed by a key of its subject's trust domain.
    /// - Throws: `DelegatedTokenError` naming the rule broken, without anything of the token.
    /// - SeeAlso: RFC 9068 section 4; docs/decisions/0024-token-exchange.md.
    package func verifyDelegated(
        token: [UInt8],
        audience: String,
        leeway: Duration = leeway,
        now: Date
    ) throws(DelegatedTokenError) -> VerifiedDelegatedToken {
        guard !audience.isEmpty else { throw .token(.audienceNotGiven) }
        guard token.count <= DelegationClaims.tokenBytesMax else { throw .tooLong }
        let jws: CompactJWS
        do throws(CompactJWSError) { jws = try CompactJWS(parsing: token) } catch {
            throw .token(.malformed(error))
        }
        guard jws.isDelegated else { throw .typeNotAccessToken }
        let claims: DelegationClaims
        do throws(DelegationClaimsError) {
            claims = try DelegationClaims(parsing: jws.payload)
        } catch {
            throw .claims(error)
        }
        let key: JWTAuthority
        do throws(JWTSVIDError) {
            try Self.check(
                expiresAt: claims.expiresAt,
                notBefore: claims.notBefore,
                leeway: leeway,
                now: now
            )
            guard claims.names(audience: audience) else { throw .audienceDiffers }
            key = try self.key(verifying: jws, of: claims.chain.trustDomain)
        } catch {
            throw .token(error)
        }
        return VerifiedDelegatedToken(
            claims: claims,
            keyID: key.keyID,
            tokenSHA256: sha256(token),
            signingInputSHA256: sha256(jws.signingInput)
        )
    }
}

extension CompactJWS {
    /// Whether the header says that the token is one "A, through B"; whether it is, only
    /// `JWTSVIDVerifier.verifyDelegated` knows.
    package var isDelegated: Bool {
        type?.utf8.elementsEqual(DelegationClaims.type.utf8) ?? false
    }
}

/// A token "A, through B" that `JWTSVIDVerifier` has verified; nothing else can make one.
package struct VerifiedDelegatedToken: Hashable, Sendable {
    package let claims: DelegationClaims
    /// The key ID of the authority that signed it, whether or not the token names it.
    package let keyID: String
    /// SHA-256 of the token: what logs may hold of it.
    package let tokenSHA256: [UInt8]
    /// SHA-256 of header and payload as they were signed, by which the issuer's log has the token.
    package let signingInputSHA256: [UInt8]

    /// Whose request it is and through whom it came.
    package var chain: DelegationChain { claims.chain }

    fileprivate init(
        claims: DelegationClaims,
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

/// Why `JWTSVIDVerifier.verifyDelegated` refused a token; nothing of the token is in it.
package enum DelegatedTokenError: Error, Hashable, Sendable, CustomStringConvertible {
    case claims(DelegationClaimsError)
    /// A rule that JWT-SVIDs keep too.
    case token(JWTSVIDError)
    case tooLong
    case typeNotAccessToken

    package var description: String {
        switch self {
        case .claims(let error): error.description
        case .token(let error): error.description
        case .tooLong: "the token has more than \(DelegationClaims.tokenBytesMax) bytes"
        case .typeNotAccessToken:
            "the token's type (\"typ\") is not \(DelegationClaims.type)"
        }
    }
}
