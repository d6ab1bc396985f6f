// SPDX-License-Identifier: Apache-2.0

internal import ControlAPI
internal import TokenEndpoint

extension EndpointRefusal {
    /// What passes by itself, in a while.
    ///
    /// - Parameters:
    ///   - description: What it is.
    ///   - cause: Its name in metrics.
    ///   - retryAfter: In what time, if that is known.
    /// - Returns: The refusal.
    static func unavailable(
        _ description: String,
        because cause: Cause,
        retryAfter: Duration? = nil
    ) -> Self {
        Self(
            .temporarilyUnavailable,
            description,
            status: 503,
            retryAfter: seconds(retryAfter),
            cause: cause
        )
    }

    /// More is asked for than is given.
    private static func limited(_ description: String, retryAfter: Duration?) -> Self {
        Self(
            .temporarilyUnavailable,
            description,
            status: 429,
            retryAfter: seconds(retryAfter),
            cause: .limited
        )
    }

    /// Whole seconds, as `Retry-After` has them; one if nobody knows.
    private static func seconds(_ wait: Duration?) -> Int {
        wait.map { max(1, Int(($0 / .seconds(1)).rounded(.up))) } ?? 1
    }

    /// Too much is asked for.
    init(_ refusal: ExchangeAdmission.Refusal) {
        switch refusal {
        case .underWay:
            self = .limited(
                "exchangesUnderWay: the exchanges of one user that are under way, or those of all, "
                    + "are as many as may be; wait for an answer",
                retryAfter: nil
            )
        case .rate(let after):
            self = .limited(
                "exchangeRate: more is asked for than is exchanged for one user; keep what you get "
                    + "for expires_in",
                retryAfter: after
            )
        }
    }

    /// What the server, or the agent itself, said.
    init(exchange error: APIError) {
        let text = "\(error.reason): \(error.message)"
        switch error.reason {
        case "delegationNotPermitted": self.init(.invalidTarget, text)
        case "exchangeOff": self.init(.unsupportedGrantType, text)
        case APIError.signingRate: self = .limited(text, retryAfter: error.retryAfter)
        case "audience", "chainRefused", "delegationNoLongerPermitted", "partyRevoked",
            "subjectTokenAudience", "subjectTokenEnds", "subjectTokenRefused":
            self.init(.invalidRequest, text)
        default:
            switch error.kind {
            // A server of a release before answers so as well.
            case .unimplemented: self.init(.unsupportedGrantType, text)
            // A precondition that fails is the server's key: every other has its reason above.
            case .conflict, .exhausted, .failedPrecondition, .fault, .unavailable:
                self = .unavailable(
                    text,
                    because: Self.cause(of: error),
                    retryAfter: error.retryAfter
                )
            case .invalidArgument, .notFound, .permissionDenied, .unauthenticated:
                self.init(.invalidClient, text)
            }
        }
    }

    /// Whose fault it is that nothing is exchanged now.
    private static func cause(of error: APIError) -> Cause {
        switch error.reason {
        case "noEntries", "nodeUnknown": .notReady
        case ExchangeCall.emptyAnswer.reason: .badAnswer
        case ServerCall.serverAway.reason, "transport": .serverAway
        default: .serverRefused
        }
    }
}
