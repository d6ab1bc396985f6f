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
    /// Most audiences of one token; JWT-SVID section 3.2 asks for one, for each of them can use the
    /// token towards the others.
    package static let audiencesMax = 8
    /// Longest audience in bytes: names in use are shorter, and `audiencesMax` of them with the
    /// longest ID are still a token that is read (`CompactJWS.bytesMax`), however they are escaped.
    package static let audienceBytesMax = 512
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
            guard Self.isWord(issuer, bytesMax: Self.issuerBytesMax) else { throw .issuerMalformed }
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
    ///   - lifetimeSeconds: What the entry says; nil takes the server's default.
    ///   - node: The agent as the server has verified and attested it.
    ///   - workload: The template variables that the agent asserts.
    ///   - now: The wall clock.
    /// - Returns: A warrant whose token ends at the latest with the longest lifetime allowed, with
    ///   the entry and with the key.
    /// - Throws: `TokenRefusal` naming the first rule that the request breaks.
    package func approve(
        entry: RegistrationEntry,
        claiming id: SPIFFEID,
        audiences: [String],
        lifetimeSeconds: Int? = nil,
        node: TemplateNode,
        workload: [String: String] = [:],
        now: Date
    ) throws(TokenRefusal) -> TokenWarrant {
        try Self.check(audiences)
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
        let lifetime = lifetimeSeconds.map { Duration.seconds($0) } ?? lifetimes.token
        return TokenWarrant(
            id: id,
            entry: EntryReference(id: entry.id, revision: entry.revision),
            audiences: audiences,
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
        let room = TokenLifetimes.tokenMin.components.seconds
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

    private static func check(_ audiences: [String]) throws(TokenRefusal) {
        guard !audiences.isEmpty else { throw .audienceMissing }
        guard audiences.count <= audiencesMax else { throw .audiencesTooMany(audiences.count) }
        var seen: Set<[UInt8]> = []
        for (index, audience) in audiences.enumerated() {
            guard isWord(audience, bytesMax: audienceBytesMax) else {
                throw .audienceMalformed(index: index)
            }
            guard seen.insert(Array(audience.utf8)).inserted else {
                throw .audienceTwice(index: index)
            }
        }
    }

    /// Whether a text has something in it, is not too long and has no control characters.
    private static func isWord(_ text: String, bytesMax: Int) -> Bool {
        (1...bytesMax).contains(text.utf8.count)
            && text.utf8.allSatisfy { $0 >= 0x20 && $0 != 0x7F }
    }
}

/// The rule that a request for a JWT-SVID breaks.
package enum TokenRefusal: Error, Hashable, Sendable, CustomStringConvertible {
    /// An audience, counted from 0, is empty, too long or has control characters.
    case audienceMalformed(index: Int)
    case audienceMissing
    case audienceTwice(index: Int)
    case audiencesTooMany(Int)
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
        case .audienceMalformed(let index):
            """
            audience \(index) has not 1 to \(TokenIssuer.audienceBytesMax) bytes without control \
            characters
            """
        case .audienceMissing: "the request names no audience; name who the token is for"
        case .audienceTwice(let index): "audience \(index) is named twice"
        case .audiencesTooMany(let count):
            "\(count) audiences; a token has at most \(TokenIssuer.audiencesMax), best one"
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
