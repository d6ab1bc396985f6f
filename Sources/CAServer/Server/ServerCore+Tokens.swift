// SPDX-License-Identifier: Apache-2.0

internal import AuditLog
internal import Clocks
package import ControlAPI
internal import Datastore
internal import Issuance
internal import Logging
internal import PublicEndpoint
package import SPIFFE
internal import Synchronization
internal import Telemetry

/// A batch on its way to the thread that signs it.
private final class TokensAside: Sendable {
    private let batch: Mutex<TokenBatch?>

    init(_ batch: consuming TokenBatch) {
        self.batch = Mutex(batch)
    }

    func sign(with signer: any Signer) throws -> [IssuedToken] {
        guard let batch = batch.withLock({ $0.take() }) else { return [] }
        return try batch.sign(with: signer)
    }
}

/// JWT-SVIDs for agents (docs/decisions/0017-jwt-keys-and-services.md).
extension ServerCore {
    /// Tokens that one agent may ask for in a second: a hundred workloads with five audiences each
    /// need four.
    ///
    /// One identity has all of them as long as the others leave half of
    /// `tokensAtOnceMax`, else a quarter.
    static let tokensPerSecondMax: Double = 20
    /// The same at once: what a node's workloads ask for after its start.
    static let tokensAtOnceMax: Double = 500
    /// Batches of tokens that are signed at a time: half of what there is for certificates, of which
    /// they take nothing.
    static let tokenBatchesAtOnceMax = 4
    /// Batches of tokens in the line.
    static let tokenBatchesWaitingMax = 64

    /// What health says of the key for tokens; the server is ready without it.
    static let tokenCondition = "tokenKey"

    /// What signs tokens for an authority, or why nothing does, with a word in the log and in health.
    func tokenTrust(of authority: Authority) async -> Result<TokenTrust, APIError> {
        do {
            guard let tokens = try authority.tokenAuthority() else {
                return .failure(missing(authority, "it was made before there were such keys"))
            }
            let signer = try await keys.apart {
                try $0.signer(
                    authorityID: authority.id,
                    for: .tokens,
                    publicKey: authority.tokenKeySPKI
                )
            }
            guard let signer else { return .failure(missing(authority, "it is not there")) }
            // Another key would sign nothing that verifies.
            guard signer.subjectPublicKeyInfo == authority.tokenKeySPKI else {
                return .failure(missing(authority, "what is there is another key"))
            }
            let issuer = try TokenIssuer(
                trustDomain: logic.trustDomain,
                lifetimes: configuration.tokenLifetimes,
                authority: tokens,
                issuer: configuration.publicURL?.description,
                delegatedIssuer: configuration.delegatedIssuer
            )
            if !tokenTrouble.isPresent { health.met(Self.tokenCondition) }
            return .success(TokenTrust(authorityID: authority.id, issuer: issuer, signer: signer))
        } catch {
            if !tokenTrouble.isPresent {
                logger.error(
                    "the authority's key for JWT-SVIDs cannot be used",
                    metadata: ["authority": "\(authority.id)", "error": "\(error)"]
                )
            }
            tokenTrouble.begin()
            health.unmet(Self.tokenCondition, reason: "\(error)")
            return .failure(Self.tokenKeySilent)
        }
    }

    private func missing(_ authority: Authority, _ why: String) -> APIError {
        logger.warning(
            "no key for JWT-SVIDs: none is signed until the next rotation",
            metadata: ["authority": "\(authority.id)", "reason": "\(why)"]
        )
        health.unmet(Self.tokenCondition, reason: Self.tokenKeyMissing.message)
        return Self.tokenKeyMissing
    }

    /// Signs JWT-SVIDs for an agent: each request gets its own answer.
    ///
    /// - Throws: `APIError` when the caller may not ask at all, or the commit failed; then nothing
    ///   was signed.
    package func signTokens(
        _ requests: [TokenSigningRequest],
        for peer: VerifiedPeer
    ) async throws(APIError) -> [Result<String, APIError>] {
        guard !requests.isEmpty else {
            throw APIError(.invalidArgument, "batchEmpty", "ask for at least one token")
        }
        guard requests.count <= TokenBatch.tokensMax else {
            throw APIError(
                .invalidArgument,
                "batchTooLarge",
                "at most \(TokenBatch.tokensMax) tokens in one request"
            )
        }
        do {
            // A node that may not speak takes no place from the others.
            let (logic, start) = (logic, clock.bootTime)
            _ = try await read { try logic.standing(of: peer, in: $0) }
            try await requireClock()
            // What there is a budget for is signed, the first first: the agent puts what matters most
            // there, and an answer to nobody would have it ask for all of it again.
            let agent = peer.id.description
            let waits = tokenLine.waits(of: requests.map(\.spiffeID), agent: agent, now: start)
            let allowed = zip(requests, waits).filter { $1 == nil }.map(\.0)
            let count = min(allowed.count, max(1, tokenLine.budget(of: agent, now: start)))
            let overShare = requests.count - allowed.count
            metrics.increment(.issuanceRefusals, by: overShare, APIError.identityRate)
            metrics.increment(
                .issuanceRefusals,
                by: allowed.count - count,
                APIError.signingRate
            )
            var answered: [Result<String, APIError>] = []
            if count > 0 {
                let admitted = Array(allowed.prefix(count))
                let place = try await tokenLine.enter(
                    agent: agent,
                    count: count,
                    expiresAt: nil,
                    identities: admitted.map(\.spiffeID),
                    now: start
                )
                defer { tokenLine.leave(place) }
                answered = try await retrying {
                    () throws(APIError) in try await signAdmitted(admitted, for: peer)
                }
            }
            answered += allowed.dropFirst(count).map { _ in .failure(Self.tokensRateExceeded) }
            return SigningLine.answers(answered, waits: waits)
        } catch {
            await record(error, of: "signToken", by: peer)
            throw error
        }
    }

