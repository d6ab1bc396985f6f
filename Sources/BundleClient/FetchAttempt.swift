// SPDX-License-Identifier: Apache-2.0

internal import HTTPCodec
internal import NIOCore
internal import NIOSSL
internal import NIOTLS
internal import Synchronization

/// One connection that is made for one request, from its beginning to its end.
final class FetchAttempt: Sendable {
    typealias Outcome = Result<FetchedResponse, BundleFetchError>

    private struct State {
        var channel: (any Channel)?
        var isCancelled = false
        /// Why the server is not believed; it comes before the handshake's own failure.
        var refusal: BundleFetchError?
        var outcome: Outcome?
        var waiter: CheckedContinuation<Outcome, Never>?
    }

    private let state = Mutex(State())

    /// A socket was made, which `cancel` closes.
    func began(_ channel: any Channel) {
        let isCancelled = state.withLock { state in
            state.channel = channel
            return state.isCancelled
        }
        if isCancelled { channel.close(promise: nil) }
    }

    /// Ends it, whatever it is at; what it came to is `timedOut`.
    func cancel() {
        let channel = state.withLock { state in
            state.isCancelled = true
            return state.channel
        }
        finish(.failure(BundleFetchError(.timedOut, "the fetch was ended")))
        guard let channel else { return }
        channel.eventLoop.execute { channel.closeAtOnce() }
    }

    /// The server is not believed; the failure that follows is for this.
    func refused(_ error: BundleFetchError) {
        state.withLock { $0.refusal = $0.refusal ?? error }
    }

    /// It is over; only the first call counts.
    func finish(_ outcome: Outcome) {
        let waiter = state.withLock { state -> CheckedContinuation<Outcome, Never>? in
            guard state.outcome == nil else { return nil }
            var outcome = outcome
            if case .failure = outcome, let refusal = state.refusal, !state.isCancelled {
                outcome = .failure(refusal)
            }
            state.outcome = outcome
            defer { state.waiter = nil }
            return state.waiter
        }
        guard let waiter, let outcome = state.withLock({ $0.outcome }) else { return }
        waiter.resume(returning: outcome)
    }

    /// What it came to; one task waits.
    func outcome() async -> Outcome {
        await withCheckedContinuation { continuation in
            let outcome = state.withLock { state -> Outcome? in
                if state.outcome == nil { state.waiter = continuation }
                return state.outcome
            }
            if let outcome { continuation.resume(returning: outcome) }
        }
    }
}

/// Sends the one request of a connection and reads the one answer.
final class FetchHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private let attempt: FetchAttempt
    private let request: [UInt8]
    private let establishTime: TimeAmount
    private var reader = ResponseReader()
    private var isConnected = false
    private var isEstablished = false
    private var deadline: Scheduled<Void>?
    private var failure: BundleFetchError?

    /// - Parameters:
    ///   - attempt: Told what comes of it.
    ///   - request: The whole of it.
    ///   - establishTime: Longest time from the first packet to the end of the handshake.
    init(attempt: FetchAttempt, request: [UInt8], establishTime: TimeAmount) {
        self.attempt = attempt
        self.request = request
        self.establishTime = establishTime
    }

    func handlerAdded(context: ChannelHandlerContext) {
        let loop = context.eventLoop.assumeIsolated()
        deadline = loop.scheduleTask(in: establishTime) {
            self.attempt.finish(
                .failure(BundleFetchError(.unreachable, "no connection in time"))
            )
            context.channel.closeAtOnce()
        }
    }

    func handlerRemoved(context: ChannelHandlerContext) { end() }

    func channelActive(context: ChannelHandlerContext) {
        isConnected = true
        context.fireChannelActive()
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if case TLSUserEvent.handshakeCompleted = event {
            isEstablished = true
            deadline?.cancel()
            deadline = nil
            let buffer = context.channel.allocator.buffer(bytes: request)
            context.writeAndFlush(wrapOutboundOut(buffer), promise: nil)
        }
        context.fireUserInboundEventTriggered(event)
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard let response = reader.received(unwrapInboundIn(data).readableBytesView) else {
            return
        }
        attempt.finish(.success(response))
        context.close(promise: nil)
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        // Without the word that ends TLS an answer that says its length is whole all the same.
        if failure == nil, !isEstablished { failure = BundleFetchError(handshake: error) }
        context.close(promise: nil)
    }

    func channelInactive(context: ChannelHandlerContext) {
        end()
        context.fireChannelInactive()
    }

    private func end() {
        deadline?.cancel()
        deadline = nil
        // Why there was no connection is told by who asked for it, and may be told after this.
        guard isConnected else { return }
        guard isEstablished else {
            let failure = failure ?? BundleFetchError(.tlsFailed, "closed during the handshake")
            attempt.finish(.failure(failure))
            return
        }
        if let response = reader.connectionEnded() { attempt.finish(.success(response)) }
    }
}

extension Channel {
    /// Closes below TLS, on its event loop: nobody waits for the word of a server that is silent.
    fileprivate func closeAtOnce() {
        guard
            let tls = try? pipeline.syncOperations.context(handlerType: NIOSSLClientHandler.self)
        else {
            close(promise: nil)
            return
        }
        tls.close(promise: nil)
    }
}

extension BundleFetchError {
    /// What a failed handshake says of the server.
    ///
    /// - Parameter error: Of the TLS library or the system.
    init(handshake error: any Error) {
        if let error = error as? IOError {
            self.init(.unreachable, "\(error)")
            return
        }
        let text = "\(error)"
        if error is NIOSSLExtraError {
            self.init(.endpointUntrusted, "its certificate is for another name")
            return
        }
        // BoringSSL's reasons look like "error:100000f7:SSL routines:OPENSSL_internal:REASON at".
        let reasons = text.split(separator: "OPENSSL_internal:").dropFirst()
            .compactMap { $0.split(separator: " ").first }
        guard let reason = reasons.first else {
            self.init(.tlsFailed, text)
            return
        }
        // Before it may stand why: a signature that is not by the authority's key.
        if reasons.contains("CERTIFICATE_VERIFY_FAILED") {
            self.init(.endpointUntrusted, "its certificate leads to none of the authorities")
        } else {
            self.init(.tlsFailed, String(reason))
        }
    }
}
