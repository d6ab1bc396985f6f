// SPDX-License-Identifier: Apache-2.0

package import Clocks
internal import ControlAPIProtos
internal import FoundationEssentials
internal import GRPCCore
internal import GRPCNIOTransportHTTP2Posix
package import GRPCPeer
internal import Synchronization

/// A process at a Unix socket that certifies authorities: a bridge to a vault, or to whatever signs, or
/// this machine's agent, by way of which another server does
/// (docs/decisions/0020-authorities-under-another.md, "Service and agent: one protocol").
///
/// Each call has a connection of its own, whose peer's user the kernel names: one a day is made, and
/// one is watched, for some minutes each.
package struct ServiceUpstream: UpstreamAuthority {
    private typealias Service = Signet_Upstream_V1alpha1_Upstream.Client<HTTP2ClientTransport.Posix>

    package let kind: UpstreamKind
    /// Its answers alone tell it.
    package let above: [[UInt8]]? = nil
    private let socket: String
    private let owners: SocketOwners
    private let answerDuration: Duration
    private let streamDuration: Duration
    private let clock: any NodeClock

    /// Longest life of a stream of what is above: nothing but the first message of the next one tells
    /// that a process which says nothing is still there.
    package static let streamDurationMax: Duration = .seconds(300)

    /// A service at a socket; nothing is opened yet.
    ///
    /// - Parameters:
    ///   - kind: What it is: an agent is called as its workloads call it.
    ///   - socket: Where it listens.
    ///   - owners: Whose process it may be.
    ///   - clock: By which calls and streams are measured.
    ///   - answerDuration: How long it may take to certify, and to begin to say what is above.
    ///   - streamDuration: After how long it is asked anew what is above.
    package init(
        _ kind: UpstreamKind = .service,
        socket: String,
        owners: SocketOwners,
        clock: any NodeClock,
        answerDuration: Duration = UpstreamLimits.answerDuration,
        streamDuration: Duration = Self.streamDurationMax
    ) {
        self.kind = kind
        self.socket = socket
        self.owners = owners
        self.clock = clock
        self.answerDuration = answerDuration
        self.streamDuration = streamDuration
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
                try await Service(wrapping: client)
                    .certify(message, metadata: metadata, options: options).chain
                    .map { Array($0) }
            }
        } catch {
            throw reason(of: error, refusal)
        }
    }

    package func watch(
        _ tell: @Sendable (UpstreamTrust) async -> Void
    ) async throws(UpstreamError) {
        while !Task.isCancelled { try await follow(tell) }
    }

    /// Tells what one stream says.
    ///
    /// Returns when the stream's time is over, or the task is cancelled.
    private func follow(
        _ tell: @Sendable (UpstreamTrust) async -> Void
    ) async throws(UpstreamError) {
        // What is told is whole each time, so the newest is enough.
        let (told, outlet) = AsyncStream.makeStream(
            of: UpstreamTrust.self,
            bufferingPolicy: .bufferingNewest(1)
        )
        let (hearing, refusal) = (Hearing(), HandshakeFailure())
        let silence = UpstreamError.unavailable(
            "the upstream at \(socket) has not said what is above within \(answerDuration)"
        )
        let start = clock.bootTime
        do {
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask {
                    defer { outlet.finish() }
                    try await receive(into: outlet, hearing, refusal)
                }
                group.addTask {
                    try? await clock.sleep(untilBoot: start + answerDuration)
                    if !Task.isCancelled, hearing.isTooLate() { outlet.finish() }
                }
                for await trust in told { await tell(trust) }
                // What has not ended by now is late, or waits for nothing any more.
                group.cancelAll()
                try await group.waitForAll()
            }
        } catch {
            guard !Task.isCancelled else { return }
            if hearing.wasTooLate { throw silence }
            let isOver = clock.bootTime - start >= streamDuration * 9 / 10
            if isOver, (error as? RPCError)?.code == .deadlineExceeded { return }
            throw reason(of: error, refusal)
        }
        guard !Task.isCancelled else { return }
        if hearing.wasTooLate { throw silence }
        // It may have ended with the process that was there; what was told stays.
        throw .unavailable("the upstream at \(socket) has ended its stream of what is above")
    }

    private func receive(
        into outlet: AsyncStream<UpstreamTrust>.Continuation,
        _ hearing: Hearing,
        _ refusal: HandshakeFailure
    ) async throws {
        var options = Self.options
        options.timeout = streamDuration
        try await withGRPCClient(transport: transport(refusal)) { [options] client in
            try await Service(wrapping: client).watch(
                .init(),
                metadata: metadata,
                options: options
            ) { response in
                for try await message in response.messages {
                    guard hearing.isInTime() else { return }
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

    /// Without it an agent refuses every call (Workload Endpoint section 5).
    private var metadata: Metadata { kind == .agent ? ["workload.spiffe.io": "true"] : [:] }

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

/// Whether a stream has begun to say something in time.
private final class Hearing: Sendable {
    private struct State {
        var hasBegun = false
        var isTooLate = false
    }

    private let state = Mutex(State())

    /// Something was said; whether it is listened to.
    func isInTime() -> Bool {
        state.withLock { state in
            if !state.isTooLate { state.hasBegun = true }
            return state.hasBegun
        }
    }

    /// The time for the first word has passed; whether without any.
    func isTooLate() -> Bool {
        state.withLock { state in
            state.isTooLate = !state.hasBegun
            return state.isTooLate
        }
    }

    var wasTooLate: Bool { state.withLock { $0.isTooLate } }
}