    private func signAdmitted(
        _ requests: [TokenSigningRequest],
        for peer: VerifiedPeer
    ) async throws(APIError) -> [Result<String, APIError>] {
        let (logic, now) = (logic, clock.wallTime)
        let trust = try tokenTrust()
        let basis = try await read {
            try logic.signingBasis(for: peer, tokens: requests, in: $0)
        }
        var batch = TokenBatch(issuer: trust.issuer)
        var generator = randomness
        let outcomes = logic.prepare(
            requests,
            on: basis,
            batch: &batch,
            issuer: trust.issuer,
            now: now,
            using: &generator
        )
        let tokens = batch.tokens
        let refusals = zip(requests, outcomes).compactMap { request, outcome in
            if case .refused(let error) = outcome { (request: request, error: error) } else { nil }
        }
        let leaves = leavesAllowed(for: refusals.count, of: .spiffe(peer.id))
        if !tokens.isEmpty || leaves > 0 {
            try await write { transaction in
                try logic.commitSigning(
                    tokens,
                    by: trust.authorityID,
                    refusals: refusals,
                    leavesMax: leaves,
                    on: basis,
                    for: peer,
                    now: now,
                    in: transaction
                )
            }
        }
        anonymous.count(Self.refusalsNotRecorded, by: refusals.count - leaves)
        let issued = tokens.isEmpty ? [] : try await sign(batch, with: trust)
        metrics.increment(.svidsIssued, by: issued.count, "jwt")
        for refusal in refusals { metrics.increment(.issuanceRefusals, refusal.error.reason) }
        return outcomes.map { outcome in
            switch outcome {
            case .prepared(let index): .success(issued[index].token)
            case .refused(let error): .failure(error)
            }
        }
    }

    /// What signs tokens now.
    ///
    /// - Throws: `APIError`: why nothing does.
    func tokenTrust() throws(APIError) -> TokenTrust {
        guard !tokenTrouble.isPresent else { throw Self.tokenKeySilent }
        return try trust.tokens.get()
    }

    private static let tokensRateExceeded = APIError(
        .exhausted,
        APIError.signingRate,
        "more tokens are asked for than may be signed for one agent; try again",
        retryAfter: .seconds(1)
    )

    private static let tokenKeyMissing = APIError(
        .failedPrecondition,
        "tokenKeyMissing",
        "the active authority has no key for JWT-SVIDs; an admin makes one with signet authority "
            + "rotate"
    )

    private static let tokenKeySilent = APIError(
        .unavailable,
        "signerUnavailable",
        "the authority's key for JWT-SVIDs cannot sign at the moment; the server tries it again by "
            + "itself",
        retryAfter: signerRetryInterval
    )

    /// Signs what has been committed; where a signature waits for a device, on a thread apart.
    func sign(
        _ batch: consuming TokenBatch,
        with trust: TokenTrust
    ) async throws(APIError) -> [IssuedToken] {
        do {
            guard keys.signaturesWait else { return try batch.sign(with: trust.signer) }
            let aside = TokensAside(batch)
            return try await keys.apart { _ in try aside.sign(with: trust.signer) }
        } catch {
            logger.critical("signing a token failed after commit", metadata: ["error": "\(error)"])
            // Whatever it was, the next batch would be committed for nothing as well.
            tokenTrouble.begin()
            health.unmet(Self.tokenCondition, reason: "\(error)")
            throw Self.tokenKeySilent
        }
    }

    /// After a failure, tries until the key for tokens signs again.
    func watchTokenSigner() async {
        while !Task.isCancelled {
            await tokenTrouble.wait()
            while tokenTrouble.isPresent, !Task.isCancelled {
                try? await clock.sleep(untilBoot: clock.bootTime + Self.signerRetryInterval)
                guard !Task.isCancelled, let trust = try? trust else { continue }
                do {
                    let signer: any Signer
                    switch trust.tokens {
                    case .success(let tokens): signer = tokens.signer
                    case .failure(Self.tokenKeySilent):
                        await refreshTrust()
                        continue
                    case .failure:
                        // There is nothing to be tried: `tokenTrust(of:)` has said so.
                        tokenTrouble.end()
                        continue
                    }
                    _ = try await keys.apart { _ in try signer.signature(for: Self.signerProbe) }
                    tokenTrouble.end()
                    health.met(Self.tokenCondition)
                    logger.notice("the authority's key for JWT-SVIDs signs again")
                } catch {
                    logger.debug(
                        "the authority's key for JWT-SVIDs does not sign",
                        metadata: ["error": "\(error)"]
                    )
                }
            }
        }
    }
}
