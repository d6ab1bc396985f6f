// SPDX-License-Identifier: Apache-2.0

internal import Clocks
package import ControlAPI
internal import ControlAPIProtos
internal import GRPCCore
package import NodeSync
internal import SPIFFE
internal import SwiftProtobuf
internal import Synchronization

/// One exchange on its way to the server; it is answered once, at the latest when nobody holds it any
/// more.
package final class ExchangeCall: Sendable {
    /// For whom it is.
    package let grant: TokenGrant
    /// What the workload was shown.
    package let subjectToken: String
    /// At whom it wants to show the new token.
    package let audience: String
    private let answer: Mutex<(@Sendable (Result<String, APIError>) -> Void)?>

    init(
        _ grant: TokenGrant,
        subjectToken: String,
        audience: String,
        answer: @escaping @Sendable (Result<String, APIError>) -> Void
    ) {
        self.grant = grant
        self.subjectToken = subjectToken
        self.audience = audience
        self.answer = Mutex(answer)
    }

    deinit { finish(.failure(ServerCall.serverAway)) }

    /// The first answer counts: the token as it was signed, or why there is none.
    package func finish(_ result: Result<String, APIError>) {
        answer.withLock { $0.take() }?(result)
    }

    static let emptyAnswer = APIError(
        .unavailable,
        "emptyAnswer",
        "the server sent neither token nor refusal"
    )
}

/// Has tokens exchanged.
struct TokenExchanging {
    /// How long the server has for one exchange.
    static let callTimeMax: Duration = .seconds(10)

    let core: AgentCore

    func exchange(_ call: ExchangeCall, on node: ServerConnection.Node) async {
        let (mark, have) = (core.ask { $0.audit.mark }, core.checkpointHave())
        do {
            let response = try await node.exchangeToken(
                .with { request in
                    request.entryID = call.grant.entryID
                    request.spiffeID = call.grant.spiffeID.description
                    request.variables = call.grant.variables
                    request.subjectToken = call.subjectToken
                    request.audience = call.audience
                    request.checkpointHave = have
                },
                options: .besideStream(timeout: Self.callTimeMax)
            )
            core.received(response.checkpoint, asked: mark)
            switch response.result {
            case .token(let token): call.finish(.success(token))
            case .refusal(let refusal):
                let kind: APIError.Kind = refusal.retryable ? .unavailable : .permissionDenied
                let wait = refusal.retryAfterMilliseconds
                call.finish(
                    .failure(
                        APIError(
                            kind,
                            refusal.code,
                            refusal.message,
                            retryAfter: wait > 0 ? .milliseconds(Int64(wait)) : nil
                        )
                    )
                )
            case nil: call.finish(.failure(ExchangeCall.emptyAnswer))
            }
        } catch {
            call.finish(
                .failure(
                    (error as? RPCError).map { APIError($0) }
                        ?? APIError(.unavailable, "transport", "\(error)")
                )
            )
        }
    }
}
