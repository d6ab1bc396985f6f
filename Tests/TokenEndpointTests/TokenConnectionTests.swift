// SPDX-License-Identifier: Apache-2.0

import NIOCore
import NIOEmbedded
import Synchronization
import Testing
import TokenEndpoint

/// One connection on a virtual clock.
@Suite struct TokenConnectionTests {
    /// What was asked, and what was refused by its head.
    private final class Asked: Sendable {
        private struct State {
            var requests: [EndpointRequest] = []
            var answers: [@Sendable (EndpointAnswer) -> Void] = []
            var refused: [Int] = []
        }

        private let state = Mutex(State())

        var requests: [EndpointRequest] { state.withLock { $0.requests } }
        var refused: [Int] { state.withLock { $0.refused } }

        func ask(
            _ request: EndpointRequest,
            _ answer: @escaping @Sendable (EndpointAnswer) -> Void
        ) {
            state.withLock {
                $0.requests.append(request)
                $0.answers.append(answer)
            }
        }

        func refuse(_ status: Int) { state.withLock { $0.refused.append(status) } }

        func answer() { state.withLock { $0.answers }.last?(EndpointAnswer(200, [:])) }
    }

    /// Keeps what is written until it is let out, as a peer that does not read.
    private final class Dam: ChannelOutboundHandler {
        typealias OutboundIn = ByteBuffer
        var promises: [EventLoopPromise<Void>?] = []

        func write(
            context: ChannelHandlerContext,
            data: NIOAny,
            promise: EventLoopPromise<Void>?
        ) {
            promises.append(promise)
        }
    }

    private static let head =
        "POST /token HTTP/1.1\r\nHost: agent\r\nSignet-Workload: true\r\n"
        + "Content-Type: application/x-www-form-urlencoded\r\n"

    private let asked = Asked()
    private let request = ByteBuffer(string: "\(head)Content-Length: 3\r\n\r\na=b")

    private func channel(_ handlers: any ChannelHandler...) throws -> EmbeddedChannel {
        let channel = EmbeddedChannel()
        let asked = asked
        let handler = TokenConnectionHandler(
            refused: { asked.refuse($0) },
            ask: { asked.ask($0, $1) }
        )
        try channel.pipeline.syncOperations.addHandlers(handlers + [handler])
        try channel.connect(to: SocketAddress(unixDomainSocketPath: "/any")).wait()
        return channel
    }

    private func written(_ channel: EmbeddedChannel) throws -> String {
        var text = ""
        while let piece = try channel.readOutbound(as: ByteBuffer.self) {
            text += String(buffer: piece)
        }
        return text
    }

    @Test func `a request is asked once, answered, and its connection closed`() throws {
        let channel = try channel()
        var both = request
        both.writeImmutableBuffer(request)
        try channel.writeInbound(both)
        try channel.writeInbound(request)
        #expect(asked.requests.map(\.body) == [Array("a=b".utf8)])
        #expect(try written(channel).isEmpty && channel.isActive)
        asked.answer()
        channel.embeddedEventLoop.run()
        #expect(try written(channel).hasPrefix("HTTP/1.1 200 OK\r\n"))
        #expect(!channel.isActive)
        #expect(asked.refused == [])
    }

    @Test func `a request has five seconds from the beginning, however it drips`() throws {
        #expect(TokenConnectionLimits.requestTimeMax == .seconds(5))
        let channel = try channel()
        try channel.writeInbound(ByteBuffer(string: Self.head))
        channel.embeddedEventLoop.advanceTime(by: .milliseconds(4_999))
        try channel.writeInbound(ByteBuffer(string: "Content-Length: 3\r\n\r\na="))
        #expect(channel.isActive)
        channel.embeddedEventLoop.advanceTime(by: .milliseconds(1))
        #expect(!channel.isActive)
        #expect(try written(channel).isEmpty && asked.requests.isEmpty)
    }

    @Test func `an answer has fifteen seconds from the request's end, and is dropped later`() throws
    {
        #expect(TokenConnectionLimits.answerTimeMax == .seconds(15))
        let channel = try channel()
        channel.embeddedEventLoop.advanceTime(by: .milliseconds(4_999))
        try channel.writeInbound(request)
        channel.embeddedEventLoop.advanceTime(by: .milliseconds(14_999))
        #expect(channel.isActive)
        channel.embeddedEventLoop.advanceTime(by: .milliseconds(1))
        #expect(!channel.isActive)
        asked.answer()
        channel.embeddedEventLoop.run()
        #expect(try written(channel).isEmpty)
    }

    @Test func `who does not take his answer is closed within the same time`() throws {
        let dam = Dam()
        let channel = try channel(dam)
        try channel.writeInbound(request)
        channel.embeddedEventLoop.advanceTime(by: .seconds(10))
        asked.answer()
        channel.embeddedEventLoop.run()
        #expect(dam.promises.count == 1)
        channel.embeddedEventLoop.advanceTime(by: .milliseconds(4_999))
        #expect(channel.isActive)
        channel.embeddedEventLoop.advanceTime(by: .milliseconds(1))
        #expect(!channel.isActive)
        for promise in dam.promises { promise?.fail(ChannelError.ioOnClosedChannel) }
    }

    @Test func `RFC 9110 10.1.1: who waits for it is told to go on, and has no more time`() throws {
        let channel = try channel()
        try channel.writeInbound(
            ByteBuffer(string: "\(Self.head)Expect: 100-continue\r\nContent-Length: 3\r\n\r\n")
        )
        #expect(try written(channel) == "HTTP/1.1 100 Continue\r\n\r\n")
        channel.embeddedEventLoop.advanceTime(by: .milliseconds(4_999))
        #expect(channel.isActive)
        channel.embeddedEventLoop.advanceTime(by: .milliseconds(1))
        #expect(!channel.isActive)
    }

    @Test func `what is refused by its head is answered, counted and asked of nobody`() throws {
        let channel = try channel()
        try channel.writeInbound(ByteBuffer(string: "GET /token HTTP/1.1\r\nHost: x\r\n\r\n"))
        channel.embeddedEventLoop.run()
        #expect(try written(channel).hasPrefix("HTTP/1.1 405 "))
        #expect(!channel.isActive)
        #expect(asked.refused == [405] && asked.requests.isEmpty)
    }

    @Test func `who leaves before his answer gets none`() throws {
        let channel = try channel()
        try channel.writeInbound(request)
        try channel.close().wait()
        asked.answer()
        channel.embeddedEventLoop.run()
        #expect(try written(channel).isEmpty)
    }
}
