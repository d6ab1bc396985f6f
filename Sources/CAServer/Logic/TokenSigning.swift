// SPDX-License-Identifier: Apache-2.0

internal import AuditLog
package import ControlAPI
package import Datastore
package import FoundationEssentials
package import Issuance
package import SPIFFE

/// One JWT-SVID that an agent asks for.
package struct TokenSigningRequest: Hashable, Sendable {
    package let entryID: String
    package let spiffeID: String
    /// In the order asked for.
    package let audiences: [String]
    package let variables: [String: String]

    package init(
        entryID: String,
        spiffeID: String,
        audiences: [String],
        variables: [String: String] = [:]
    ) {
        self.entryID = entryID
        self.spiffeID = spiffeID
        self.audiences = audiences
        self.variables = variables
    }
}

/// JWT-SVIDs, by the rules of certificates (docs/decisions/0017-jwt-keys-and-services.md).
extension ServerLogic {
    /// Reads the caller's node and what its requests rest on.
    ///
    /// - Throws: `APIError` as for certificates.
    package func signingBasis(
        for peer: VerifiedPeer,
        tokens requests: [TokenSigningRequest],
        in transaction: ReadTransaction
    ) throws -> SigningBasis {
        try signingBasis(
            for: peer,
            entries: Set(requests.map(\.entryID)),
            ids: Set(requests.map(\.spiffeID)),
            in: transaction
        )
    }

    /// Approves and prepares what may be signed; the others are refused one by one.
    package func prepare(
        _ requests: [TokenSigningRequest],
        on basis: SigningBasis,
        batch: inout TokenBatch,
        issuer: TokenIssuer,
        now: Date,
        using generator: inout some RandomNumberGenerator
    ) -> [SigningOutcome] {
        var outcomes: [SigningOutcome] = []
        for request in requests {
            do {
                let warrant = try approve(request, on: basis, issuer: issuer, now: now)
                try batch.prepare(warrant, using: &generator)
                outcomes.append(.prepared(batch.tokens.count - 1))
            } catch {
                outcomes.append(.refused(APIError(token: error)))
            }
        }
        return outcomes
    }

    private func approve(
        _ request: TokenSigningRequest,
        on basis: SigningBasis,
        issuer: TokenIssuer,
        now: Date
    ) throws -> TokenWarrant {
        guard let entry = basis.entries[request.entryID] else {
            throw APIError(entryUnknown: request.entryID)
        }
        if let until = basis.revokedUntil[request.spiffeID], now < until {
            throw APIError(identityRevoked: request.spiffeID, until: until, now: now)
        }
        return try issuer.approve(
            entry: entry,
            claiming: SPIFFEID(request.spiffeID),
            audiences: TokenAudiences(request.audiences),
            node: TemplateNode(name: basis.node.name, selectors: basis.node.selectors),
            workload: request.variables,
            now: now
        )
    }

    /// Commits the intent to sign, if everything it rests on still holds.
    ///
    /// - Parameters:
    ///   - tokens: What is about to be signed.
    ///   - authorityID: Whose second key signs.
    ///   - refusals: What is not.
    ///   - leavesMax: How many refusals may get a leaf.
    ///   - basis: What the approval rests on.
    ///   - peer: The caller.
    ///   - now: The wall clock, of the approval too.
    ///   - transaction: Everything happens in it, or nothing.
    /// - Throws: `APIError` (`unavailable`) when something has changed since; the whole batch may
    ///   then be tried again.
    package func commitSigning(
        _ tokens: [PreparedToken],
        by authorityID: String,
        refusals: [(request: TokenSigningRequest, error: APIError)],
        leavesMax: Int,
        on basis: SigningBasis,
        for peer: VerifiedPeer,
        now: Date,
        in transaction: Transaction
    ) throws {
        try requireUnchanged(basis, of: peer, in: transaction)
        for token in tokens {
            // Without the minute that certificates are dated back.
            guard let revocation = try transaction.revocation(of: token.id),
                token.issuedAt < revocation.issuedBefore
            else { continue }
            throw APIError(
                identityRevoked: token.id.description,
                until: revocation.issuedBefore,
                now: token.issuedAt
            )
        }
        try record(tokens, by: authorityID, on: basis, for: peer, now: now, in: transaction)
        try record(
            refusals.map {
                SigningRefusal(
                    entryID: $0.request.entryID,
                    spiffeID: $0.request.spiffeID,
                    error: $0.error
                )
            },
            what: "sign a JWT-SVID of entry",
            leavesMax: leavesMax,
            on: basis,
            for: peer,
            now: now,
            in: transaction
        )
    }

    /// Requires that an authority signs still.
    ///
    /// - Throws: `APIError` (`authorityChanged`).
    func requireActive(_ authorityID: String, in transaction: ReadTransaction) throws {
        guard let authority = try transaction.authority(id: authorityID),
            authority.state == AuthorityRecord.activeState
        else {
            throw APIError(
                .unavailable,
                APIError.authorityChanged,
                "the signing authority has just changed; retry"
            )
        }
    }

    /// One leaf for all, and who may hold them.
    private func record(
        _ tokens: [PreparedToken],
        by authorityID: String,
        on basis: SigningBasis,
        for peer: VerifiedPeer,
        now: Date,
        in transaction: Transaction
    ) throws {
        guard let first = tokens.first else { return }
        try requireActive(authorityID, in: transaction)
        try requireClock(now, in: transaction)
        let issuance = JWTSVIDIssuance(
            agent: peer.id,
            authority: keyIdentifier(ofAuthority: authorityID),
            keyID: first.keyID,
            tokens: tokens.map { token in
                IssuedJWTSVID(
                    spiffeID: token.id,
                    audiences: token.audiences,
                    tokenID: token.tokenID,
                    notAfter: AuditTime(token.notAfter),
                    signingInputSHA256: token.signingInputSHA256,
                    entry: IssuedSVID.Entry(
                        id: token.entry.id,
                        namespace: basis.entries[token.entry.id]?.namespace ?? "",
                        revision: token.entry.revision
                    )
                )
            }
        )
        try transaction.append(.jwtSVIDsIssued(issuance), by: .spiffe(peer.id), at: now)
        try transaction.record(
            tokens.map { token in
                TokenHolder(
                    node: basis.node.name,
                    entryID: token.entry.id,
                    spiffeID: token.id.description,
                    authorityID: authorityID,
                    issuedAt: token.issuedAt,
                    notAfter: token.notAfter
                )
            }
        )
    }
}

extension APIError {
    init(entryUnknown id: String) {
        self.init(
            .notFound,
            "entryUnknown",
            "there is no registration entry \(id); it may have been deleted"
        )
    }

    /// What an agent is told of an error on the way to a token.
    init(token error: any Error) {
        switch error {
        case let error as TokenAudienceError:
            self.init(.invalidArgument, "audience", error.description)
        case TokenRefusal.grant(let refusal): self.init(issuance: refusal)
        case let error as TokenRefusal:
            switch error {
            case .authorityExpiresTooSoon, .authorityNotYetValid, .clockOutOfRange:
                self.init(.unavailable, "tokenKey", error.description)
            default: self.init(.permissionDenied, "tokenLifetime", error.description)
            }
        case let error as TokenError: self.init(.unavailable, "issuance", error.description)
        default: self.init(issuance: error)
        }
    }
}
