// SPDX-License-Identifier: Apache-2.0

package import FoundationEssentials
package import SPIFFE

/// A token that was shown to a workload, which may exchange it, as it was verified.
///
/// It has the workload's SPIFFE ID as its only audience, so nobody else exchanges it, and no chain
/// is made of parts of two (docs/decisions/0024-token-exchange.md).
package struct SubjectToken: Hashable, Sendable {
    /// Whose request it is, and through whom it came; the last is who was shown the token.
    package let chain: DelegationChain
    /// Who was shown the token and acts now: the last of the chain.
    package let actor: SPIFFEID
    package let tokenID: String
    package let issuedAt: Date
    /// What is made of it ends with it.
    package let expiresAt: Date
    /// By which its own leaf in the audit log is found.
    package let signingInputSHA256: [UInt8]

    /// Verifies a JWT-SVID, or a token "A, through B", for who was shown it.
    ///
    /// - Parameters:
    ///   - token: The token as it was received.
    ///   - actor: Who exchanges it.
    ///   - verifier: One that holds the bundle of the own trust domain and no other.
    ///   - now: The wall clock; the token is valid by it without leeway.
    /// - Throws: `ExchangeRefusal.subjectTokenRefused`, `.subjectTokenAudience` or `.chainRefused`.
    package init(
        verifying token: [UInt8],
        shownTo actor: SPIFFEID,
        by verifier: JWTSVIDVerifier,
        now: Date
    ) throws(ExchangeRefusal) {
        let claims =
            if let jws = try? CompactJWS(parsing: token), jws.isDelegated {
                try Claims(delegated: token, for: actor, by: verifier, now: now)
            } else {
                try Claims(svid: token, for: actor, by: verifier, now: now)
            }
        guard claims.issuedAt <= now else { throw .subjectTokenRefused(.issuedAhead) }
        do throws(DelegationChainError) {
            let before =
                switch claims.before {
                case .chain(let chain): chain
                case .subject(let id): try DelegationChain(subject: id)
                }
            chain = try before.appending(actor)
        } catch {
            throw .chainRefused(error)
        }
        self.actor = actor
        tokenID = claims.tokenID
        issuedAt = claims.issuedAt
        expiresAt = claims.expiresAt
        signingInputSHA256 = claims.signingInputSHA256
    }

    /// Everybody whose own standing the token speaks for, as it was when it was issued: the subject
    /// and who acted before.
    package var parties: [SPIFFEID] { [chain.subject] + chain.actors.dropLast() }
}

/// What both kinds of token say.
private struct Claims {
    enum Before {
        case chain(DelegationChain)
        case subject(SPIFFEID)
    }

    let before: Before
    let tokenID: String
    let issuedAt: Date
    let expiresAt: Date
    let signingInputSHA256: [UInt8]

    init(
        delegated token: [UInt8],
        for actor: SPIFFEID,
        by verifier: JWTSVIDVerifier,
        now: Date
    ) throws(ExchangeRefusal) {
        let verified: VerifiedDelegatedToken
        do throws(DelegatedTokenError) {
            verified = try verifier.verifyDelegated(
                token: token,
                audience: actor.description,
                leeway: .zero,
                now: now
            )
        } catch {
            switch error {
            case .claims(.audiencesTooMany), .token(.audienceDiffers): throw .subjectTokenAudience
            default: throw .subjectTokenRefused(.delegated(error))
            }
        }
        before = .chain(verified.chain)
        tokenID = verified.claims.tokenID
        issuedAt = verified.claims.issuedAt
        expiresAt = verified.claims.expiresAt
        signingInputSHA256 = verified.signingInputSHA256
    }

    init(
        svid token: [UInt8],
        for actor: SPIFFEID,
        by verifier: JWTSVIDVerifier,
        now: Date
    ) throws(ExchangeRefusal) {
        let verified: VerifiedJWTSVID
        do throws(JWTSVIDError) {
            verified = try verifier.verify(
                token: token,
                audience: actor.description,
                leeway: .zero,
                now: now
            )
        } catch {
            guard error == .audienceDiffers else { throw .subjectTokenRefused(.svid(error)) }
            throw .subjectTokenAudience
        }
        let claims = verified.claims
        guard claims.audiences.count == 1 else { throw .subjectTokenAudience }
        guard let tokenID = claims.tokenID,
            TokenAudiences.isWord(tokenID, bytesMax: DelegationClaims.tokenIDBytesMax)
        else { throw .subjectTokenRefused(.tokenIDMalformed) }
        guard let issuedAt = claims.issuedAt else {
            throw .subjectTokenRefused(.issuedAtMissing)
        }
        before = .subject(claims.subject)
        self.tokenID = tokenID
        self.issuedAt = issuedAt
        expiresAt = claims.expiresAt
        signingInputSHA256 = verified.signingInputSHA256
    }
}

/// The rule that a token breaks which is to be exchanged.
package enum SubjectTokenFault: Error, Hashable, Sendable, CustomStringConvertible {
    case delegated(DelegatedTokenError)
    case issuedAhead
    case issuedAtMissing
    case svid(JWTSVIDError)
    case tokenIDMalformed

    package var description: String {
        switch self {
        case .delegated(let error): error.description
        case .issuedAhead: "the token is issued in the future; check the clocks of the servers"
        case .issuedAtMissing: DelegationClaimsError.issuedAtMissing.description
        case .svid(let error): error.description
        case .tokenIDMalformed: DelegationClaimsError.tokenIDMalformed.description
        }
    }
}

/// The rule that the exchange of a token breaks; nothing of the token is in it.
package enum ExchangeRefusal: Error, Hashable, Sendable, CustomStringConvertible {
    case audienceMalformed
    case chainRefused(DelegationChainError)
    /// No policy permits a hop, or none for long enough; the hops before the last rest on what was
    /// permitted earlier.
    case delegationNotPermitted(DelegationHop, isLast: Bool)
    case exchangeOff
    /// The token's only audience is not the SPIFFE ID of who exchanges it.
    case subjectTokenAudience
    /// What is left of the token is too short for one that ends with it.
    case subjectTokenEnds
    case subjectTokenRefused(SubjectTokenFault)
    /// A rule that the actor's own JWT-SVIDs keep too.
    case token(TokenRefusal)

    package var description: String {
        switch self {
        case .audienceMalformed:
            "the audience has not 1 to \(TokenAudiences.bytesMax) bytes without control characters"
        case .chainRefused(let error): error.description
        case .delegationNotPermitted(let hop, _): "no DelegationPolicy permits \(hop)"
        case .exchangeOff: "this server exchanges no tokens"
        case .subjectTokenAudience:
            "the token was not for its holder alone: its one audience has to be his SPIFFE ID"
        case .subjectTokenEnds:
            """
            the token ends in less than \(SVIDLifetimes.text(TokenLifetimes.cutMin)); ask for a new \
            one
            """
        case .subjectTokenRefused(let fault): fault.description
        case .token(let refusal): refusal.description
        }
    }
}
