// SPDX-License-Identifier: Apache-2.0

internal import ControlAPIProtos
internal import FoundationEssentials
internal import GRPCCore
internal import GRPCNIOTransportHTTP2Posix
package import GRPCPeer

/// A process at a Unix socket that certifies authorities: a bridge to a vault, or to whatever signs
/// (docs/decisions/0020-authorities-under-another.md, "Service and agent: one protocol").
///
/// Each call has a connection of its own, whose peer's user the kernel names: one a day is made, and
/// one is watched.
package struct ServiceUpstream: UpstreamAuthority {
    private typealias Service = Signet_Upstream_V1alpha1_Upstream.Client<HTTP2ClientTransport.Posix>

    package let kind = UpstreamKind.service
    private let socket: String
    private let owners: SocketOwners
    private let answerDuration: Duration

    /// A service at a socket; nothing is opened yet.
    ///
    /// - Parameters:
    ///   - socket: Where it listens.
    ///   - owners: Whose process it may be.
    ///   - answerDuration: How long it may take to certify.
    package init(
        socket: String,
        owners: SocketOwners,
        answerDuration: Duration = UpstreamLimits.answerDuration
    ) {
        self.socket = socket
        self.owners = owners
        self.answerDuration = answerDuration
    }

    package func certify(_ request: UpstreamRequest) async throws(UpstreamError) -> [[UInt8]] {
        var message = Signet_Upstream_V1alpha1_CertifyRequest()
        message.csr = Data(request.csr)
        message.lifetimeSeconds = request.lifetimeSeconds
        var options = Self.options
        options.timeout = answerDuration
        let refusal = HandshakeFailure()
        do {
            return try await withGRPCClient(transport: transport(refusal)) {
                [message, options] client in
                try await Service(wrapping: client).certify(message, options: options).chain
                    .map { Array($0) }
            }
        } catch {
            throw reason(of: error, refusal)
        }
    }

    package func watch(
        _ tell: @Sendable (UpstreamTrust) async -> Void
    ) async throws(UpstreamError) {
        // What is told is whole each time, so the newest is enough.
        let (told, outlet) = AsyncStream.makeStream(
            of: UpstreamTrust.self,
            bufferingPolicy: .bufferingNewest(1)
        )
        let refusal = HandshakeFailure()
        do {
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask {
                    defer { outlet.finish() }
                    try await receive(into: outlet, refusal)
                }
                for await trust in told { await tell(trust) }
                try await group.waitForAll()
            }
        } catch {
            guard !Task.isCancelled else { return }
            throw reason(of: error, refusal)
        }
        guard !Task.isCancelled else { return }
        // It may have ended with the process that was there; what was told stays.
        throw .unavailable("the upstream at \(socket) has ended its stream of what is above")
    }

    private func receive(
        into outlet: AsyncStream<UpstreamTrust>.Continuation,
        _ refusal: HandshakeFailure
    ) async throws {
        try await withGRPCClient(transport: transport(refusal)) { client in
            try await Service(wrapping: client).watch(.init(), options: Self.options) { response in
                for try await message in response.messages {
                    outlet.yield(
                        UpstreamTrust(
                            roots: message.roots.map { Array($0) },
                            revokedKeyIDs: Set(message.revokedKeyIds.map { Array($0) })
                        )
                    )
                }
            }
        }
    }

    private static var options: CallOptions {
        var options = CallOptions.defaults
        options.maxResponseMessageBytes = UpstreamLimits.answerBytesMax
        // The transport takes this one for what is received (grpc-swift-nio-transport 2.9).
        options.maxRequestMessageBytes = UpstreamLimits.answerBytesMax
        return options
    }

    private func transport(_ refusal: HandshakeFailure) throws -> HTTP2ClientTransport.Posix {
        try PeerClientTransport.unixSocket(
            path: socket,
            ownedBy: owners,
            onRefusal: { refusal.record($0) }
        )
    }

    private func reason(of error: any Error, _ refusal: HandshakeFailure) -> UpstreamError {
        let place = "the upstream at \(socket)"
        guard let call = error as? RPCError else {
            return .unavailable("\(place) cannot be asked: \(ServiceWords.cleaned("\(error)"))")
        }
        switch call.code {
        case .deadlineExceeded:
            return .unavailable("\(place) has not answered within \(answerDuration)")
        case .unavailable:
            let why = ServiceWords.reason(of: call, refusal)
            return .unavailable("\(place) is not available: \(why)")
        default:
            let words = ServiceWords.cleaned(call.message)
            return .unavailable("\(place) refuses (\(call.code)): \(words)")
        }
    }
}
