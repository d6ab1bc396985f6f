// SPDX-License-Identifier: Apache-2.0

package import ControlAPI
internal import ControlAPIProtos
internal import FoundationEssentials
internal import GRPCCore
internal import SwiftProtobuf
internal import Synchronization

/// The request of a server below on its way to the server above; it is answered once, at the latest
/// when nobody holds it any more.
package final class CertifyCall: Sendable {
    /// The ID of the entry that means the server below.
    package let entryID: String
    package let request: CertifyRequest
    private let answer: Mutex<(@Sendable (Result<[[UInt8]], APIError>) -> Void)?>

    init(
        _ request: CertifyRequest,
        entryID: String,
        answer: @escaping @Sendable (Result<[[UInt8]], APIError>) -> Void
    ) {
        self.request = request
        self.entryID = entryID
        self.answer = Mutex(answer)
    }

    deinit { finish(.failure(ServerCall.serverAway)) }

    /// The first answer counts: the chain as it was signed, or why there is none.
    package func finish(_ result: Result<[[UInt8]], APIError>) {
        answer.withLock { $0.take() }?(result)
    }
}

/// Has authorities of servers below certified.
struct AuthorityCertifying {
    /// How long the server above has: it may have to ask what is above it.
    static let callTimeMax: Duration = .seconds(30)

    let core: AgentCore

    func certify(_ call: CertifyCall, on node: ServerConnection.Node) async {
        do {
            let response = try await node.certifyAuthority(
                .with { request in
                    request.entryID = call.entryID
                    request.csr = Data(call.request.csr)
                    request.lifetimeSeconds = call.request.lifetimeSeconds
                },
                options: .besideStream(timeout: Self.callTimeMax)
            )
            call.finish(.success(response.chain.map { Array($0) }))
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
