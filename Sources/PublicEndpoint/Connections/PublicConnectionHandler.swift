// SPDX-License-Identifier: Apache-2.0

package import NIOCore

/// Answers the one request of a connection and closes it.
package final class PublicConnectionHandler: ChannelInboundHandler {
    /// What a stranger has sent.
    package typealias InboundIn = ByteBuffer
    /// Pieces of the answer.
    package typealias OutboundOut = ByteBuffer

    private enum State {
        case reading(RequestReader)
        case answering
        case answered
    }

    private let service: PublicService
    private var state = State.reading(RequestReader())
    private var closing = PublicClosing.peer
    private var deadline: Scheduled<Void>?

    /// Serves the connection that it is added to.
    package init(service: PublicService) {
        self.service = service
    }

    /// The connection was accepted: from now on it has its time.
    package func handlerAdded(context: ChannelHandlerContext) {
        // The handshake is before this handler, and in its time.
        close(after: PublicListener.headTimeMax, .slowHead, context)
    }

    /// The connection is over.
    package func handlerRemoved(context: ChannelHandlerContext) {
        deadline?.cancel()
    }

    /// The connection was closed.
    package func channelInactive(context: ChannelHandlerContext) {
        deadline?.cancel()
        service.observe(.closed(closing))
        context.fireChannelInactive()
    }

    /// More of the request has come.
    package func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        // What follows a head is read, so that the peer's closing is heard, and dropped.
        guard case .reading(var reader) = state else { return }
        guard let request = reader.received(unwrapInboundIn(data).readableBytesView) else {
            state = .reading(reader)
            return
        }
        state = .answering
        close(after: PublicListener.answerTimeMax, .slowReader, context)
        let answer = service.answer(to: request)
        service.observe(.answered(document: answer.document, status: answer.status))
        var piece = context.channel.allocator.buffer(bytes: answer.head)
        let count = min(answer.body.count, PublicListener.pieceBytesMax)
        piece.writeBytes(answer.body[..<count])
        write(piece, answer.body[count...], context)
    }

    /// TLS or the connection has failed.
    package func errorCaught(context: ChannelHandlerContext, error: any Error) {
        // A peer that leaves without a word after its answer did nothing wrong.
        if case .answered = state {
        } else if closing == .peer, !(error is IOError) {
            closing = .tls
        }
        context.close(promise: nil)
    }

    /// Writes a piece, and the next when it is out: who does not read costs one piece.
    private func write(
        _ piece: ByteBuffer,
        _ rest: ArraySlice<UInt8>,
        _ context: ChannelHandlerContext
    ) {
        context.writeAndFlush(wrapOutboundOut(piece)).assumeIsolated().whenComplete { result in
            guard case .success = result else {
                context.close(promise: nil)
                return
            }
            guard !rest.isEmpty else {
                self.state = .answered
                self.closing = .answered
                context.close(promise: nil)
                return
            }
            let next = rest.prefix(PublicListener.pieceBytesMax)
            let piece = context.channel.allocator.buffer(bytes: next)
            // Others have their turn first: to who reads at once a whole document could be written.
            context.eventLoop.assumeIsolated().execute {
                self.write(piece, rest.dropFirst(next.count), context)
            }
        }
    }

    private func close(
        after time: Duration,
        _ reason: PublicClosing,
        _ context: ChannelHandlerContext
    ) {
        deadline?.cancel()
        let loop = context.eventLoop.assumeIsolated()
        deadline = loop.scheduleTask(in: TimeAmount(time)) {
            if case .answered = self.state {} else { self.closing = reason }
            context.close(promise: nil)
        }
    }
}
