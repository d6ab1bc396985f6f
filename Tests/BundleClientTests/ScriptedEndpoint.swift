// SPDX-License-Identifier: Apache-2.0

import Crypto
import FoundationEssentials
import NIOCore
import NIOPosix
import NIOSSL
import SwiftASN1
import Synchronization
import TestPKI
import X509

/// What an endpoint shows, as PEM.
struct EndpointCertificate: Sendable {
    let chain: [UInt8]
    let key: [UInt8]

    init(_ web: WebCertificate) { (chain, key) = (web.chain, web.keyBytes) }

    init(_ leaf: TestLeaf) throws {
        chain = Array(try leaf.certificate.serializeAsPEM().pemString.utf8)
        key = Array(leaf.key.pemRepresentation.utf8)
    }

    fileprivate func context(
        _ maximum: TLSVersion?,
        _ ciphers: [NIOTLSCipher]?
    ) throws -> NIOSSLContext {
        var configuration = TLSConfiguration.makeServerConfiguration(
            certificateChain: try NIOSSLCertificate.fromPEMBytes(chain).map { .certificate($0) },
            privateKey: .privateKey(try NIOSSLPrivateKey(bytes: key, format: .pem))
        )
        configuration.minimumTLSVersion = .tlsv1
        configuration.maximumTLSVersion = maximum
        if let ciphers { configuration.cipherSuiteValues = ciphers }
        configuration.applicationProtocols = ["h2", "http/1.1"]
        return try NIOSSLContext(configuration: configuration)
    }
}

/// A server on loopback that answers each request with the bytes that a test says.
final class ScriptedEndpoint: Sendable {
    /// What it does with a request.
    enum Answer: Sendable {
        /// Sends this and closes.
        case send(String)
        /// Sends nothing and leaves the connection open.
        case wait
    }

    private let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
    private let seen = Mutex<[String]>([])
    private let connected = Mutex(0)
    private let channelState = Mutex<(any Channel)?>(nil)
    /// One element for each request.
    let arrivals: AsyncStream<Void>
    private let arrival: AsyncStream<Void>.Continuation

    /// - Parameters:
    ///   - certificate: What it shows; nil: it speaks no TLS.
    ///   - maximum: The newest version of TLS that it speaks; nil: all.
    ///   - ciphers: What it takes below TLS 1.3; nil: what the library has.
    ///   - answer: What it does, by the request's target.
    /// - Throws: When it cannot listen.
    init(
        _ certificate: EndpointCertificate?,
        maximum: TLSVersion? = nil,
        ciphers: [NIOTLSCipher]? = nil,
        answer: @escaping @Sendable (String) -> Answer
    ) async throws {
        (arrivals, arrival) = AsyncStream.makeStream()
        let context = try certificate?.context(maximum, ciphers)
        let channel = try await ServerBootstrap(group: group)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelInitializer { channel in
                self.connected.withLock { $0 += 1 }
                return channel.eventLoop.makeCompletedFuture {
                    let handlers = channel.pipeline.syncOperations
                    if let context {
                        try handlers.addHandler(NIOSSLServerHandler(context: context))
                    }
                    try handlers.addHandler(AnsweringHandler { self.answer($0, answer) })
                }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        channelState.withLock { $0 = channel }
    }

    private func answer(_ request: String, _ answer: (String) -> Answer) -> Answer {
        seen.withLock { $0.append(request) }
        arrival.yield()
        let target = request.split(separator: " ", maxSplits: 2).dropFirst().first
        return answer(String(target ?? ""))
    }

    var port: Int { channelState.withLock { $0?.localAddress?.port } ?? 0 }
    /// Whole heads, as they arrived.
    var requests: [String] { seen.withLock { $0 } }
    var connections: Int { connected.withLock { $0 } }

    func close() async throws {
        try await channelState.withLock { $0 }?.close()
        try await group.shutdownGracefully()
    }
}

/// Reads one head and does what is said.
private final class AnsweringHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private let answer: (String) -> ScriptedEndpoint.Answer
    private var head = ""

    init(answer: @escaping (String) -> ScriptedEndpoint.Answer) { self.answer = answer }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        head += String(buffer: unwrapInboundIn(data))
        guard head.utf8.suffix(4).elementsEqual("\r\n\r\n".utf8) else { return }
        guard case .send(let text) = answer(head) else { return }
        context.writeAndFlush(wrapOutboundOut(ByteBuffer(string: text)), promise: nil)
        context.close(promise: nil)
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        context.close(promise: nil)
    }
}

extension ScriptedEndpoint.Answer {
    static func content(_ text: String) -> Self {
        .send("HTTP/1.1 200 OK\r\nContent-Length: \(text.utf8.count)\r\n\r\n\(text)")
    }

    static func redirect(to location: String) -> Self {
        .send("HTTP/1.1 302 Found\r\nLocation: \(location)\r\nContent-Length: 0\r\n\r\n")
    }
}
