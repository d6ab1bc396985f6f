// SPDX-License-Identifier: Apache-2.0

import FoundationEssentials
import GRPCPeer
import NIOCore
import NIOPosix
import NIOSSL
import PublicEndpoint
import Synchronization
import TestPKI
import Testing

/// Real sockets.
@Suite(.timeLimit(.minutes(1)))
struct PublicListenerTests {
    private final class Shared: Sendable {
        let pair = Mutex<CertificatePair?>(nil)
        let events = Mutex<[PublicEvent]>([])
    }

    private let shared = Shared()
    private let request = "GET /keys HTTP/1.1\r\nHost: x\r\n\r\n"

    private func service() throws -> PublicService {
        let url = try PublicURL(parsing: "https://id.example.org")
        var pages = PublicPages(below: url)
        pages.set(PublicBody.bundle([UInt8](repeating: 0x61, count: 100_000)), as: .keys)
        return PublicService(
            pages: { [pages] in pages },
            wallTime: { WebCertificate.now },
            bootTime: { .zero },
            observe: { [shared] event in shared.events.withLock { $0.append(event) } }
        )
    }

    private func withListener(
        _ place: PublicListener.Place,
        _ body: (PublicListener) async throws -> Void
    ) async throws {
        let listener = try await PublicListener.open(place, service())
        try await withThrowingTaskGroup { group in
            group.addTask { await listener.run() }
            defer { group.cancelAll() }
            try await body(listener)
        }
    }

    private var tls: PublicListener.Place {
        .tls(host: "127.0.0.1", port: 0) { [shared] in shared.pair.withLock { $0 } }
    }

    private func client(
        minimum: TLSVersion = .tlsv12,
        maximum: TLSVersion? = nil,
        ciphers: [NIOTLSCipher] = []
    ) throws -> NIOSSLContext {
        var configuration = TLSConfiguration.makeClientConfiguration()
        configuration.certificateVerification = .none
        configuration.minimumTLSVersion = minimum
        configuration.maximumTLSVersion = maximum
        if !ciphers.isEmpty { configuration.cipherSuiteValues = ciphers }
        configuration.applicationProtocols = ["h2", "http/1.1"]
        return try NIOSSLContext(configuration: configuration)
    }

    /// Sends bytes and returns all that comes back until the server closes.
    private func exchange(
        _ text: String,
        _ address: SocketAddress,
        _ context: NIOSSLContext?
    ) async throws -> String {
        let connection = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .connect(to: address) { channel in
                channel.eventLoop.makeCompletedFuture {
                    if let context {
                        try channel.pipeline.syncOperations.addHandler(
                            NIOSSLClientHandler(context: context, serverHostname: "id.example.org")
                        )
                    }
                    return try NIOAsyncChannel<ByteBuffer, ByteBuffer>(
                        wrappingChannelSynchronously: channel
                    )
                }
            }
        return try await connection.executeThenClose { inbound, outbound in
            try await outbound.write(ByteBuffer(string: text))
            var answer = ""
            for try await part in inbound { answer += String(buffer: part) }
            return answer
        }
    }

    private func address(_ listener: PublicListener) throws -> SocketAddress {
        try SocketAddress(ipAddress: "127.0.0.1", port: Int(listener.port ?? 0))
    }

    @Test(arguments: [TLSVersion.tlsv12, .tlsv13])
    func `a document is fetched over TLS`(version: TLSVersion) async throws {
        shared.pair.withLock { $0 = try? WebCertificate().pair() }
        let context = try client(minimum: version, maximum: version)
        try await withListener(tls) { listener in
            let answer = try await exchange(request, address(listener), context)
            #expect(answer.hasPrefix("HTTP/1.1 200 OK\r\n"))
            #expect(answer.utf8.count > 100_000)
        }
        #expect(shared.events.withLock { $0.first } == .answered(document: "keys", status: 200))
    }

    @Test func `old versions and ciphers are refused`() async throws {
        shared.pair.withLock { $0 = try? WebCertificate().pair() }
        let old = try client(minimum: .tlsv1, maximum: .tlsv11)
        let weak = try client(
            maximum: .tlsv12,
            ciphers: [.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA]
        )
        try await withListener(tls) { listener in
            for context in [old, weak] {
                await #expect(throws: (any Error).self) {
                    try await exchange(request, address(listener), context)
                }
            }
        }
    }

    @Test func `a new connection has the pair of its moment`() async throws {
        let context = try client()
        try await withListener(tls) { listener in
            await #expect(throws: (any Error).self) {
                try await exchange(request, address(listener), context)
            }
            shared.pair.withLock { $0 = try? WebCertificate().pair() }
            let answer = try await exchange(request, address(listener), context)
            #expect(answer.hasPrefix("HTTP/1.1 200 OK\r\n"))
        }
        #expect(shared.events.withLock { $0.first } == .closed(.noCertificate))
    }

    @Test func `plain HTTP to the port of TLS gets nothing`() async throws {
        shared.pair.withLock { $0 = try? WebCertificate().pair() }
        try await withListener(tls) { listener in
            let answer = try? await exchange(request, address(listener), nil)
            #expect(answer?.contains("HTTP/1.1") != true)
        }
        #expect(shared.events.withLock { $0 }.contains(.closed(.tls)))
    }

    @Test func `a document is fetched from a Unix socket`() async throws {
        let path = "/tmp/signet-public-\(UInt64.random(in: 0...UInt64.max)).sock"
        defer { try? FileManager.default.removeItem(atPath: "\(path).lock") }
        let file = UnixSocketFile(path: path, mode: 0o666)
        let descriptor = try file.listen()
        defer { file.remove() }
        try await withListener(.socket(descriptor: descriptor)) { _ in
            let address = try SocketAddress(unixDomainSocketPath: path)
            let answer = try await exchange(request, address, nil)
            #expect(answer.hasPrefix("HTTP/1.1 200 OK\r\n"))
            #expect(answer.utf8.count > 100_000)
        }
    }

    @Test func `connections beyond the share of an address are closed`() async throws {
        try await withListener(tls) { listener in
            let address = try address(listener)
            var open: [any Channel] = []
            let most = ConnectionAdmission.connectionsPerAddressMax
            shared.pair.withLock { $0 = try? WebCertificate().pair() }
            for _ in 0..<most {
                open.append(
                    try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
                        .connect(to: address).get()
                )
            }
            let answer = try? await exchange(request, address, nil)
            #expect(answer?.contains("HTTP/1.1") != true)
            for channel in open { try? await channel.close() }
        }
        #expect(shared.events.withLock { $0 }.contains(.closed(.tooManyOfAddress)))
    }

    @Test func `a port in use is an error of its own`() async throws {
        try await withListener(tls) { listener in
            let port = listener.port ?? 0
            await #expect(throws: PublicListenerError.self) {
                _ = try await PublicListener.open(
                    .tls(host: "127.0.0.1", port: port) { nil },
                    service()
                )
            }
        }
    }
}
