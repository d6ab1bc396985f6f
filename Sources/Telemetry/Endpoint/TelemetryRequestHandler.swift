// SPDX-License-Identifier: Apache-2.0

internal import NIOCore
internal import NIOHTTP1

/// Answers the first request of a connection and closes it.
final class TelemetryRequestHandler: ChannelInboundHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias OutboundOut = HTTPServerResponsePart

    private let page: @Sendable (HTTPRequestHead) -> TelemetryPage
    private var isAnswered = false
    private var deadline: Scheduled<Void>?

    init(page: @escaping @Sendable (HTTPRequestHead) -> TelemetryPage) {
        self.page = page
    }

    func handlerAdded(context: ChannelHandlerContext) {
        let channel = context.channel
        let timeout = TimeAmount(TelemetryEndpoint.connectionTimeout)
        deadline = context.eventLoop.scheduleTask(in: timeout) { channel.close(promise: nil) }
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        deadline?.cancel()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        // The head decides; what follows it on this connection is not looked at.
        guard !isAnswered, case .head(let request) = unwrapInboundIn(data) else { return }
        isAnswered = true
        let page = page(request)
        let head = HTTPResponseHead(version: .http1_1, status: page.status, headers: page.headers)
        let body = context.channel.allocator.buffer(string: page.body)
        context.write(wrapOutboundOut(.head(head)), promise: nil)
        context.write(wrapOutboundOut(.body(.byteBuffer(body))), promise: nil)
        let channel = context.channel
        context.writeAndFlush(wrapOutboundOut(.end(nil))).whenComplete { _ in
            channel.close(promise: nil)
        }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        context.close(promise: nil)
    }
}
