// SPDX-License-Identifier: Apache-2.0

import Authorization
import Foundation
import Glibc
import HTTPSemantics
import MTLSProxy
import Reactor
import Routing
import Testing

/// An application behind a Unix socket, which no other user can reach past the proxy.
@Suite(.timeLimit(.minutes(1)), .serialized) struct ProxyUnixForwardTests {
    /// Two proxies and an application whose only address is a path.
    private final class Behind {
        let world: World
        private let path: String
        private let application: Wire

        init(
            _ provider: TLSProvider,
            _ trafficProtocol: TrafficProtocol,
            _ kind: Application.Kind,
            uids: [UInt32] = [getuid()]
        ) async throws {
            path = NSTemporaryDirectory() + "forward-\(UInt64.random(in: 0 ... .max)).sock"
            application = Wire(try Socket.listen(path: path, mode: 0o600))
            try Application.serve(on: application, kind)
            // Nobody listens at the address that it would have otherwise.
            world = try World(provider, trafficProtocol, application: World.freeAddress())
            try await world.applyServer(
                [World.allow()],
                forward: .unix(path),
                forwardUIDs: uids
            )
            try await world.applyClient()
        }

        deinit { try? FileManager.default.removeItem(atPath: path) }
    }

    @Test(arguments: TLSProvider.allCases)
    func `requests reach an application behind a Unix socket, over one connection`(
        _ provider: TLSProvider
    ) async throws {
        let behind = try await Behind(provider, .http, .mirror)
        let wire = try Wire.connect(behind.world.outboundAddress)
        let body = String(repeating: "0123456789abcdef", count: 64 * 1024)
        for number in 0..<3 {
            wire.send(
                "POST /\(number) HTTP/1.1\r\nhost: a\r\ncontent-length: \(body.utf8.count)\r\n\r\n"
            )
            wire.send(body)
            let answer = try #require(wire.readAnswer())
            #expect(answer.status == 200)
            #expect(answer.body.hasPrefix("post /\(number) http/1.1"))
            #expect(answer.body.contains("uri=spiffe://example.org/web"))
            #expect(answer.body.hasSuffix(body))
        }
        #expect(await behind.world.server.sum().connected == 1)
    }

    @Test(arguments: TLSProvider.allCases)
    func `a stream reaches an application behind a Unix socket, and each side ends by itself`(
        _ provider: TLSProvider
    ) async throws {
        let behind = try await Behind(provider, .tcp, .echo)
        let wire = try Wire.connect(behind.world.outboundAddress)
        let bytes = (0..<(1 << 20)).map { UInt8(truncatingIfNeeded: $0 &* 7 &+ $0 >> 9) }
        let sender = try WorkerThread(name: "sender") {
            wire.send(bytes)
            wire.endSending()
        }
        let back = wire.readToEnd()
        sender.join()
        #expect(back == bytes)
        #expect(wire.failure == nil)
    }

    @Test(arguments: TLSProvider.allCases)
    func `a request never reaches who may not listen at the path`(
        _ provider: TLSProvider
    ) async throws {
        let behind = try await Behind(provider, .http, .mirror, uids: [getuid() &+ 1])
        let server = behind.world.server
        let wire = try Wire.connect(behind.world.outboundAddress)
        wire.send("GET /x HTTP/1.1\r\nhost: a\r\n\r\n")
        #expect(wire.readAnswer()?.status == 503)
        let sum = await server.sum()
        #expect(sum.reasons[.forwardOwner] == 1)
        #expect(sum.connected == 0)
        let record = try #require(server.takeRecords().records.last)
        #expect(record.reason == .forwardOwner)
        #expect(record.status == 503)
        #expect(record.path == "/x")
        #expect(record.detail.hasSuffix(".sock: uid \(getuid()) listens there, and may not"))
        // Allowed by policy all the same: it is no decision about the client.
        #expect(record.decision?.isAllowed == true)
    }

    @Test(arguments: TLSProvider.allCases)
    func `a stream never reaches who may not listen at the path`(
        _ provider: TLSProvider
    ) async throws {
        let behind = try await Behind(provider, .tcp, .echo, uids: [getuid() &+ 1])
        let server = behind.world.server
        let wire = try Wire.connect(behind.world.outboundAddress)
        wire.send("hello")
        #expect(wire.readToEnd().isEmpty)
        // It does not look like an application that had nothing to say.
        #expect(wire.failure?.errorNumber == ECONNRESET)
        let sum = await server.sum()
        #expect(sum.reasons[.forwardOwner] == 1)
        #expect(sum.connected == 0)
        #expect(server.takeRecords().records.map(\.reason) == [.forwardOwner])
    }
}
