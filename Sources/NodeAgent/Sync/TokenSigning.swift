// SPDX-License-Identifier: Apache-2.0

internal import Clocks
package import ControlAPI
package import ControlAPIProtos
package import FoundationEssentials
internal import GRPCCore
package import NodeSync
package import SPIFFE
internal import SwiftProtobuf

/// Has JWT-SVIDs signed; each is verified before it counts.
package struct TokenSigning {
    /// Who has to wait after an answer.
    package struct Pauses: Hashable, Sendable {
        /// All of the node.
        package var node = false
        /// Identities that have used up their share, and nobody else.
        package var identities: Set<SPIFFEID> = []

        /// Everybody: the server could not be asked.
        static let everybody: Self = {
            var pauses = Self()
            pauses.node = true
            return pauses
        }()

        private init() {}

        /// What the answers to flights mean.
        package init(_ flights: [TokenFlight], _ results: TokenCall.Results) {
            for (flight, result) in zip(flights, results) {
                guard case .failure(let error) = result else { continue }
                if error.reason == APIError.signingRate { node = true }
                if error.reason == APIError.identityRate { identities.insert(flight.key.spiffeID) }
            }
        }
    }

    /// How long the server is left in peace after it refused something for the rate, or all: its
    /// budget for a node has twenty again by then, and that for an identity five.
    static let pause: Duration = .seconds(1)

    let core: AgentCore

    /// Has one request answered; the next one is made when the call is released, which is before
    /// this returns if identities alone have to wait.
    func sign(_ call: TokenCall, on node: ServerConnection.Node) async {
        let pauses = await answer(call, on: node)
        if !pauses.node { call.release() }
        if pauses.node || !pauses.identities.isEmpty {
            try? await core.clock.sleep(untilBoot: core.clock.bootTime + Self.pause)
        }
        if !pauses.identities.isEmpty { core.rested(pauses.identities) }
        call.release()
    }

    private func answer(_ call: TokenCall, on node: ServerConnection.Node) async -> Pauses {
        let (mark, have) = (core.ask { $0.audit.mark }, core.checkpointHave())
        do {
            let response = try await node.signJWTSVIDs(
                .with { request in
                    request.requests = call.flights.map(\.message)
                    request.checkpointHave = have
                },
                options: .besideStream(timeout: TokenDesk.waitMax)
            )
            guard response.results.count == call.flights.count else {
                throw WireError.field("results", "not as many as requests")
            }
            core.received(response.checkpoint, asked: mark)
            let verifier = core.tokenVerifiers.verifier(
                core.ask { [$0.cache.tokenBundle].compactMap(\.self) }
            )
            let (now, boot) = (core.clock.wallTime, core.clock.bootTime)
            let results = zip(call.flights, response.results).map { flight, result in
                Self.result(result.result, of: flight, verifier, now: now, boot: boot)
            }
            call.finish(results)
            return Pauses(call.flights, results)
        } catch {
            call.fail(
                (error as? RPCError).map { APIError($0) }
                    ?? APIError(.unavailable, "tokens", "\(error)")
            )
            return .everybody
        }
    }

    /// What one answer means: a token that says exactly what was asked for, or why there is none.
    ///
    /// - Parameters:
    ///   - result: What the server sent.
    ///   - flight: What was asked for.
    ///   - verifier: Of the own bundle as it is now.
    ///   - now: The wall clock.
    ///   - boot: Time since boot.
    /// - Returns: What is kept, or why nothing is.
    package static func result(
        _ result: Signet_Node_V1alpha1_SignJWTSVIDResult.OneOf_Result?,
        of flight: TokenFlight,
        _ verifier: JWTSVIDVerifier,
        now: Date,
        boot: Duration
    ) -> Result<KeptToken, APIError> {
        switch result {
        case .refusal(let refusal):
            let kind: APIError.Kind = refusal.retryable ? .unavailable : .permissionDenied
            return .failure(APIError(kind, refusal.code, refusal.message))
        case nil:
            return .failure(
                APIError(.unavailable, "tokens", "the server sent neither token nor refusal")
            )
        case .token(let token):
            let audiences = flight.key.audiences
            do throws(JWTSVIDError) {
                let verified = try verifier.verify(
                    token: Array(token.utf8),
                    audience: audiences.texts[0],
                    now: now
                )
                let claims = verified.claims
                guard verified.id == flight.key.spiffeID, let issuedAt = claims.issuedAt,
                    claims.expiresAt > now,
                    (try? TokenAudiences(claims.audiences)) == audiences
                else {
                    return .failure(
                        APIError(
                            .unavailable,
                            "tokenDiffers",
                            "what the server signed is not what it was asked for"
                        )
                    )
                }
                return .success(
                    KeptToken(
                        token: token,
                        issuedAt: issuedAt,
                        notAfter: claims.expiresAt,
                        keyID: verified.keyID,
                        receivedAt: boot
                    )
                )
            } catch {
                return .failure(
                    APIError(
                        .unavailable,
                        "tokenDoesNotVerify",
                        "what the server signed does not verify: \(error)"
                    )
                )
            }
        }
    }
}

extension TokenFlight {
    fileprivate var message: Signet_Node_V1alpha1_SignJWTSVID {
        .with {
            $0.entryID = grant.entryID
            $0.spiffeID = grant.spiffeID.description
            $0.audiences = key.audiences.texts
            $0.variables = grant.variables
        }
    }
}
