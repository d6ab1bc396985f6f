// SPDX-License-Identifier: Apache-2.0

package import FoundationEssentials

/// What the payload of a token "A, through B" says (RFC 8693 section 4, RFC 9068 section 2.2), read
/// but not verified.
package struct DelegationClaims: Hashable, Sendable {
    /// The header's `typ` (RFC 9068 section 2.1), which no JWT-SVID may have (JWT-SVID
    /// section 2.3).
    package static let type = "at+jwt"
    /// Longest token: many servers take no field of a head above 8 KiB.
    package static let tokenBytesMax = 6 * 1024
    /// Longest `iss`: clouds take no longer URL of an issuer.
    package static let issuerBytesMax = 255
    /// Longest `jti`: ours have 22 bytes, and each stands in the leaf of what is made of the token.
    package static let tokenIDBytesMax = 64

    /// Whose request it is and through whom it came: at least one acts.
    package let chain: DelegationChain
    /// Who the token is for: one name.
    package let audience: String
    /// From here on the token is worth nothing.
    package let expiresAt: Date
    package let notBefore: Date?
    package let issuedAt: Date
    package let tokenID: String
    package let issuer: String
    /// Every claim by name, those above included.
    package let all: [String: JSONValue]

    /// Reads a payload.
    ///
    /// - Throws: `DelegationClaimsError`, which quotes nothing of the payload.
    package init(parsing payload: [UInt8]) throws(DelegationClaimsError) {
        let audiences: [String]
        let issued: Date?
        do throws(JWTClaimsError) {
            all = try JWTClaims.members(of: payload)
            audiences = try JWTClaims.audiences(of: all)
            guard let expiresAt = try JWTClaims.time("exp", of: all) else {
                throw .expiryMissing
            }
            self.expiresAt = expiresAt
            notBefore = try JWTClaims.time("nbf", of: all)
            issued = try JWTClaims.time("iat", of: all)
        } catch {
            throw .claims(error)
        }
        guard let issuedAt = issued else { throw .issuedAtMissing }
        self.issuedAt = issuedAt
        chain = try DelegationChain(claims: all)
        guard let audience = audiences.first, audiences.count == 1 else {
            throw .audiencesTooMany
        }
        self.audience = audience
        guard let tokenID = all["jti"]?.text,
            TokenAudiences.isWord(tokenID, bytesMax: Self.tokenIDBytesMax)
        else { throw .tokenIDMalformed }
        self.tokenID = tokenID
        guard let issuer = all["iss"]?.text,
            TokenAudiences.isWord(issuer, bytesMax: Self.issuerBytesMax)
        else { throw .issuerMalformed }
        self.issuer = issuer
    }

    /// Whether the token is meant for this audience, byte by byte.
    package func names(audience: String) -> Bool {
        self.audience.utf8.elementsEqual(audience.utf8)
    }
}

/// Why a payload is not that of a token "A, through B"; nothing of the payload is in it.
package enum DelegationClaimsError: Error, Hashable, Sendable, CustomStringConvertible {
    case actorHasOtherClaims
    case actorMissing
    /// An actor is no object with a text as its `sub`.
    case actorNotNamed
    case actorNotSPIFFEID(SPIFFEIDError)
    case audiencesTooMany
    case chain(DelegationChainError)
    /// A rule that JWT-SVIDs keep too.
    case claims(JWTClaimsError)
    case clientIsNotActor
    case issuedAtMissing
    case issuerMalformed
    case subjectMalformed(SPIFFEIDError)
    case subjectMissing
    /// The subject is named as in other tokens.
    case subjectNotDelegated
    case tokenIDMalformed

    package var description: String {
        switch self {
        case .actorHasOtherClaims: "an actor (\"act\") has claims beside \"sub\" and \"act\""
        case .actorMissing: "nobody acts in the token (no \"act\")"
        case .actorNotNamed: "an actor (\"act\") has no \"sub\""
        case .actorNotSPIFFEID(let error): "an actor (\"act\") is no SPIFFE ID: \(error)"
        case .audiencesTooMany: "the token has more than one audience (\"aud\")"
        case .chain(let error): error.description
        case .claims(let error): error.description
        case .clientIsNotActor: "\"client_id\" is not the one who acts"
        case .issuedAtMissing: "the token does not say when it was issued (no \"iat\")"
        case .issuerMalformed:
            """
            the issuer (\"iss\") has not 1 to \(DelegationClaims.issuerBytesMax) bytes without \
            control characters
            """
        case .subjectMalformed(let error):
            "the subject (\"sub\") names no SPIFFE ID: \(error)"
        case .subjectMissing: "the token has no subject (\"sub\")"
        case .subjectNotDelegated:
            "the subject (\"sub\") does not begin with \"\(DelegationChain.subjectPrefix)\""
        case .tokenIDMalformed:
            """
            the token's ID (\"jti\") has not 1 to \(DelegationClaims.tokenIDBytesMax) bytes without \
            control characters
            """
        }
    }
}
