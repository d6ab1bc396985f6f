// SPDX-License-Identifier: Apache-2.0

internal import Clocks
package import ControlAPI
internal import Datastore
internal import Issuance
package import SPIFFE
internal import Synchronization
internal import Telemetry

/// The keys of the own bundle in the form that verifies, which costs: made once for each bundle.
final class SubjectKeys: Sendable {
    struct Known: Sendable {
        let sequenceNumber: UInt64
        let verifier: JWTSVIDVerifier
    }

    private let state = Mutex<Known?>(nil)

    /// What there is; another bundle may have come since.
    var known: Known? { state.withLock { $0 } }

    /// The verifier of a bundle, which holds no other trust domain's keys.
    ///
    /// - Parameters:
    ///   - bundle: The own trust domain's.
    ///   - sequenceNumber: Its number in the datastore.
    /// - Returns: It, kept unless a later one is.
    func verifier(of bundle: TrustBundle, sequenceNumber: UInt64) -> JWTSVIDVerifier {
        let verifier = JWTSVIDVerifier(bundles: [bundle.trustDomain: bundle])
        state.withLock { known in
            if let known, known.sequenceNumber > sequenceNumber { return }
            known = Known(sequenceNumber: sequenceNumber, verifier: verifier)
        }
        return verifier
    }
}

/// Tokens "A, through B" for agents (docs/decisions/0024-token-exchange.md).
extension ServerCore {
    /// Exchanges that one agent may ask for in a second: each has a leaf of its own, and clients keep
    /// what they got.
    static let exchangesPerSecondMax: Double = 10
    /// The same at once: as many workloads that are called for the first time.
    static let exchangesAtOnceMax: Double = 100
    /// Exchanges that are judged at a time: of what there is for certificates and tokens they take
    /// nothing.
    static let exchangesSignedAtOnceMax = 2
    /// Exchanges in the line.
    static let exchangesWaitingMax = 64
    /// Exchanges of one agent in the line: as many as it has under way.
    static let exchangesWaitingPerAgentMax = 16

    static var exchangeLimits: SigningAdmission.Limits {
        SigningAdmission.Limits(
            agentRate: exchangesPerSecondMax,
            agentBurst: exchangesAtOnceMax,
            signingMax: exchangesSignedAtOnceMax,
            waitingMax: exchangesWaitingMax,
            waitingPerAgentMax: exchangesWaitingPerAgentMax
        )
    }

    /// Exchanges a token that a workload was shown.
    ///
    /// The agent is believed no more than for JWT-SVIDs: that its process is the actor is its word;
    /// that the actor is on this node, and that the token was for the actor, is not.
    ///
    /// - Parameters:
    ///   - request: What is asked for.
    ///   - peer: The actor's agent.
    /// - Returns: The token, or why there is none.
    /// - Throws: `APIError` when the caller may not ask at all, or the commit failed; then nothing
    ///   was signed.
    package func exchange(
        _ request: TokenExchangeRequest,
        for peer: VerifiedPeer
    ) async throws(APIError) -> Result<String, APIError> {
        guard configuration.exchangesTokens else {
            let refusal = APIError(exchange: ExchangeRefusal.exchangeOff)
            metrics.increment(.issuanceRefusals, refusal.reason)
            return .failure(refusal)
        }
        do {
            // A node that may not speak takes no place from the others.
            let (logic, start) = (logic, clock.bootTime)
            _ = try await read { try logic.standing(of: peer, in: $0) }
            try await requireClock()
            let place = try await exchangeLine.enter(
                agent: peer.id.description,
                count: 1,
                expiresAt: nil,
                now: start
            )
            defer { exchangeLine.leave(place) }
            return try await retrying {
                () throws(APIError) in try await exchangeAdmitted(request, for: peer)
            }
        } catch {
            await record(error, of: "exchangeToken", by: peer)
            throw error
        }
    }

