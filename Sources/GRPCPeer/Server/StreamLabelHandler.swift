// SPDX-License-Identifier: Apache-2.0

internal import GRPCCore
internal import NIOCore
internal import NIOHPACK
internal import NIOHTTP2

/// Puts the label of its connection and stream into the head of each request, in place of whatever
/// the client may have sent under that name.
///
/// It is the first handler of every stream: nothing of the request has been read before it. It also
/// holds anonymous peers to their fewer and smaller requests, and tells the stream when its peer
/// takes more.
final class StreamLabelHandler: ChannelInboundHandler {
    typealias InboundIn = HTTP2Frame.FramePayload
    typealias InboundOut = HTTP2Frame.FramePayload
    typealias OutboundOut = HTTP2Frame.FramePayload

    static let headerName = "signet-connection-label"

    private let label: String
    private let stream: RequestStream
    private var headSeen = false
    private var bytesLeft: Int?
    private var isRefused: Bool

    private init(label: String, stream: RequestStream, admission: StreamAdmission) {
        self.label = label
        self.stream = stream
        self.isRefused = admission == .refused
        if case .requestBytes(let max) = admission { self.bytesLeft = max }
    }

    /// Adds the handler to a stream.
    ///
    /// The future never fails: the transport takes a stream whose initializer failed for its own
    /// fault. A stream without a label is refused by the interceptor.
    @Sendable
    static func add(to stream: any Channel) -> EventLoopFuture<Void> {
        // A stream runs on the event loop of its connection.
        let connection = try? stream.parent?.pipeline.syncOperations.handler(
            type: ConnectionHandler.self
        )
        if let connection {
            let peer = connection.connection
            let request = RequestStream(stream)
            let number = peer.opened(request)
            let handler = StreamLabelHandler(
                label: "\(peer.label)/\(number)",
                stream: request,
                admission: connection.streamOpened()
            )
            stream.closeFuture.assumeIsolated().whenComplete { _ in
                connection.streamClosed()
                peer.closed(number)
                request.changed(hasEnded: true)
            }
            try? stream.pipeline.syncOperations.addHandler(handler, position: .first)
        }
        return stream.eventLoop.makeSucceededVoidFuture()
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        stream.changed(hasEnded: false)
        context.fireChannelWritabilityChanged()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch unwrapInboundIn(data) {
        case .headers(var frame):
            if isRefused {
                if !headSeen { refuse(context) }
                headSeen = true
                return
            }
            frame.headers.remove(name: Self.headerName)
            if !headSeen {
                headSeen = true
                frame.headers.add(name: Self.headerName, value: label)
            }
            context.fireChannelRead(wrapInboundOut(.headers(frame)))
        case .data(let frame):
            guard !isRefused else { return }
            if let left = bytesLeft {
                bytesLeft = left - frame.data.readableBytes
                guard left >= frame.data.readableBytes else {
                    // The service may have begun to answer, so there is no status left to send.
                    isRefused = true
                    context.close(promise: nil)
                    return
                }
            }
            context.fireChannelRead(data)
        default:
            context.fireChannelRead(data)
        }
    }

    /// Answers with a gRPC status alone (gRPC over HTTP/2, "Trailers-Only").
    private func refuse(_ context: ChannelHandlerContext) {
        let headers: HPACKHeaders = [
            ":status": "200",
            "content-type": "application/grpc",
            "grpc-status": String(Status.Code.resourceExhausted.rawValue),
            "grpc-message": "too many requests at once without a certificate",
        ]
        let frame = HTTP2Frame.FramePayload.headers(.init(headers: headers, endStream: true))
        let channel = context.channel
        context.writeAndFlush(wrapOutboundOut(frame)).whenComplete { _ in
            channel.close(promise: nil)
        }
    }
}

/// Whether a stream may go on.
enum StreamAdmission: Equatable {
    case refused
    /// The request may have this many bytes, framing included.
    case requestBytes(max: Int)
    case unlimited
}
