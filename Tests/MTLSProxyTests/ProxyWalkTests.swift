// SPDX-License-Identifier: Apache-2.0

import Foundation
import HTTPSemantics
import MTLSProxy
import Reactor
import Routing
import TestSeeds
import Testing

/// Random clients and a random application on both sides of two proxies, whose snapshots change.
///
/// A seed decides what is done and in which order; how far the proxies have got by then is the
/// machine's affair, so that each run of a seed is another one. What is looked at holds in all.
@Suite(.timeLimit(.minutes(1)), .serialized) struct ProxyWalkTests {
    @Test(arguments: UInt64(1)...10)
    func `whatever comes, each answer is that of its request, and nothing is left`(
        seed: UInt64
    ) async throws {
        let walk = try await ProxyWalk(seed: seed)
        for _ in 0..<400 { try await walk.step() }
        try await walk.finish()
    }
}

/// One walk.
private final class ProxyWalk {
    private static let clientsMax = 4
    /// Of 150 ms each, which is longer than most limits below.
    private static let pausesMax = 3

    private var random: SeededGenerator
    private let world: World
    private let listener: Wire
    private var clients: [WalkClient] = []
    private var servers: [WalkServer] = []
    private var number = 0
    private var pauses = 0
    /// How often the application has heard of each request.
    private var heard: [Int: Int] = [:]

    init(seed: UInt64) async throws {
        random = SeededGenerator(seed: seed)
        listener = Wire(try Socket.listen(IPAddress(ipv4: 0x7F00_0001), port: 0))
        let port = listener.with { $0.localEndpoint()?.port } ?? nil
        guard let address = SocketAddress("127.0.0.1:\(port ?? 0)") else { throw NoAddress() }
        let provider = TLSProvider.allCases[Int(seed) % TLSProvider.allCases.count]
        world = try World(provider, .http, application: address)
        try await world.applyServer([World.allow()], limits: Self.limits)
        try await world.applyClient(limits: Self.limits)
    }

    /// So short that all of them come to pass.
    private static var limits: ProxyLimits {
        var limits = ProxyLimits()
        (limits.head, limits.stall, limits.answer) = (150, 200, 250)
        (limits.idle, limits.poolIdle, limits.linger) = (250, 200, 100)
        return limits
    }

    // MARK: - Steps

    func step() async throws {
        switch random.below(40) {
        case 0..<3: try connect()
        case 3..<16: write()
        case 16..<22: for client in clients where !client.isPaused { client.read() }
        case 22..<32: serve()
        case 32: clients.randomElement(using: &random)?.isPaused.toggle()
        case 33: servers.randomElement(using: &random)?.isPaused.toggle()
        case 34: leave()
        case 35: if random.once(in: 3) { breakOff() }
        case 36: try await change()
        case 37: passTime()
        default:
            await world.client.settled()
            await world.server.settled()
        }
        clients.removeAll { $0.isOver }
        servers.removeAll { $0.isOver }
    }

    private func connect() throws {
        guard clients.count < Self.clientsMax else { return }
        clients.append(WalkClient(try Wire.connect(world.outboundAddress)))
    }

    private func write() {
        guard let client = clients.randomElement(using: &random) else { return }
        if client.isFree {
            number += 1
            client.begin(number)
        }
        client.send { random.piece(of: $0) }
    }

    private func serve() {
        while let accepted = listener.acceptNow() { servers.append(WalkServer(accepted)) }
        for server in servers {
            server.work({ hear($0, mayEnd: true) }, { random.piece(of: $0) })
        }
    }

    /// - Returns: Whether the connection ends with the answer.
    private func hear(_ number: Int, mayEnd: Bool) -> Bool {
        heard[number, default: 0] += 1
        return mayEnd && random.once(in: 8)
    }

    /// A client ends its side, or goes without a word.
    private func leave() {
        guard let client = clients.randomElement(using: &random) else { return }
        switch random.below(3) {
        case 0: client.endSending()
        case 1:
            client.wire.close()
            clients.removeAll { $0 === client }
        default:
            client.wire.with { $0.resetOnClose() }
            client.wire.close()
            clients.removeAll { $0 === client }
        }
    }

    /// The application ends or resets a connection, whatever is on its way.
    private func breakOff() {
        servers.randomElement(using: &random)?.close(resetting: random.once(in: 2))
    }

    private func change() async throws {
        switch random.below(4) {
        case 0: try await world.applyClient(limits: Self.limits)
        case 1: try await world.applyClient(keepsConnections: true, limits: Self.limits)
        case 2: try await world.applyServer([World.allow()], limits: Self.limits)
        default:
            // What is on its way is denied, and what comes until the next change.
            try await world.applyServer([World.allow(["/0"])], limits: Self.limits)
        }
    }

    private func passTime() {
        guard pauses < Self.pausesMax else { return }
        pauses += 1
        pause(150)
    }

    // MARK: - The end

    /// Lets everything come to its end, and looks whether something is left.
    func finish() async throws {
        // From here on nobody is slow.
        try await world.applyServer([World.allow()])
        try await world.applyClient()
        for client in clients { client.isPaused = false }
        for server in servers { server.isPaused = false }
        while clients.contains(where: \.waits) { await work() }
        // Whatever was before, the next one is served.
        let last = WalkClient(try Wire.connect(world.outboundAddress))
        number += 3 - number % 3
        last.begin(number)
        clients.append(last)
        while last.waits { await work() }
        #expect(last.answered == 1)
        // What may not be sent a second time was not.
        let twice = heard.filter { $0.value > 1 && !WalkExchange.isRepeatable($0.key) }
        #expect(twice.isEmpty, "heard more than once: \(twice)")
        #expect(heard.keys.allSatisfy { (1...number).contains($0) })
        for client in clients { client.wire.close() }
        clients = []
        // Connections that are kept for the next request end with what they stand on.
        try await world.applyClient()
        for engine in [world.client, world.server] {
            while await engine.sum().live > 0 { closeServers() }
            #expect(await engine.sum().pooled == 0)
        }
    }

    private func work() async {
        while let accepted = listener.acceptNow() { servers.append(WalkServer(accepted)) }
        for server in servers { server.work({ hear($0, mayEnd: false) }, { $0 }) }
        for client in clients {
            client.send { $0 }
            client.read()
        }
        servers.removeAll { $0.isOver }
        await world.client.settled()
        await world.server.settled()
    }

    private func closeServers() {
        while let accepted = listener.acceptNow() { servers.append(WalkServer(accepted)) }
        for server in servers { server.close() }
        servers = []
    }
}
