// SPDX-License-Identifier: Apache-2.0

internal import NIOCore
internal import NIOHPACK
internal import NIOHTTP2

/// Puts the label of its connection into the head of each request, in place of whatever the client
/// may have sent under that name.
///
/// It is the first handler of every stream: nothing of the request has been read before it.
final class StreamLabelHandler: ChannelInboundHandler {
    typealias InboundIn = HTTP2Frame.FramePayload
    typealias InboundOut = HTTP2Frame.FramePayload

    static let headerName = "signet-connection-label"

    private let label: String
    private var headSeen = false

    init(label: String) {
        self.label = label
    }

    /// Adds the handler to a stream; the stream is refused when its connection is not ours.
    @Sendable
    static func add(to stream: any Channel) -> EventLoopFuture<Void> {
        stream.eventLoop.makeCompletedFuture {
            guard let connection = stream.parent else { throw ChannelError.operationUnsupported }
            // A stream runs on the event loop of its connection.
            let handler = try connection.pipeline.syncOperations.handler(
                type: ConnectionHandler.self
            )
            try stream.pipeline.syncOperations.addHandler(
                StreamLabelHandler(label: handler.connection.label),
                position: .first
            )
        }
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard case .headers(var frame) = unwrapInboundIn(data) else {
            context.fireChannelRead(data)
            return
        }
        frame.headers.remove(name: Self.headerName)
        if !headSeen {
            headSeen = true
            frame.headers.add(name: Self.headerName, value: label)
        }
        context.fireChannelRead(wrapInboundOut(.headers(frame)))
    }
}
