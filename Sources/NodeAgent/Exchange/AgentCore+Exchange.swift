// SPDX-License-Identifier: Apache-2.0

internal import Clocks
internal import ControlAPI
internal import FoundationEssentials
internal import Logging
internal import NodeSync
internal import SPIFFE
internal import TokenEndpoint

/// A token that a workload was shown, as the agent has verified it, with the identity that it was
/// shown to.
struct ShownToken: Sendable {
    let grant: TokenGrant
    /// What the new token has to say: the actor is its last.
    let chain: DelegationChain
    let expiresAt: Date
}

/// Tokens "A, through B" for the workloads of this node (docs/decisions/0024-token-exchange.md).
extension AgentCore {
    /// How long after a token was signed its key may not have come from the server yet: a new key is in
    /// bundles before it signs.
    static let keyDelayMax: Duration = .seconds(30)

    /// Exchanges a token for a process.
    ///
    /// - Parameters:
    ///   - form: What it asks for.
    ///   - selectors: What it attested to.
    ///   - uid: Its user.
    ///   - places: What counts exchanges.
    /// - Returns: The token, verified, and in how many seconds it ends.
    /// - Throws: `EndpointRefusal`.
    func exchange(
        _ form: ExchangeForm,
        for selectors: Set<Selector>,
        uid: UInt32,
        places: ExchangePlaces
    ) async throws(EndpointRefusal) -> (token: String, expiresIn: Int) {
        let grants = try exchangeGrants(selectors)
        // Before anything of the token is judged: what is refused counts too.
        if let refusal = places.enter(uid: uid, now: clock.bootTime) {
            // Those under way wait for a server then, and waiting for their answers would not help.
            guard refusal != .underWay || ask({ $0.isOnline }) else {
                throw EndpointRefusal(exchange: ServerCall.serverAway)
            }
            throw EndpointRefusal(refusal)
        }
        defer { places.leave(uid: uid) }
        let shown = try shown(form.subjectToken, to: grants)
        if let client = form.clientID,
            !client.utf8.elementsEqual(shown.grant.spiffeID.description.utf8)
        {
            throw EndpointRefusal(
                .invalidClient,
                "client_id is not \(shown.grant.spiffeID), to whom subject_token was shown"
            )
        }
        let token = try await askForExchange(shown.grant, form)
        let end = try checked(token, shown, form.audience)
        // Entry and identity may have ended while the server was asked; that somebody wrote another
        // hint changes nothing of who it is.
        let isStill = try exchangeGrants(selectors).contains { grant in
            grant.entryID == shown.grant.entryID && grant.spiffeID == shown.grant.spiffeID
        }
        guard isStill else {
            throw EndpointRefusal(
                .invalidClient,
                "the entry of \(shown.grant.spiffeID) has just changed; ask again"
            )
        }
        return (token, Int(end.timeIntervalSince(clock.wallTime)))
    }

    private func exchangeGrants(
        _ selectors: Set<Selector>
    ) throws(EndpointRefusal) -> [TokenGrant] {
        do throws(APIError) {
            return try ask { logic in
                Result { () throws(APIError) in try logic.tokenGrants(to: selectors) }
            }.get()
        } catch {
            throw EndpointRefusal(exchange: error)
        }
    }

    /// Which identity of a process a token was shown to.
    ///
    /// The server judges the same once more; here bad tokens end before they reach it.
    private func shown(
        _ token: String,
        to grants: [TokenGrant]
    ) throws(EndpointRefusal) -> ShownToken {
        let verifier = try requiredVerifier
        let (bytes, now) = (Array(token.utf8), clock.wallTime)
        let isDelegated = (try? CompactJWS(parsing: bytes))?.isDelegated ?? false
        for grant in grants {
            let audience = grant.spiffeID.description
            do {
                let (before, end) =
                    isDelegated
                    ? try Self.delegated(bytes, audience, verifier, now)
                    : try Self.svid(bytes, audience, verifier, now)
                return ShownToken(
                    grant: grant,
                    chain: try before.appending(grant.spiffeID),
                    expiresAt: end
                )
            } catch JWTSVIDError.audienceDiffers, DelegatedTokenError.token(.audienceDiffers) {
                continue
            } catch JWTSVIDError.keyUnknown, JWTSVIDError.bundleHasNoKey,
                DelegatedTokenError.token(.keyUnknown), DelegatedTokenError.token(.bundleHasNoKey)
            {
                guard mayComeYet(bytes, isDelegated, now) else {
                    throw .invalidRequest(
                        "subjectTokenRefused: subject_token: \(JWTSVIDError.keyUnknown)"
                    )
                }
                throw .unavailable(
                    "keyUnknown: the agent knows no key by which to verify subject_token; its "
                        + "server may have a new one",
                    because: .notReady
                )
            } catch let error as DelegationChainError {
                throw .invalidRequest("chainRefused: \(error)")
            } catch {
                throw .invalidRequest("subjectTokenRefused: subject_token: \(error)")
            }
        }
        throw .invalidRequest(
            "subjectTokenAudience: subject_token is for none of the caller's identities; its one "
                + "audience has to be the SPIFFE ID of who exchanges it"
        )
    }

