// SPDX-License-Identifier: Apache-2.0

internal import AuditLog
package import ControlAPI
package import Datastore
package import FoundationEssentials
package import Issuance
package import SPIFFE

/// An exchange that an agent asks for: a token that a workload was shown, for one that says "A,
/// through B".
package struct TokenExchangeRequest: Hashable, Sendable {
    /// The entry that gives the actor its ID.
    package let entryID: String
    /// The actor.
    package let spiffeID: String
    package let variables: [String: String]
    package let subjectToken: String
    /// At whom the actor wants to show the token.
    package let audience: String

    package init(
        entryID: String,
        spiffeID: String,
        variables: [String: String] = [:],
        subjectToken: String,
        audience: String
    ) {
        self.entryID = entryID
        self.spiffeID = spiffeID
        self.variables = variables
        self.subjectToken = subjectToken
        self.audience = audience
    }
}

/// What the approval of an exchange rests on; it must still hold when the intent is committed.
package struct ExchangeBasis: Sendable {
    package let signing: SigningBasis
    /// As it was verified by the bundle of this number.
    package let subject: SubjectToken
    package let bundleSequenceNumber: UInt64
    /// For each hop, in the order of time, the policy that permits it longest.
    let policies: [DelegationPolicy?]
    /// Before which moment nothing that was issued counts, of those whom the subject token speaks
    /// for.
    let revokedBefore: [SPIFFEID: Date]

    /// Whoever is named in the subject token and was revoked after it was issued.
    fileprivate var revokedParty: SPIFFEID? {
        subject.parties.first { id in revokedBefore[id].map { subject.issuedAt < $0 } ?? false }
    }
}

/// Tokens "A, through B" (docs/decisions/0024-token-exchange.md).
extension ServerLogic {
    /// Reads what an exchange rests on beside the actor's own standing.
    ///
    /// - Parameters:
    ///   - subject: The token to be exchanged, verified.
    ///   - audience: At whom the actor wants to show the new one.
    ///   - signing: The actor's node and entry.
    ///   - bundleSequenceNumber: Of the bundle that verified the token.
    ///   - transaction: Where it is read.
    /// - Returns: What is there now; whether it permits anything is judged later.
    /// - Throws: `DatastoreError`.
    package func exchangeBasis(
        of subject: SubjectToken,
        to audience: String,
        signing: SigningBasis,
        bundleSequenceNumber: UInt64,
        in transaction: ReadTransaction
    ) throws -> ExchangeBasis {
        ExchangeBasis(
            signing: signing,
            subject: subject,
            bundleSequenceNumber: bundleSequenceNumber,
            policies: try subject.chain.hops(to: audience).map { hop in
                try transaction.delegationPolicy(permitting: hop)
            },
            revokedBefore: try revocations(of: subject, in: transaction)
        )
    }

    /// Since when nothing counts of those whom a token speaks for, of those who were revoked.
    private func revocations(
        of subject: SubjectToken,
        in transaction: ReadTransaction
    ) throws -> [SPIFFEID: Date] {
        var revokedBefore: [SPIFFEID: Date] = [:]
        for id in subject.parties {
            revokedBefore[id] = try transaction.revocation(of: id)?.issuedBefore
        }
        return revokedBefore
    }

    /// Approves and prepares the token.
    ///
    /// - Returns: The token, appended to the batch; or what the agent is told.
    package func prepare(
        _ request: TokenExchangeRequest,
        on basis: ExchangeBasis,
        batch: inout TokenBatch,
        issuer: TokenIssuer,
        now: Date,
        using generator: inout some RandomNumberGenerator
    ) -> Result<PreparedToken, APIError> {
        do {
            let warrant = try approve(request, on: basis, issuer: issuer, now: now)
            return .success(try batch.prepare(warrant, using: &generator))
        } catch {
            return .failure(APIError(exchange: error))
        }
    }

    private func approve(
        _ request: TokenExchangeRequest,
        on basis: ExchangeBasis,
        issuer: TokenIssuer,
        now: Date
    ) throws -> TokenWarrant {
        guard let entry = basis.signing.entries[request.entryID] else {
            throw APIError(entryUnknown: request.entryID)
        }
        if let until = basis.signing.revokedUntil[request.spiffeID], now < until {
            throw APIError(identityRevoked: request.spiffeID, until: until, now: now)
        }
        if let party = basis.revokedParty { throw APIError(revokedParty: party) }
        let node = basis.signing.node
        return try issuer.approve(
            exchanging: basis.subject,
            for: request.audience,
            entry: entry,
            policies: basis.policies.compactMap(\.self),
            node: TemplateNode(name: node.name, selectors: node.selectors),
            workload: request.variables,
            now: now
        )
    }

