// SPDX-License-Identifier: Apache-2.0

internal import NIOCore
internal import SPIFFE
internal import struct FoundationEssentials.Date

/// Watches one accepted connection and carries its record.
///
/// It must open in time, and it is drained when its age or its peer's certificate ends. The handler
/// sits behind TLS and before HTTP/2.
final class ConnectionHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias InboundOut = ByteBuffer

    /// RFC 9113 section 3.4: the client connection preface.
    static let prefaceBytes = 24

    let connection: PeerConnection
    private let connections: PeerConnections
    private let limits: ConnectionLimits
    private let now: @Sendable () -> Date
    private let onEvent: @Sendable (PeerEvent) -> Void

    private var prefaceBytesLeft = ConnectionHandler.prefaceBytes
    private var deadline: Scheduled<Void>?
    private var failure: (any Error)?
    private var streamsOpen = 0
    private var hasEnded = false
    private var isDraining = false
    private var isRefused = false

    init(
        connection: PeerConnection,
        connections: PeerConnections,
        limits: ConnectionLimits,
        now: @escaping @Sendable () -> Date,
        onEvent: @escaping @Sendable (PeerEvent) -> Void
    ) {
        self.connection = connection
        self.connections = connections
        self.limits = limits
        self.now = now
        self.onEvent = onEvent
    }

    func handlerAdded(context: ChannelHandlerContext) {
        let channel = context.channel
        let timeout = TimeAmount(limits.openingTimeout)
        deadline = context.eventLoop.assumeIsolated().scheduleTask(in: timeout) {
            self.failure = PeerOpeningError.timedOut
            channel.close(promise: nil)
        }
    }

    /// The only sign of the end for a connection that is closed before it was active.
    func handlerRemoved(context: ChannelHandlerContext) {
        ended()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        if prefaceBytesLeft > 0 {
            prefaceBytesLeft -= unwrapInboundIn(data).readableBytes
            if prefaceBytesLeft <= 0 { opened(context) }
        }
        context.fireChannelRead(data)
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if event is ChannelShouldQuiesceEvent, !isDraining {
            isDraining = true
            // The transport counts its grace time only from the peer's answer to a ping, so a peer
            // that stays silent would never be cut off, and would hold up a shutdown.
            let channel = context.channel
            let timeout = TimeAmount(limits.drainTimeMax)
            deadline?.cancel()
            deadline = context.eventLoop.assumeIsolated().scheduleTask(in: timeout) {
                channel.close(promise: nil)
            }
        }
        context.fireUserInboundEventTriggered(event)
    }

    func channelInactive(context: ChannelHandlerContext) {
        ended()
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        if failure == nil { failure = error }
        context.fireErrorCaught(error)
    }

    /// Verification failed: the handshake will fail with a TLS alert that does not say why.
    func verificationFailed(_ error: any Error) {
        failure = error
    }

    /// Counts a new stream, to be followed by `streamClosed`.
    func streamOpened() -> StreamAdmission {
        streamsOpen += 1
        guard connection.isAnonymous else { return .unlimited }
        guard streamsOpen <= limits.anonymous.concurrentStreamsMax else { return .refused }
        return .requestBytes(max: limits.anonymous.requestBytesMax)
    }

    func streamClosed() {
        streamsOpen -= 1
    }

    private func ended() {
        deadline?.cancel()
        deadline = nil
        guard !hasEnded else { return }
        hasEnded = true
        if prefaceBytesLeft > 0 {
            onEvent(.openingFailed(connection.context, failure ?? PeerOpeningError.closedByPeer))
        } else if !isRefused {
            onEvent(.closed(connection.context))
        }
    }

    private func opened(_ context: ChannelHandlerContext) {
        if !isDraining {
            deadline?.cancel()
            deadline = nil
        }
        do throws(ConnectionRefusal) {
            try connections.opened(connection)
        } catch {
            isRefused = true
            onEvent(.refused(error))
            context.close(promise: nil)
            return
        }
        onEvent(.opened(connection.context))

        guard !isDraining, let lifetime = lifetime() else { return }
        let pipeline = context.pipeline
        deadline = context.eventLoop.assumeIsolated().scheduleTask(in: TimeAmount(lifetime)) {
            // What a listener sends to its connections at shutdown: GOAWAY, then `drainTimeMax`.
            pipeline.fireUserInboundEventTriggered(ChannelShouldQuiesceEvent())
        }
    }

    private func lifetime() -> Duration? {
        let ageMax = connection.isAnonymous ? limits.anonymous.ageMax : limits.ageMax
        let age = ageMax.map { $0 * Double.random(in: 0.9...1) }
        let certificate = connection.verifiedPeer.map { peer in
            Duration.seconds(max(0, peer.pathNotAfter.timeIntervalSince(now())))
        }
        return [age, certificate].compactMap(\.self).min()
    }
}

/// Why a connection did not open, when TLS did not say so itself.
package enum PeerOpeningError: Error, Hashable {
    case closedByPeer
    /// Handshake and preface took longer than `ConnectionLimits.openingTimeout`.
    case timedOut
}

/// What happened to a connection, for metrics and logs.
package enum PeerEvent: Sendable {
    /// A connection that was opened has ended.
    case closed(PeerContext)
    /// TLS and HTTP/2 are established.
    case opened(PeerContext)
    /// The connection ended before that: handshake refused, verification failed, too slow.
    case openingFailed(PeerContext, any Error)
    /// The connection was closed at once.
    case refused(ConnectionRefusal)
}
