// SPDX-License-Identifier: Apache-2.0

package import FoundationEssentials
package import SPIFFE

/// The permission to prepare exactly one JWT-SVID; only `TokenIssuer` grants it.
///
/// It cannot be copied: whoever prepares a token uses it up.
package struct TokenWarrant: ~Copyable, Sendable {
    package let id: SPIFFEID
    /// The entry that the token is issued for, with its revision.
    package let entry: EntryReference
    package let audiences: [String]
    /// The key for which the warrant was granted.
    package let keyID: String
    let issuedAt: CertificateTime
    let notAfter: CertificateTime

    fileprivate init(
        id: SPIFFEID,
        entry: EntryReference,
        audiences: [String],
        keyID: String,
        issuedAt: CertificateTime,
        notAfter: CertificateTime
    ) {
        self.id = id
        self.entry = entry
        self.audiences = audiences
        self.keyID = keyID
        self.issuedAt = issuedAt
        self.notAfter = notAfter
    }
}

/// What one server issues JWT-SVIDs from: its trust domain, its lifetimes and its active key.
///
/// A new value is made whenever one of them changes; it is cheap to copy and holds no private key.
package struct TokenIssuer: Sendable {
    /// Longest name of the issuer in bytes: a URL with the longest host.
    package static let issuerBytesMax = 512

    package let trustDomain: TrustDomain
    package let lifetimes: TokenLifetimes
    package let authority: TokenAuthority
    /// The `iss` claim, for verifiers that find keys by OIDC discovery; nil leaves the claim out.
    package let issuer: String?

    /// Takes the parts as they are.
    ///
    /// - Throws: `TokenError.issuerMalformed`.
    package init(
        trustDomain: TrustDomain,
        lifetimes: TokenLifetimes,
        authority: TokenAuthority,
        issuer: String? = nil
    ) throws(TokenError) {
        if let issuer {
            guard TokenAudiences.isWord(issuer, bytesMax: Self.issuerBytesMax) else {
                throw .issuerMalformed
            }
        }
        self.trustDomain = trustDomain
        self.lifetimes = lifetimes
        self.authority = authority
        self.issuer = issuer
    }

    /// Approves a workload's token.
    ///
    /// - Parameters:
    ///   - entry: The entry as it is in the datastore now.
    ///   - id: The ID that the agent asked for.
    ///   - audiences: Who the token is for, in the order asked for.
    ///   - node: The agent as the server has verified and attested it.
    ///   - workload: The template variables that the agent asserts.
    ///   - now: The wall clock.
    /// - Returns: A warrant whose token ends at the latest with the longest lifetime allowed, with
    ///   the entry and with the key.
    /// - Throws: `TokenRefusal` naming the first rule that the request breaks.
    package func approve(
        entry: RegistrationEntry,
        claiming id: SPIFFEID,
        audiences: TokenAudiences,
        node: TemplateNode,
        workload: [String: String] = [:],
        now: Date
    ) throws(TokenRefusal) -> TokenWarrant {
        do throws(IssuanceRefusal) {
            try entry.checkGrant(
                of: id,
                in: trustDomain,
                node: node,
                workload: workload,
                now: now
            )
        } catch {
            throw .grant(error)
        }
        guard let issuedAt = CertificateTime(now) else { throw .clockOutOfRange }
        let lifetime = entry.jwtSVIDTTLSeconds.map { Duration.seconds($0) } ?? lifetimes.token
        return TokenWarrant(
            id: id,
            entry: EntryReference(id: entry.id, revision: entry.revision),
            audiences: audiences.texts,
            keyID: authority.keyID,
            issuedAt: issuedAt,
            notAfter: try end(lifetime, from: issuedAt, now: now, expires: entry.expires)
        )
    }

    /// The earliest of what lifetime, entry and key allow.
    private func end(
        _ lifetime: Duration,
        from issuedAt: CertificateTime,
        now: Date,
        expires: Date?
    ) throws(TokenRefusal) -> CertificateTime {
        guard now >= authority.notBefore else { throw .authorityNotYetValid }
        guard lifetime >= TokenLifetimes.tokenMin else { throw .lifetimeTooShort }
        guard let asked = issuedAt.adding(min(lifetime, lifetimes.entryMax)),
            let authorityEnd = CertificateTime(authority.notAfter)
        else { throw .clockOutOfRange }
        let room = TokenLifetimes.cutMin.components.seconds
        func leaves(_ end: CertificateTime) -> Bool {
            end.secondsSince1970 - issuedAt.secondsSince1970 >= room
        }
        guard leaves(authorityEnd) else { throw .authorityExpiresTooSoon }
        guard let expires, let entryEnd = CertificateTime(expires) else {
            return min(asked, authorityEnd)
        }
        guard leaves(entryEnd) else { throw .grant(.entryExpired) }
        return min(asked, authorityEnd, entryEnd)
    }
}

/// The rule that a request for a JWT-SVID breaks.
package enum TokenRefusal: Error, Hashable, Sendable, CustomStringConvertible {
    /// The key has less time left than any token needs; a new one must be activated.
    case authorityExpiresTooSoon
    case authorityNotYetValid
    /// The wall clock is outside the years that tokens can express.
    case clockOutOfRange
    /// The entry does not give the workload this ID.
    case grant(IssuanceRefusal)
    case lifetimeTooShort

    package var description: String {
        switch self {
        case .authorityExpiresTooSoon:
            "the key for JWT-SVIDs expires before a token would; rotate the authority"
        case .authorityNotYetValid:
            "the key for JWT-SVIDs may not sign yet; check the server's clock"
        case .clockOutOfRange: "the wall clock is outside the years 1970 to 9999"
        case .grant(let refusal): refusal.description
        case .lifetimeTooShort:
            "the token would live less than \(SVIDLifetimes.text(TokenLifetimes.tokenMin))"
        }
    }
}