    /// Commits the intent to sign, if everything it rests on still holds.
    ///
    /// - Parameters:
    ///   - token: What is about to be signed.
    ///   - authorityID: Whose second key signs.
    ///   - basis: What the approval rests on.
    ///   - request: What was asked for.
    ///   - peer: The caller.
    ///   - now: The wall clock, of the approval too.
    ///   - transaction: Everything happens in it, or nothing.
    /// - Throws: `APIError` (`unavailable`) when something has changed since; the exchange may then
    ///   be tried again.
    package func commitExchange(
        _ token: PreparedToken,
        by authorityID: String,
        on basis: ExchangeBasis,
        of request: TokenExchangeRequest,
        for peer: VerifiedPeer,
        now: Date,
        in transaction: Transaction
    ) throws {
        try requireUnchanged(basis.signing, of: peer, in: transaction)
        try requireUnchanged(basis, to: request.audience, in: transaction)
        if let revocation = try transaction.revocation(of: token.id),
            token.issuedAt < revocation.issuedBefore
        {
            throw APIError(
                identityRevoked: token.id.description,
                until: revocation.issuedBefore,
                now: token.issuedAt
            )
        }
        try requireActive(authorityID, in: transaction)
        try requireClock(now, in: transaction)
        guard let leaf = issuance(of: token, by: authorityID, on: basis, for: peer) else {
            throw APIError(.fault, "fault", "the server failed; its log tells more")
        }
        try transaction.append(.delegatedTokenIssued(leaf), by: .spiffe(peer.id), at: now)
        try transaction.record([
            TokenHolder(
                node: basis.signing.node.name,
                entryID: token.entry.id,
                spiffeID: token.id.description,
                authorityID: authorityID,
                issuedAt: token.issuedAt,
                notAfter: token.notAfter
            )
        ])
        try transaction.record(
            basis.subject.parties.map {
                DelegationParty(id: $0, issuedAt: token.issuedAt, notAfter: token.notAfter)
            }
        )
    }

    /// Requires that bundle, policies and revocations are what an approval rests on.
    ///
    /// - Throws: `APIError` (`delegationChanged`).
    private func requireUnchanged(
        _ basis: ExchangeBasis,
        to audience: String,
        in transaction: ReadTransaction
    ) throws {
        // There is one writer: a policy whose version is what it was names whom it named, so nothing
        // of that is read again.
        let grants = try basis.subject.chain.hops(to: audience).map { hop in
            try transaction.delegationGrant(permitting: hop)
        }
        let isUnchanged =
            try transaction.bundleSequenceNumber() == basis.bundleSequenceNumber
            && grants == basis.policies.map { $0.map { DelegationGrant($0) } }
            && revocations(of: basis.subject, in: transaction) == basis.revokedBefore
        guard isUnchanged else {
            throw APIError(
                .unavailable,
                APIError.delegationChanged,
                "what permits the exchange has just changed; ask again"
            )
        }
    }

    /// The leaf of a token; nil of one that is no token "A, through B".
    private func issuance(
        of token: PreparedToken,
        by authorityID: String,
        on basis: ExchangeBasis,
        for peer: VerifiedPeer
    ) -> DelegatedTokenIssuance? {
        guard let delegation = token.delegation, let audience = token.audiences.first else {
            return nil
        }
        return DelegatedTokenIssuance(
            agent: peer.id,
            authority: keyIdentifier(ofAuthority: authorityID),
            keyID: token.keyID,
            entry: IssuedSVID.Entry(
                id: token.entry.id,
                namespace: basis.signing.entries[token.entry.id]?.namespace ?? "",
                revision: token.entry.revision
            ),
            subject: delegation.chain.subject,
            actors: delegation.chain.actors,
            audience: audience,
            tokenID: token.tokenID,
            notAfter: AuditTime(token.notAfter),
            signingInputSHA256: token.signingInputSHA256,
            subjectTokenID: delegation.subjectTokenID,
            subjectTokenSHA256: delegation.subjectTokenSHA256,
            policies: delegation.hops.map {
                DelegatedTokenIssuance.Policy(
                    namespace: $0.policy.namespace,
                    name: $0.policy.name,
                    version: $0.policy.version
                )
            }
        )
    }
}

extension APIError {
    /// The reason given when policies, revocations or bundle changed since a token was prepared.
    static let delegationChanged = "delegationChanged"

    init(revokedParty id: SPIFFEID) {
        self.init(
            .permissionDenied,
            Self.partyRevoked,
            "\(id) was revoked after the token was issued; ask for a new one"
        )
    }

    /// The reason given when somebody was revoked for whom a token speaks; unlike
    /// `identityRevoked` nothing passes by itself.
    static let partyRevoked = "partyRevoked"

    /// What an agent is told of an error on the way to an exchanged token.
    init(exchange error: any Error) {
        guard let refusal = error as? ExchangeRefusal else {
            self.init(token: error)
            return
        }
        let text = refusal.description
        switch refusal {
        case .audienceMalformed: self.init(.invalidArgument, "audience", text)
        case .chainRefused: self.init(.permissionDenied, "chainRefused", text)
        case .delegationNotPermitted(_, let isLast):
            self.init(
                .permissionDenied,
                // The one is about what is asked for, the other about the token that was shown.
                isLast ? "delegationNotPermitted" : "delegationNoLongerPermitted",
                text
            )
        case .exchangeOff:
            self.init(
                .unimplemented,
                "exchangeOff",
                "\(text); an admin switches it on by tokenExchange: true in server.yaml"
            )
        case .subjectTokenAudience: self.init(.permissionDenied, "subjectTokenAudience", text)
        case .subjectTokenEnds: self.init(.failedPrecondition, "subjectTokenEnds", text)
        case .subjectTokenRefused: self.init(.permissionDenied, "subjectTokenRefused", text)
        case .token(let refusal): self.init(token: refusal)
        }
    }
}
