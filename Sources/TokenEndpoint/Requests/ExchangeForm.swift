// SPDX-License-Identifier: Apache-2.0

internal import SPIFFE

/// What a workload asks for when it exchanges a token (RFC 8693 section 2.1).
package struct ExchangeForm: Hashable, Sendable {
    /// The token that the workload was shown.
    package let subjectToken: String
    /// At whom it wants to show the new one.
    package let audience: String
    /// Who it says it is; nil if it does not say.
    package let clientID: String?

    private static let grantType = "urn:ietf:params:oauth:grant-type:token-exchange"
    private static let jwt = "urn:ietf:params:oauth:token-type:jwt"
    private static let accessToken = "urn:ietf:params:oauth:token-type:access_token"
    /// What would mean something that is not done here: who the caller is the kernel says, and what
    /// a token is good for its audience does.
    private static let refused = [
        "actor_token", "actor_token_type", "client_assertion", "client_assertion_type",
        "client_secret", "scope",
    ]

    /// Reads the parameters; others are passed over (RFC 6749 section 3.2).
    ///
    /// - Throws: `EndpointRefusal`, which quotes nothing of a token.
    package init(_ form: FormParameters) throws(EndpointRefusal) {
        guard let grantType = form["grant_type"] else {
            throw .invalidRequest("grant_type is missing: write \(Self.grantType)")
        }
        guard grantType == Self.grantType else {
            throw EndpointRefusal(
                .unsupportedGrantType,
                "grant_type is none that is served here: write \(Self.grantType)"
            )
        }
        if let name = Self.refused.first(where: { form[$0] != nil }) {
            throw .invalidRequest("\(name) is not taken here: leave it out")
        }
        guard let token = form["subject_token"] else {
            throw .invalidRequest("subject_token is missing: write the token that was shown to you")
        }
        guard let type = form["subject_token_type"], [Self.jwt, Self.accessToken].contains(type)
        else {
            throw .invalidRequest("subject_token_type: write \(Self.jwt) or \(Self.accessToken)")
        }
        if let asked = form["requested_token_type"], asked != Self.accessToken {
            throw .invalidRequest(
                "requested_token_type: leave it out or write \(Self.accessToken)"
            )
        }
        switch (form["audience"], form["resource"]) {
        case (let audience?, nil), (nil, let audience?): self.audience = audience
        default: throw .invalidRequest("write either audience or resource: for whom the token is")
        }
        subjectToken = token
        clientID = form["client_id"]
    }

    /// The answer (RFC 8693 section 2.2.1).
    ///
    /// - Parameters:
    ///   - token: The new token.
    ///   - expiresIn: In seconds.
    /// - Returns: What is sent.
    package static func answer(token: String, expiresIn: Int) -> EndpointAnswer {
        EndpointAnswer(
            200,
            [
                "access_token": .string(token),
                "expires_in": .number(.init(Int64(expiresIn))),
                "issued_token_type": .string(accessToken),
                "token_type": .string("Bearer"),
            ]
        )
    }
}

/// What a workload asks about a token (RFC 7662 section 2.1).
package struct IntrospectionForm: Hashable, Sendable {
    package let token: String
    /// The asker's own name, which cannot be guessed.
    package let audience: String

    /// Reads the parameters; others are passed over.
    ///
    /// - Throws: `EndpointRefusal`, which quotes nothing of a token.
    package init(_ form: FormParameters) throws(EndpointRefusal) {
        guard let token = form["token"] else { throw .invalidRequest("token is missing") }
        guard let audience = form["audience"] else {
            throw .invalidRequest("audience is missing: write your own name, as tokens have it")
        }
        self.token = token
        self.audience = audience
    }
}
