// SPDX-License-Identifier: Apache-2.0

import HTTPSemantics
import MTLSProxy
import Reactor
import Routing
import Testing

/// Between two proxies that behave there is a network that does not.
@Suite(.timeLimit(.minutes(2)), .serialized) struct ChaosTests {
    private func world(
        _ provider: TLSProvider,
        _ behaviour: ChaosRelay.Behaviour,
        _ kind: Application.Kind = .mirror,
        cutting direction: ChaosRelay.Direction = .answers,
        limits: ProxyLimits = ProxyLimits(),
        serverLimits: ProxyLimits = ProxyLimits()
    ) async throws -> World {
        let application = try Application(kind)
        let isHTTP = if case .echo = kind { false } else { true }
        let world = try World(provider, isHTTP ? .http : .tcp, application: application.address)
        try await world.applyServer([World.allow()], limits: serverLimits)
        let relay = try ChaosRelay(
            to: world.inboundAddress,
            behaviour,
            cutting: direction
        )
        try await world.applyClient(endpoints: [relay.address], limits: limits)
        return world
    }

    private let request = "GET /x HTTP/1.1\r\nhost: backend\r\n\r\n"

    @Test(arguments: TLSProvider.allCases, [1, 3, 100])
    func `requests survive a network that passes a few bytes at a time`(
        _ provider: TLSProvider,
        count: Int
    ) async throws {
        let world = try await world(provider, .slices(count))
        let wire = try Wire.connect(world.outboundAddress)
        for _ in 0..<3 {
            wire.send(request)
            #expect(wire.readAnswer()?.status == 200)
        }
        // The client's side may be cut as well.
        for byte in request.utf8 { wire.send([byte]) }
        #expect(wire.readAnswer()?.status == 200)
    }

    @Test(arguments: TLSProvider.allCases)
    func `requests survive a network that is slow and passes single bytes`(
        _ provider: TLSProvider
    ) async throws {
        let world = try await world(provider, .latency(20, slices: 1))
        let wire = try Wire.connect(world.outboundAddress)
        for number in 0..<3 {
            wire.send("POST /\(number) HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nbody")
            let answer = try #require(wire.readAnswer())
            #expect(answer.status == 200)
            #expect(answer.body.hasPrefix("post /\(number) http/1.1"))
            #expect(answer.body.hasSuffix("body"))
        }
        #expect(await world.server.sum().handshakes == 1)
    }

    @Test(arguments: TLSProvider.allCases)
    func `a stream survives a network that is slow and passes single bytes`(
        _ provider: TLSProvider
    ) async throws {
        let world = try await world(provider, .latency(20, slices: 1), .echo)
        let wire = try Wire.connect(world.outboundAddress)
        let bytes = (0..<3000).map { UInt8(truncatingIfNeeded: $0) }
        wire.send(bytes)
        wire.endSending()
        #expect(wire.readToEnd() == bytes)
        #expect(wire.failure == nil)
    }

    /// 64 KiB at most come each 50 ms, so that all of it takes several times what a stall may, and
    /// what it takes to notice one.
    private static let steadily = ChaosRelay.Behaviour.latency(50, slices: 64 * 1024)
    private static let steadyBytes = 4 << 20

    private func impatient() -> ProxyLimits {
        var limits = ProxyLimits()
        limits.stall = 1_000
        return limits
    }

    @Test(arguments: TLSProvider.allCases)
    func `an answer that comes slowly and steadily has not stalled`(
        _ provider: TLSProvider
    ) async throws {
        let body = String(repeating: "b", count: Self.steadyBytes)
        let answer = "HTTP/1.1 200 OK\r\ncontent-length: \(body.utf8.count)\r\n\r\n" + body
        let world = try await world(
            provider,
            Self.steadily,
            .fixed(answer),
            limits: impatient()
        )
        let wire = try Wire.connect(world.outboundAddress)
        wire.send(request)
        #expect(wire.readAnswer()?.body.utf8.count == body.utf8.count)
        #expect(await world.client.sum().reasons[.timedOut] == nil)
    }

    @Test(arguments: TLSProvider.allCases)
    func `a request that comes slowly and steadily has not stalled`(
        _ provider: TLSProvider
    ) async throws {
        let world = try await world(
            provider,
            Self.steadily,
            .slow(0),
            serverLimits: impatient()
        )
        let wire = try Wire.connect(world.outboundAddress)
        let count = Self.steadyBytes
        wire.send("POST /x HTTP/1.1\r\nhost: backend\r\ncontent-length: \(count)\r\n\r\n")
        wire.send([UInt8](repeating: UInt8(ascii: "b"), count: count))
        #expect(wire.readAnswer()?.status == 200)
        #expect(await world.server.sum().reasons[.timedOut] == nil)
    }

    @Test(arguments: TLSProvider.allCases, [0, 500, 1500, 3000])
    func `an answer that breaks off is never taken for a whole one`(
        _ provider: TLSProvider,
        limit: Int
    ) async throws {
        let behaviours: [ChaosRelay.Behaviour] = [
            .reset(after: limit), .end(after: limit), .endHalf(after: limit),
        ]
        for behaviour in behaviours {
            let world = try await world(provider, behaviour)
            let wire = try Wire.connect(world.outboundAddress)
            let body = String(repeating: "x", count: 4000)
            wire.send(
                "POST /x HTTP/1.1\r\nhost: backend\r\ncontent-length: 4000\r\n\r\n\(body)"
            )
            let answer = wire.readAnswer()
            let isWhole = answer?.status == 200 && answer?.body.hasSuffix(body) ?? false
            #expect(!isWhole)
            if answer?.status == 200 {
                // It had begun: the client sees a reset, not an end.
                _ = wire.readToEnd()
                #expect(wire.failure != nil)
            } else {
                #expect(answer == nil || [502, 503].contains(answer?.status ?? 0))
            }
        }
    }

    @Test(arguments: TLSProvider.allCases, [0, 500, 2500, 6000])
    func `a request that breaks off on its way is answered by nobody as a whole one`(
        _ provider: TLSProvider,
        limit: Int
    ) async throws {
        var limits = ProxyLimits()
        (limits.handshake, limits.answer, limits.stall) = (500, 500, 500)
        let behaviours: [ChaosRelay.Behaviour] = [
            .reset(after: limit), .end(after: limit), .endHalf(after: limit),
            .stall(after: limit),
        ]
        let body = String(repeating: "x", count: 8000)
        for behaviour in behaviours {
            let world = try await world(
                provider,
                behaviour,
                cutting: .requests,
                limits: limits,
                serverLimits: limits
            )
            let wire = try Wire.connect(world.outboundAddress)
            wire.send("POST /x HTTP/1.1\r\nhost: backend\r\ncontent-length: 8000\r\n\r\n\(body)")
            // Whoever notices it first says so; a client that has everything was lied to.
            let answer = wire.readAnswer()
            let isRefused = answer.map { [408, 502, 503, 504].contains($0.status) } ?? true
            #expect(isRefused, "\(behaviour): \(answer?.status ?? 0)")
        }
    }

    @Test(arguments: TLSProvider.allCases, ChaosRelay.Direction.allCases)
    func `a stream that is half ended on its way is not taken for whole`(
        _ provider: TLSProvider,
        _ direction: ChaosRelay.Direction
    ) async throws {
        let world = try await world(provider, .endHalf(after: 3000), .echo, cutting: direction)
        let wire = try Wire.connect(world.outboundAddress)
        wire.send([UInt8](repeating: 7, count: 5000))
        wire.endSending()
        #expect(wire.readToEnd().count < 5000)
        #expect(wire.failure != nil)
    }

    @Test(arguments: TLSProvider.allCases, [0, 2000])
    func `a network that goes silent is given up`(
        _ provider: TLSProvider,
        limit: Int
    ) async throws {
        var limits = ProxyLimits()
        (limits.handshake, limits.answer, limits.stall) = (300, 300, 300)
        let world = try await world(provider, .stall(after: limit), limits: limits)
        let wire = try Wire.connect(world.outboundAddress)
        let body = String(repeating: "x", count: 8000)
        wire.send("POST /x HTTP/1.1\r\nhost: backend\r\ncontent-length: 8000\r\n\r\n\(body)")
        let answer = wire.readAnswer()
        let isWhole = answer?.status == 200 && answer?.body.count ?? 0 >= 8000
        #expect(!isWhole)
        let reasons = await world.client.sum().reasons
        // Without a byte the handshake is given up, at each attempt.
        #expect(reasons[limit == 0 ? .serverUnreachable : .timedOut] ?? 0 >= 1, "\(reasons)")
    }

    @Test(arguments: TLSProvider.allCases)
    func `a stream in single bytes arrives whole`(_ provider: TLSProvider) async throws {
        let world = try await world(provider, .slices(1), .echo)
        let wire = try Wire.connect(world.outboundAddress)
        let bytes = (0..<5000).map { UInt8(truncatingIfNeeded: $0) }
        wire.send(bytes)
        wire.endSending()
        let isWhole = wire.readToEnd() == bytes
        let (client, server) = (await world.client.sum(), await world.server.sum())
        #expect(isWhole, "\(client) \(server)")
        #expect(wire.failure == nil)
    }

    @Test(arguments: TLSProvider.allCases)
    func `a stream that is cut off does not look whole`(_ provider: TLSProvider) async throws {
        let behaviours: [ChaosRelay.Behaviour] = [.reset(after: 2000), .end(after: 2000)]
        for (behaviour, direction) in behaviours.flatMap({ one in
            ChaosRelay.Direction.allCases.map { (one, $0) }
        }) {
            let world = try await world(provider, behaviour, .echo, cutting: direction)
            let wire = try Wire.connect(world.outboundAddress)
            wire.send([UInt8](repeating: 7, count: 5000))
            _ = wire.readToEnd()
            #expect(wire.failure != nil)
        }
    }
}
