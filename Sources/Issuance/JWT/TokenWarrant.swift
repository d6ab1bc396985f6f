// SPDX-License-Identifier: Apache-2.0

package import FoundationEssentials
package import SPIFFE

/// The permission to prepare exactly one token; only `TokenIssuer` grants it.
///
/// It cannot be copied: whoever prepares a token uses it up.
package struct TokenWarrant: ~Copyable, Sendable {
    /// The workload that the token is issued to.
    package let id: SPIFFEID
    /// The entry that the token is issued for, with its revision.
    package let entry: EntryReference
    package let audiences: [String]
    /// The key for which the warrant was granted.
    package let keyID: String
    /// What makes it a token "A, through B"; nil for a JWT-SVID.
    package let delegation: Delegation?
    let issuedAt: CertificateTime
    let notAfter: CertificateTime

    fileprivate init(
        id: SPIFFEID,
        entry: EntryReference,
        audiences: [String],
        keyID: String,
        delegation: Delegation? = nil,
        issuedAt: CertificateTime,
        notAfter: CertificateTime
    ) {
        self.id = id
        self.entry = entry
        self.audiences = audiences
        self.keyID = keyID
        self.delegation = delegation
        self.issuedAt = issuedAt
        self.notAfter = notAfter
    }
}

/// What one server issues tokens from: its trust domain, its lifetimes and its active key.
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
    /// The `iss` claim of tokens "A, through B"; nil exchanges nothing.
    package let delegatedIssuer: String?

    /// Takes the parts as they are.
    ///
    /// - Throws: `TokenError.issuerMalformed` or `.delegatedIssuerMalformed`.
    package init(
        trustDomain: TrustDomain,
        lifetimes: TokenLifetimes,
        authority: TokenAuthority,
        issuer: String? = nil,
        delegatedIssuer: String? = nil
    ) throws(TokenError) {
        if let issuer {
            guard TokenAudiences.isWord(issuer, bytesMax: Self.issuerBytesMax) else {
                throw .issuerMalformed
            }
        }
        if let delegatedIssuer {
            // Who is set up for JWT-SVIDs by OpenID Connect refuses the others by this name alone.
            guard TokenAudiences.isWord(delegatedIssuer, bytesMax: DelegationClaims.issuerBytesMax),
                issuer.map({ !$0.utf8.elementsEqual(delegatedIssuer.utf8) }) ?? true
            else { throw .delegatedIssuerMalformed }
        }
        self.trustDomain = trustDomain
        self.lifetimes = lifetimes
        self.authority = authority
        self.issuer = issuer
        self.delegatedIssuer = delegatedIssuer
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
        let life = try life(of: entry, claiming: id, node: node, workload: workload, now: now)
        return TokenWarrant(
            id: id,
            entry: EntryReference(id: entry.id, revision: entry.revision),
            audiences: audiences.texts,
            keyID: authority.keyID,
            issuedAt: life.start,
            notAfter: life.end
        )
    }

    /// Approves the exchange of a token that the actor was shown for one that says
    /// "subject, through actor" (docs/decisions/0024-token-exchange.md).
    ///
    /// - Parameters:
    ///   - subject: What the actor was shown; it says who acts.
    ///   - audience: At whom the actor wants to show the token.
    ///   - entry: The entry that gives the actor its ID, as it is in the datastore now.
    ///   - policies: Those in the datastore now that may permit a hop of the chain; others among
    ///     them change nothing.
    ///   - node: The actor's agent as the server has verified and attested it.
    ///   - workload: The template variables that the agent asserts.
    ///   - now: The wall clock.
    /// - Returns: A warrant whose token ends at the latest with the token exchanged, with the longest
    ///   lifetime allowed, with the entry, with the key and with each policy that it rests on.
    /// - Throws: `ExchangeRefusal` naming the first rule that the request breaks.
    package func approve(
        exchanging subject: SubjectToken,
        for audience: String,
        entry: RegistrationEntry,
        policies: [DelegationPolicy],
        node: TemplateNode,
        workload: [String: String] = [:],
        now: Date
    ) throws(ExchangeRefusal) -> TokenWarrant {
        guard let issuer = delegatedIssuer else { throw .exchangeOff }
        guard TokenAudiences.isWord(audience, bytesMax: TokenAudiences.bytesMax) else {
            throw .audienceMalformed
        }
        let actor = subject.actor
        let life: (start: CertificateTime, end: CertificateTime)
        do throws(TokenRefusal) {
            life = try self.life(
                of: entry,
                claiming: actor,
                node: node,
                workload: workload,
                now: now
            )
        } catch {
            throw .token(error)
        }
        let permission = try DelegationPermission(
            of: subject.chain,
            to: audience,
            by: policies,
            from: life.start
        )
        guard let subjectEnd = CertificateTime(subject.expiresAt),
            life.start.leavesRoom(until: subjectEnd)
        else { throw .subjectTokenEnds }
        return TokenWarrant(
            id: actor,
            entry: EntryReference(id: entry.id, revision: entry.revision),
            audiences: [audience],
            keyID: authority.keyID,
            delegation: Delegation(of: subject, permission: permission, issuer: issuer),
            issuedAt: life.start,
            notAfter: min(life.end, subjectEnd, permission.end ?? subjectEnd)
        )
    }

    /// From when to when a token of the workload may be good, if the entry gives it its ID.
    private func life(
        of entry: RegistrationEntry,
        claiming id: SPIFFEID,
        node: TemplateNode,
        workload: [String: String],
        now: Date
    ) throws(TokenRefusal) -> (start: CertificateTime, end: CertificateTime) {
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
        guard let start = CertificateTime(now) else { throw .clockOutOfRange }
        let lifetime = entry.jwtSVIDTTLSeconds.map { Duration.seconds($0) } ?? lifetimes.token
        return (start, try end(lifetime, from: start, now: now, expires: entry.expires))
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
        guard issuedAt.leavesRoom(until: authorityEnd) else { throw .authorityExpiresTooSoon }
        guard let expires, let entryEnd = CertificateTime(expires) else {
            return min(asked, authorityEnd)
        }
        guard issuedAt.leavesRoom(until: entryEnd) else { throw .grant(.entryExpired) }
        return min(asked, authorityEnd, entryEnd)
    }
}

extension CertificateTime {
    /// Whether a token that ends early, at `end`, is still worth issuing.
    func leavesRoom(until end: Self) -> Bool {
        end.secondsSince1970 - secondsSince1970 >= TokenLifetimes.cutMin.components.seconds
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
