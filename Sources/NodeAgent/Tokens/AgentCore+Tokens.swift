// SPDX-License-Identifier: Apache-2.0

internal import Clocks
internal import ControlAPI
internal import FoundationEssentials
internal import NodeSync
internal import SPIFFE
internal import Telemetry

extension AgentLogic {
    /// What the entries grant to a process that shows these selectors.
    ///
    /// - Throws: `APIError`: denied if nothing does, unavailable if that cannot be known yet.
    func tokenGrants(to selectors: Set<Selector>) throws(APIError) -> [TokenGrant] {
        guard sync.revision != nil else {
            throw APIError(
                .unavailable,
                "noEntries",
                "the agent has not yet received its entries; try again"
            )
        }
        let grants = cache.tokenGrants(to: selectors)
        guard grants.isEmpty else { return grants }
        // A denial makes a workload give up what it has.
        guard knowsNode || !cache.mayBeGranted(to: selectors) else {
            throw APIError(
                .unavailable,
                "nodeUnknown",
                "the agent was started anew and has not heard from its server what this node was "
                    + "attested to be; try again"
            )
        }
        throw APIError(
            .permissionDenied,
            "notRegistered",
            "no registration entry means this process"
        )
    }
}

/// JWT-SVIDs for the workloads of this node.
extension AgentCore {
    /// A token of each identity that a process has, or of the one that it wants.
    ///
    /// An identity that none is to be had for now is left out, unless it is the only one.
    ///
    /// - Parameters:
    ///   - selectors: What the process attested to.
    ///   - wanted: The ID that it asks for; nil: all.
    ///   - audiences: Who the tokens are for.
    ///   - uid: The process's user.
    /// - Returns: The tokens in the order of the identities, with their grants.
    /// - Throws: `APIError` if it has none, or the server cannot be asked for one that is missing.
    func tokens(
        for selectors: Set<Selector>,
        wanted: SPIFFEID?,
        audiences: TokenAudiences,
        uid: UInt32
    ) async throws(APIError) -> [(grant: TokenGrant, token: KeptToken)] {
        let grants = try grants(selectors, wanted)
        let keys = grants.map { grant in
            TokenKey(
                entryID: grant.entryID,
                entryRevision: grant.entryRevision,
                spiffeID: grant.spiffeID,
                audiences: audiences
            )
        }
        var found = try tokenDesk.find(
            Array(zip(keys, grants)),
            uid: uid,
            now: clock.wallTime,
            boot: clock.bootTime,
            standing
        )
        metrics.set(.cachedTokens, to: Double(tokenDesk.keptCount))
        askForTokens()
        var refusal = found.refusal
        if !found.flights.isEmpty {
            defer { tokenDesk.leave(uid: uid) }
            // Nobody who holds a token waits long for another one.
            let deadline = found.tokens.isEmpty ? nil : clock.bootTime + Self.restWait
            for flight in found.flights {
                switch await value(of: flight, by: deadline) {
                case nil: break
                case .success(let token): found.tokens[flight.key] = token
                case .failure(let error): refusal = refusal ?? error
                }
            }
        }
        // Entry, identity and authority may have ended while the server was asked.
        let stillGranted = Set(try self.grants(selectors, wanted))
        let now = clock.wallTime
        let given = zip(keys, grants).compactMap {
            key,
            grant -> (grant: TokenGrant, token: KeptToken)? in
            guard stillGranted.contains(grant), let token = found.tokens[key],
                token.isLasting(now: now), standing(key, token) != .withheld
            else { return nil }
            return (grant, token)
        }
        guard !given.isEmpty else { throw refusal ?? Self.overtaken }
        return given
    }

    /// How long a process that holds a token of one identity waits for those of others.
    static let restWait: Duration = .seconds(2)

    /// What comes of a flight; nil if that is not known in time.
    private func value(
        of flight: TokenFlight,
        by deadline: Duration?
    ) async -> Result<KeptToken, APIError>? {
        guard let deadline else { return await flight.value() }
        let clock = clock
        return await withTaskGroup(of: Result<KeptToken, APIError>?.self) { group in
            group.addTask { await flight.value() }
            group.addTask {
                try? await clock.sleep(untilBoot: deadline)
                return nil
            }
            defer { group.cancelAll() }
            return await group.next().flatMap(\.self)
        }
    }

    private static let overtaken = APIError(
        .unavailable,
        "tokenOvertaken",
        "something of the identity has just changed; ask again"
    )

    private func grants(
        _ selectors: Set<Selector>,
        _ wanted: SPIFFEID?
    ) throws(APIError) -> [TokenGrant] {
        let all = try ask { logic in
            Result { () throws(APIError) in try logic.tokenGrants(to: selectors) }
        }.get()
        guard let wanted else { return all }
        // Several entries may give one ID; the oldest does.
        guard let grant = all.first(where: { $0.spiffeID == wanted }) else {
            throw APIError(
                .permissionDenied,
                "notRegistered",
                "no registration entry gives this process \(wanted)"
            )
        }
        return [grant]
    }

    private func standing(_ key: TokenKey, _ token: KeptToken) -> TokenMemory.Standing {
        ask { logic in
            logic.cache.standing(
                ofToken: key.spiffeID,
                issuedAt: token.issuedAt,
                keyID: token.keyID
            )
        }
    }

    /// Asks again for what identities have waited for of which the server signed no more.
    func rested(_ identities: Set<SPIFFEID>) {
        tokenDesk.rested(identities)
        askForTokens()
    }

    /// Asks the server for what is noted, one request at a time.
    private func askForTokens() {
        guard let flights = tokenDesk.next() else { return }
        let call = TokenCall(flights) { [weak self] results in
            guard let self else {
                for (flight, result) in zip(flights, results) { flight.finish(result) }
                return
            }
            tokenDesk.answered(flights, results, boot: clock.bootTime)
            metrics.set(.cachedTokens, to: Double(tokenDesk.keptCount))
        } onRelease: { [weak self] in
            self?.tokenDesk.released()
            self?.askForTokens()
        }
        guard !callServer(.tokens(call)) else { return }
        call.fail(TokenCall.serverAway)
        call.release()
    }

    /// Verifies a token for a process of this node.
    ///
    /// - Throws: `APIError`: denied if no entry means the process, else why the token is refused.
    func validate(
        token: String,
        audience: String,
        for selectors: Set<Selector>
    ) throws(APIError) -> VerifiedJWTSVID {
        _ = try grants(selectors, nil)
        let verifier = tokenVerifiers.verifier(ask { $0.cache.tokenBundles(for: selectors) })
        let verified: VerifiedJWTSVID
        do throws(JWTSVIDError) {
            verified = try verifier.verify(
                token: Array(token.utf8),
                audience: audience,
                now: clock.wallTime
            )
        } catch {
            throw APIError(.invalidArgument, "tokenRefused", error.description)
        }
        guard verified.id.trustDomain == trustDomain else { return verified }
        let standing = ask { logic in
            logic.cache.standing(
                ofToken: verified.id,
                issuedAt: verified.claims.issuedAt,
                keyID: verified.keyID
            )
        }
        guard standing != .withheld else {
            throw APIError(
                .invalidArgument,
                "tokenRevoked",
                "the token was issued before its identity or its key was revoked"
            )
        }
        return verified
    }
}