    /// Whether the key of a token may be newer than what has come from the server.
    ///
    /// What the token says of itself is not verified: whoever invents it, invents a new moment each
    /// time, at the rate that a user has.
    private func mayComeYet(_ token: [UInt8], _ isDelegated: Bool, _ now: Date) -> Bool {
        guard ask({ $0.isCurrent }) else { return true }
        guard let payload = (try? CompactJWS(parsing: token))?.payload else { return false }
        let issuedAt =
            isDelegated
            ? (try? DelegationClaims(parsing: payload))?.issuedAt
            : (try? JWTClaims(parsing: payload))?.issuedAt
        guard let issuedAt else { return false }
        let age = now.timeIntervalSince(issuedAt)
        return abs(age) <= Self.keyDelayMax / .seconds(1)
    }

    private static func delegated(
        _ token: [UInt8],
        _ audience: String,
        _ verifier: JWTSVIDVerifier,
        _ now: Date
    ) throws -> (DelegationChain, Date) {
        let verified = try verifier.verifyDelegated(
            token: token,
            audience: audience,
            leeway: .zero,
            now: now
        )
        return (verified.chain, verified.claims.expiresAt)
    }

    private static func svid(
        _ token: [UInt8],
        _ audience: String,
        _ verifier: JWTSVIDVerifier,
        _ now: Date
    ) throws -> (DelegationChain, Date) {
        let verified = try verifier.verify(
            token: token,
            audience: audience,
            leeway: .zero,
            now: now
        )
        return (try DelegationChain(subject: verified.id), verified.claims.expiresAt)
    }

    private var ownTokenVerifier: JWTSVIDVerifier {
        tokenVerifiers.verifier(ask { [$0.cache.tokenBundle].compactMap(\.self) })
    }

    /// The verifier, if the own bundle has come: without it every token is a stranger's.
    private var requiredVerifier: JWTSVIDVerifier {
        get throws(EndpointRefusal) {
            guard let bundle = ask({ $0.cache.tokenBundle }) else {
                throw .unavailable("noBundle: the agent has no bundle yet", because: .notReady)
            }
            return tokenVerifiers.verifier([bundle])
        }
    }

    private func askForExchange(
        _ grant: TokenGrant,
        _ form: ExchangeForm
    ) async throws(EndpointRefusal) -> String {
        let answer = ServerAnswer<String>()
        send(grant, form, answer)
        switch await answer.value() {
        case .success(let token): return token
        case .failure(let error): throw EndpointRefusal(exchange: error)
        }
    }

    /// Hands a call to the connection and keeps nothing of it.
    private func send(_ grant: TokenGrant, _ form: ExchangeForm, _ answer: ServerAnswer<String>) {
        let call = ExchangeCall(
            grant,
            subjectToken: form.subjectToken,
            audience: form.audience
        ) { answer.finish($0) }
        if !callServer(.exchange(call)) { call.finish(.failure(ServerCall.serverAway)) }
    }

