// SPDX-License-Identifier: Apache-2.0

internal import NIOCore
internal import NIOSSL
internal import NIOTLS

/// Adds TLS to the connections of a client transport, with a context of its own for each.
struct ClientHandshake: Sendable {
    let identity: (@Sendable () throws -> TLSIdentity)?
    let verify: @Sendable ([[UInt8]]) async throws -> Void
    let onFailure: @Sendable (any Error) -> Void

    /// Runs in the channel initializer, before the connection is made.
    @Sendable
    func prepare(_ channel: any Channel) -> EventLoopFuture<Void> {
        channel.eventLoop.makeCompletedFuture {
            do {
                try TCPKeepalive.enable(on: channel)
                let watch = ClientHandshakeHandler(onFailure: onFailure)
                let bound = NIOLoopBound(watch, eventLoop: channel.eventLoop)
                let tls = try NIOSSLClientHandler(
                    context: try TLSContext.client(try identity?()),
                    serverHostname: nil
                ) { [verify] certificates, promise in
                    TLSContext.answer(promise, certificates: certificates, verify: verify) {
                        error in
                        channel.eventLoop.execute { bound.value.verificationFailed(error) }
                    }
                }
                try channel.pipeline.syncOperations.addHandlers([tls, watch], position: .first)
            } catch {
                onFailure(error)
                throw error
            }
        }
    }
}

/// Closes a client connection that does not become HTTP/2 over TLS in time, and tells why.
final class ClientHandshakeHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias InboundOut = ByteBuffer

    private let onFailure: @Sendable (any Error) -> Void
    private var deadline: Scheduled<Void>?
    private var isOpen = false
    private var failure: (any Error)?

    init(onFailure: @escaping @Sendable (any Error) -> Void) {
        self.onFailure = onFailure
    }

    func verificationFailed(_ error: any Error) {
        failure = error
    }

    func channelActive(context: ChannelHandlerContext) {
        let channel = context.channel
        let timeout = TimeAmount(PeerClientTransport.handshakeTimeout)
        deadline = context.eventLoop.assumeIsolated().scheduleTask(in: timeout) {
            self.failure = ClientHandshakeError.timedOut
            channel.close(promise: nil)
        }
        context.fireChannelActive()
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if case TLSUserEvent.handshakeCompleted(let negotiated) = event,
            negotiated != TLSContext.applicationProtocol
        {
            failure = ClientHandshakeError.protocolNotHTTP2
            context.close(promise: nil)
        }
        context.fireUserInboundEventTriggered(event)
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        if !isOpen {
            isOpen = true
            deadline?.cancel()
            deadline = nil
        }
        context.fireChannelRead(data)
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        if failure == nil { failure = ClientHandshakeError(tls: error) ?? error }
        context.fireErrorCaught(error)
    }

    func channelInactive(context: ChannelHandlerContext) {
        deadline?.cancel()
        deadline = nil
        if !isOpen { onFailure(failure ?? ClientHandshakeError.closedByServer) }
        context.fireChannelInactive()
    }
}

/// Why a client connection failed, when TLS did not say so itself.
package enum ClientHandshakeError: Error, Hashable, CustomStringConvertible {
    case closedByServer
    /// The server does not speak HTTP/2.
    case protocolNotHTTP2
    case timedOut
    /// TLS failed, in the library's words.
    case tls(String)

    /// Takes what matters out of an error of the TLS library; nil for any other error.
    init?(tls error: any Error) {
        guard error is NIOSSLError || error is BoringSSLError else { return nil }
        let text = "\(error)"
        // Its reasons look like "error:100000f7:SSL routines:OPENSSL_internal:REASON at file:line".
        let reason = text.split(separator: "OPENSSL_internal:").dropFirst().first
        self = .tls(reason?.split(separator: " ").first.map(String.init) ?? text)
    }

    /// Whether the server said that it does not take the certificate it was shown (RFC 8446 section
    /// 6.2: alerts 42 to 46 and 48).
    package var refusesCertificate: Bool {
        guard case .tls(let reason) = self else { return false }
        // BoringSSL's names for alerts that it received.
        return reason.contains("_ALERT_")
            && (reason.contains("CERTIFICATE") || reason.hasSuffix("UNKNOWN_CA"))
    }

    package var description: String {
        switch self {
        case .closedByServer: "the connection was closed during the handshake"
        case .protocolNotHTTP2: "it does not speak HTTP/2"
        case .timedOut: "no handshake within \(PeerClientTransport.handshakeTimeout)"
        case .tls(let reason): "the TLS handshake failed: \(reason)"
        }
    }
}
