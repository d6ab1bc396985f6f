// SPDX-License-Identifier: Apache-2.0

internal import ControlAPI
internal import TokenEndpoint

extension EndpointRefusal {
    /// What passes by itself, in a while.
    static func unavailable(_ description: String) -> Self {
        Self(.temporarilyUnavailable, description, status: 503, retryAfter: 1)
    }

    /// Too much is asked for.
    init(_ refusal: ExchangeAdmission.Refusal) {
        let seconds: Int
        switch refusal {
        case .underWay: seconds = 1
        case .rate(let after): seconds = max(1, Int((after / .seconds(1)).rounded(.up)))
        }
        self.init(
            .temporarilyUnavailable,
            "exchangeRate: more is asked for than is exchanged for one user; keep what you get for "
                + "expires_in",
            status: 429,
            retryAfter: seconds
        )
    }

    /// What the server, or the agent itself, said.
    init(exchange error: APIError) {
        let text = "\(error.reason): \(error.message)"
        switch error.reason {
        case "delegationNotPermitted": self.init(.invalidTarget, text)
        case "exchangeOff": self.init(.unsupportedGrantType, text)
        case APIError.signingRate:
            self.init(.temporarilyUnavailable, text, status: 429, retryAfter: 1)
        case "audience", "chainRefused", "delegationNoLongerPermitted", "partyRevoked",
            "subjectTokenAudience", "subjectTokenEnds", "subjectTokenRefused":
            self.init(.invalidRequest, text)
        default:
            switch error.kind {
            // A server of a release before answers so as well.
            case .unimplemented: self.init(.unsupportedGrantType, text)
            // A precondition that fails is the server's key: every other has its reason above.
            case .conflict, .exhausted, .failedPrecondition, .fault, .unavailable:
                self.init(.temporarilyUnavailable, text, status: 503, retryAfter: 1)
            case .invalidArgument, .notFound, .permissionDenied, .unauthenticated:
                self.init(.invalidClient, text)
            }
        }
    }
}
