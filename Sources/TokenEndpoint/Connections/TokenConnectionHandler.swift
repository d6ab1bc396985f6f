// SPDX-License-Identifier: Apache-2.0

package import NIOCore

/// Reads the one request of a connection, has it answered and closes the connection.
package final class TokenConnectionHandler: ChannelInboundHandler {
    /// What a caller has sent.
    package typealias InboundIn = ByteBuffer
    /// The answer.
    package typealias OutboundOut = ByteBuffer

    private enum State {
        case reading(EndpointReader)
        case answering
        case over
    }

    private static let goOn = "HTTP/1.1 100 Continue\r\n\r\n"

    private let refused: @Sendable (Int) -> Void
    private let ask: (EndpointRequest, @escaping @Sendable (EndpointAnswer) -> Void) -> Void
    private var state = State.reading(EndpointReader())
    private var deadline: Scheduled<Void>?

    /// Serves the connection that it is added to.
    ///
    /// - Parameters:
    ///   - refused: A request was refused by its head, with this status.
    ///   - ask: Has a request answered; the closure may be called from anywhere, once.
    package init(
        refused: @escaping @Sendable (Int) -> Void,
        ask: @escaping (EndpointRequest, @escaping @Sendable (EndpointAnswer) -> Void) -> Void
    ) {
        self.refused = refused
        self.ask = ask
    }

    /// The connection was accepted: from now on it has its time.
    package func handlerAdded(context: ChannelHandlerContext) {
        close(after: TokenConnectionLimits.requestTimeMax, context)
    }

    /// The connection is over.
    package func handlerRemoved(context: ChannelHandlerContext) { deadline?.cancel() }

    /// The connection was closed.
    package func channelInactive(context: ChannelHandlerContext) {
        deadline?.cancel()
        state = .over
        context.fireChannelInactive()
    }

    /// More of the request has come.
    package func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        // What follows a request is read, so that the peer's closing is heard, and dropped.
        guard case .reading(var reader) = state else { return }
        let step = reader.received(unwrapInboundIn(data).readableBytesView)
        state = .reading(reader)
        switch step {
        case .needsMore: break
        case .goOn:
            let buffer = context.channel.allocator.buffer(string: Self.goOn)
            context.writeAndFlush(wrapOutboundOut(buffer), promise: nil)
        case .refused(let answer):
            refused(answer.status)
            state = .answering
            write(answer, context)
        case .request(let request):
            state = .answering
            close(after: TokenConnectionLimits.answerTimeMax, context)
            let loop = context.eventLoop
            let bound = NIOLoopBound((handler: self, context: context), eventLoop: loop)
            ask(request) { answer in
                loop.execute { bound.value.handler.write(answer, bound.value.context) }
            }
        }
    }

    /// The connection has failed.
    package func errorCaught(context: ChannelHandlerContext, error: any Error) {
        context.close(promise: nil)
    }

    private func write(_ answer: EndpointAnswer, _ context: ChannelHandlerContext) {
        guard case .answering = state else { return }
        state = .over
        let buffer = context.channel.allocator.buffer(bytes: answer.bytes)
        context.writeAndFlush(wrapOutboundOut(buffer)).assumeIsolated().whenComplete { _ in
            context.close(promise: nil)
        }
    }

    private func close(after time: Duration, _ context: ChannelHandlerContext) {
        deadline?.cancel()
        let loop = context.eventLoop.assumeIsolated()
        deadline = loop.scheduleTask(in: TimeAmount(time)) { context.close(promise: nil) }
    }
}
