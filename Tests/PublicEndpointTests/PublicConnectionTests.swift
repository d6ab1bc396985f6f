// SPDX-License-Identifier: Apache-2.0

import FoundationEssentials
import NIOCore
import NIOEmbedded
import PublicEndpoint
import Synchronization
import Testing

/// One connection on a virtual clock.
@Suite struct PublicConnectionTests {
    private final class Events: Sendable {
        private let seen = Mutex<[PublicEvent]>([])
        var all: [PublicEvent] { seen.withLock { $0 } }
        func add(_ event: PublicEvent) { seen.withLock { $0.append(event) } }
    }

    /// Keeps what is written until it is let out, as a peer that does not read.
    private final class Dam: ChannelOutboundHandler {
        typealias OutboundIn = ByteBuffer
        var held: [(NIOAny, EventLoopPromise<Void>?)] = []

        func write(
            context: ChannelHandlerContext,
            data: NIOAny,
            promise: EventLoopPromise<Void>?
        ) {
            held.append((data, promise))
        }
    }

    private let events = Events()
    private let body = [UInt8](repeating: 0x61, count: 40_000)
    private let request = ByteBuffer(string: "GET /keys HTTP/1.1\r\nHost: x\r\n\r\n")

    private func channel(_ handlers: any ChannelHandler...) throws -> EmbeddedChannel {
        let url = try PublicURL(parsing: "https://id.example.org")
        var pages = PublicPages(below: url)
        pages.set(PublicBody.bundle(body), as: .keys)
        let service = PublicService(
            pages: { [pages] in pages },
            wallTime: { nil },
            bootTime: { .zero },
            observe: { [events] in events.add($0) }
        )
        let channel = EmbeddedChannel()
        try channel.pipeline.syncOperations.addHandlers(
            handlers + [PublicConnectionHandler(service: service)]
        )
        try channel.connect(to: SocketAddress(ipAddress: "192.0.2.1", port: 1)).wait()
        return channel
    }

    @Test func `a request is answered and the connection closed`() throws {
        let channel = try channel()
        try channel.writeInbound(request)
        channel.embeddedEventLoop.run()
        var bytes: [UInt8] = []
        while let piece = try channel.readOutbound(as: ByteBuffer.self) {
            #expect(piece.readableBytes <= PublicListener.pieceBytesMax + 1024)
            bytes += piece.readableBytesView
        }
        #expect(String(decoding: bytes.prefix(15), as: UTF8.self) == "HTTP/1.1 200 OK")
        #expect(bytes.suffix(body.count) == body[...])
        #expect(!channel.isActive)
        #expect(
            events.all == [.answered(document: "keys", status: 200), .closed(.answered)]
        )
    }

    @Test func `a second request is not answered`() throws {
        let channel = try channel()
        var both = request
        both.writeImmutableBuffer(request)
        try channel.writeInbound(both)
        channel.embeddedEventLoop.run()
        #expect(events.all.count { $0 == .answered(document: "keys", status: 200) } == 1)
    }

    @Test func `a head that does not come in time ends the connection`() throws {
        let channel = try channel()
        try channel.writeInbound(ByteBuffer(string: "GET /keys HTTP/1.1\r\n"))
        channel.embeddedEventLoop.advanceTime(by: .milliseconds(4999))
        #expect(channel.isActive)
        try channel.writeInbound(ByteBuffer(string: "Host: x\r\n"))
        channel.embeddedEventLoop.advanceTime(by: .milliseconds(1))
        #expect(!channel.isActive)
        #expect(events.all == [.closed(.slowHead)])
    }

    @Test func `the next piece is written when the one before is out`() throws {
        let dam = Dam()
        let channel = try channel(dam)
        try channel.writeInbound(request)
        var pieces = 0
        while let (_, promise) = dam.held.popLast() {
            #expect(dam.held.isEmpty)
            pieces += 1
            promise?.succeed()
            channel.embeddedEventLoop.run()
        }
        #expect(pieces == 3)
        #expect(!channel.isActive)
    }

    @Test func `an answer that is not taken in time ends the connection`() throws {
        let dam = Dam()
        let channel = try channel(dam)
        try channel.writeInbound(request)
        channel.embeddedEventLoop.advanceTime(by: .seconds(29))
        #expect(channel.isActive)
        #expect(dam.held.count == 1)
        channel.embeddedEventLoop.advanceTime(by: .seconds(1))
        #expect(!channel.isActive)
        #expect(events.all.last == .closed(.slowReader))
        for (_, promise) in dam.held { promise?.fail(ChannelError.ioOnClosedChannel) }
    }

    @Test func `a peer that leaves is counted as that`() throws {
        let channel = try channel()
        try channel.close().wait()
        #expect(events.all == [.closed(.peer)])
    }
}