    private func exchangeAdmitted(
        _ request: TokenExchangeRequest,
        for peer: VerifiedPeer
    ) async throws(APIError) -> Result<String, APIError> {
        let (logic, now) = (logic, clock.wallTime)
        let trust = try tokenTrust()
        let ground = try await exchangeGround(of: request, for: peer)
        let signing = ground.signing
        let subject: SubjectToken
        do {
            subject = try SubjectToken(
                verifying: Array(request.subjectToken.utf8),
                shownTo: SPIFFEID(request.spiffeID),
                by: ground.verifier,
                now: now
            )
        } catch {
            return try await refuse(request, APIError(exchange: error), on: signing, for: peer)
        }
        let basis = try await read {
            try logic.exchangeBasis(
                of: subject,
                to: request.audience,
                signing: signing,
                bundleSequenceNumber: ground.sequenceNumber,
                in: $0
            )
        }
        var batch = TokenBatch(issuer: trust.issuer)
        var generator = randomness
        let prepared = logic.prepare(
            request,
            on: basis,
            batch: &batch,
            issuer: trust.issuer,
            now: now,
            using: &generator
        )
        let token: PreparedToken
        switch prepared {
        case .success(let prepared): token = prepared
        case .failure(let error):
            return try await refuse(request, error, on: signing, for: peer)
        }
        try await write { transaction in
            try logic.commitExchange(
                token,
                by: trust.authorityID,
                on: basis,
                of: request,
                for: peer,
                now: now,
                in: transaction
            )
        }
        let issued = try await sign(batch, with: trust)
        guard let first = issued.first else {
            throw APIError(.fault, "fault", "the server failed; its log tells more")
        }
        metrics.increment(.svidsIssued, "delegated")
        return .success(first.token)
    }

    /// What is read before the token shown is looked at.
    private struct ExchangeGround: Sendable {
        let signing: SigningBasis
        /// Of the bundle that `verifier` has.
        let sequenceNumber: UInt64
        let verifier: JWTSVIDVerifier
    }

    private func exchangeGround(
        of request: TokenExchangeRequest,
        for peer: VerifiedPeer
    ) async throws(APIError) -> ExchangeGround {
        let (logic, known) = (logic, subjectKeys.known)
        let (signing, number, bundle) = try await read { transaction in
            let number = try transaction.bundleSequenceNumber()
            return (
                try logic.signingBasis(
                    for: peer,
                    entries: [request.entryID],
                    ids: [request.spiffeID],
                    in: transaction
                ),
                number,
                known?.sequenceNumber == number ? nil : try SyncContent.bundle(in: transaction)
            )
        }
        if let known, known.sequenceNumber == number {
            return ExchangeGround(
                signing: signing,
                sequenceNumber: number,
                verifier: known.verifier
            )
        }
        guard let bundle else {
            throw APIError(
                .unavailable,
                "noAuthority",
                "the server has no active authority yet; retry"
            )
        }
        return ExchangeGround(
            signing: signing,
            sequenceNumber: number,
            verifier: subjectKeys.verifier(of: bundle, sequenceNumber: number)
        )
    }

    /// Records a refusal, at a bounded rate for each agent.
    private func refuse(
        _ request: TokenExchangeRequest,
        _ error: APIError,
        on basis: SigningBasis,
        for peer: VerifiedPeer
    ) async throws(APIError) -> Result<String, APIError> {
        let (logic, now) = (logic, clock.wallTime)
        let leaves = leavesAllowed(for: 1, of: .spiffe(peer.id))
        if leaves > 0 {
            let refusal = ServerLogic.SigningRefusal(
                entryID: request.entryID,
                spiffeID: request.spiffeID,
                error: error
            )
            try await write { transaction in
                try logic.record(
                    [refusal],
                    what: "exchange a token for entry",
                    leavesMax: leaves,
                    on: basis,
                    for: peer,
                    now: now,
                    in: transaction
                )
            }
        }
        anonymous.count(Self.refusalsNotRecorded, by: 1 - leaves)
        metrics.increment(.issuanceRefusals, error.reason)
        return .failure(error)
    }
}