    /// Verifies that what the server sent says what was asked for.
    ///
    /// - Returns: When it ends.
    private func checked(
        _ token: String,
        _ shown: ShownToken,
        _ audience: String
    ) throws(EndpointRefusal) -> Date {
        let verified: VerifiedDelegatedToken
        let now = clock.wallTime
        do throws(DelegatedTokenError) {
            verified = try ownTokenVerifier.verifyDelegated(
                token: Array(token.utf8),
                audience: audience,
                now: now
            )
        } catch {
            throw Self.passing(error) ?? badAnswer("it does not verify: \(error)", shown)
        }
        let claims = verified.claims
        guard claims.chain == shown.chain else { throw badAnswer("its chain is another", shown) }
        guard claims.expiresAt <= shown.expiresAt else {
            throw badAnswer("it ends after the token that was shown", shown)
        }
        guard claims.expiresAt > now else { throw Self.ended }
        if let party = revokedParty(of: verified) {
            throw .invalidRequest(
                "partyRevoked: \(party) was revoked after the token was issued; ask for a new one"
            )
        }
        guard isStanding(verified) else {
            throw .unavailable(
                "identityRevoked: the actor, or the key that signed, has just been revoked; ask "
                    + "again",
                because: .overtaken
            )
        }
        return claims.expiresAt
    }

    private static let ended = EndpointRefusal.unavailable(
        "tokenEnded: the token ended while it was waited for, or the agent's clock differs from the "
            + "server's; ask again",
        because: .overtaken
    )

    /// What a server that does everything right may cause: its key is newer than the agent's bundle or
    /// was revoked meanwhile, or clocks differ.
    ///
    /// - Returns: Nil of everything else.
    private static func passing(_ error: DelegatedTokenError) -> EndpointRefusal? {
        switch error {
        case .token(.keyUnknown), .token(.bundleHasNoKey):
            .unavailable(
                "keyUnknown: the agent knows no key by which to verify what the server signed: it "
                    + "is new, or was just revoked; ask again",
                because: .notReady
            )
        case .token(.expired): ended
        case .token(.notYetValid):
            .unavailable(
                "clockDiffers: by the agent's clock what the server signed is not valid yet; ask "
                    + "again, and set the clocks right",
                because: .notReady
            )
        default: nil
        }
    }

    /// What the server signed is not given to anybody: its operators have to know, not the workload
    /// alone.
    private func badAnswer(_ rule: String, _ shown: ShownToken) -> EndpointRefusal {
        logger.error(
            "the server's answer to an exchange is not what it was asked for",
            metadata: [
                "reason": "\(rule)", "actor": "\(shown.grant.spiffeID)",
                "subject": "\(shown.chain.subject)",
            ]
        )
        return .unavailable(
            "answerRefused: what the server signed is not what it was asked for: \(rule)",
            because: .badAnswer
        )
    }

    /// Whoever a token speaks for and who was revoked after it was issued; with him the token that it
    /// was made from is worth nothing any more.
    private func revokedParty(of token: VerifiedDelegatedToken) -> SPIFFEID? {
        let (chain, issuedAt) = (token.chain, token.claims.issuedAt)
        return ask { logic in
            ([chain.subject] + chain.actors.dropLast()).first { id in
                logic.cache.revokedBefore(id).map { issuedAt < $0 } ?? false
            }
        }
    }

    /// Whether nobody in a token's chain, nor its key, was revoked after it was issued.
    private func isStanding(_ token: VerifiedDelegatedToken) -> Bool {
        let chain = token.chain
        return ask { logic in
            ([chain.subject] + chain.actors).allSatisfy { id in
                logic.cache.standing(
                    ofToken: id,
                    issuedAt: token.claims.issuedAt,
                    keyID: token.keyID
                ) != .withheld
            }
        }
    }

    /// Says whether a token "A, through B" is good for who was shown it (RFC 7662 section 2.2).
    ///
    /// - Parameters:
    ///   - form: What a process asks.
    ///   - selectors: What it attested to.
    /// - Returns: The token's claims if it is; else that it is not, and no more.
    /// - Throws: `EndpointRefusal` if no entry means the process.
    func introspect(
        _ form: IntrospectionForm,
        for selectors: Set<Selector>
    ) throws(EndpointRefusal) -> (isActive: Bool, members: [String: JSONValue]) {
        _ = try exchangeGrants(selectors)
        // What has ended is not active for a while longer; nothing of ours begins later.
        let verified = try? ownTokenVerifier.verifyDelegated(
            token: Array(form.token.utf8),
            audience: form.audience,
            leeway: .zero,
            now: clock.wallTime
        )
        guard let verified, isStanding(verified) else {
            return (false, ["active": .boolean(false)])
        }
        var members = verified.claims.all
        members["active"] = .boolean(true)
        members["token_type"] = .string("Bearer")
        return (true, members)
    }
}
