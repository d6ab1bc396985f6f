// SPDX-License-Identifier: Apache-2.0

import GRPCCore
import GRPCPeer
import NIOCore
import NIOPosix
import Testing

@Suite(.timeLimit(.minutes(1)))
struct AnonymousLimitsTests {
    private func world(
        _ change: (inout ConnectionLimits.AnonymousLimits) -> Void
    ) throws -> TLSWorld {
        var limits = ConnectionLimits.network
        change(&limits.anonymous)
        return try TLSWorld(limits: limits)
    }

    @Test(arguments: [true, false])
    func `a large request is reset unless its peer is known`(_ isKnown: Bool) async throws {
        let world = try world { $0.requestBytesMax = 1000 }
        try await withDescribingServer(world.transport) { _ in
            let transport =
                if isKnown {
                    try await knownClient(world)
                } else {
                    try await anonymousClient(world)
                }
            try await withGRPCClient(transport: transport) { client in
                // A message has a head of five bytes.
                _ = try await client.ask(message: [UInt8](repeating: 0, count: 995))
                let code = await failureCode {
                    try await client.ask(message: [UInt8](repeating: 0, count: 996))
                }
                #expect((code == nil) == isKnown)
            }
        }
    }

    @Test(arguments: [true, false])
    func `a second stream is refused unless its peer is known`(_ isKnown: Bool) async throws {
        let world = try world { $0.concurrentStreamsMax = 1 }
        try await withDescribingServer(world.transport) { _ in
            let transport =
                if isKnown {
                    try await knownClient(world)
                } else {
                    try await anonymousClient(world)
                }
            try await withGRPCClient(transport: transport) { client in
                // One after the other is no second stream.
                _ = try await client.ask()
                _ = try await client.ask()
                let code = try await client.serverStreaming(
                    request: ClientRequest(message: []),
                    descriptor: DescribingService.watch,
                    serializer: BytesCoding(),
                    deserializer: BytesCoding(),
                    options: .defaults
                ) { response -> RPCError.Code? in
                    for try await _ in response.messages {
                        return await failureCode { try await client.ask() }
                    }
                    throw CancellationError()
                }
                #expect(code == (isKnown ? nil : .resourceExhausted))
            }
        }
    }

    @Test func `anonymous connections have a number of their own`() async throws {
        let world = try world { $0.connectionsMax = 1 }
        try await withDescribingServer(world.transport) { _ in
            try await withGRPCClient(transport: try await anonymousClient(world)) { first in
                _ = try await first.ask()
                let second = try await anonymousClient(world)
                let code = await failureCode {
                    try await withGRPCClient(transport: second) { try await $0.ask() }
                }
                #expect(code == .unavailable)
                let refusal = try await world.events.first { event -> ConnectionRefusal? in
                    guard case .refused(let refusal) = event else { return nil }
                    return refusal
                }
                #expect(refusal == .anonymousConnectionsMax)
                let known = try await world.ask(as: world.clientIdentity())
                #expect(known == TLSWorld.clientID)
            }
        }
    }

    @Test func `an anonymous connection is drained soon`() async throws {
        let world = try world { $0.ageMax = .milliseconds(100) }
        try await withDescribingServer(world.transport) { _ in
            try await withGRPCClient(transport: try await anonymousClient(world)) { client in
                // The connection may end before the answer comes.
                _ = try? await client.ask()
                let closed = try await world.events.first { event -> String? in
                    guard case .closed(let peer) = event else { return nil }
                    return summary(of: peer)
                }
                #expect(closed == "anonymous")
            }
        }
    }

    @Test func `who does not finish its handshake takes no place from verified peers`() async throws
    {
        var limits = ConnectionLimits.network
        limits.connectionsMax = 1
        limits.opening.connectionsPerSourceMax = 2
        let world = try TLSWorld(limits: limits)
        try await withDescribingServer(world.transport) { _ in
            let address = try await world.address
            let silent = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
                .connect(host: address.host, port: Int(address.port)).get()
            let known = try await world.ask(as: world.clientIdentity())
            #expect(known == TLSWorld.clientID)
            let second = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
                .connect(host: address.host, port: Int(address.port)).get()
            let third = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
                .connect(host: address.host, port: Int(address.port)).get()
            let refusal = try await world.events.first { event -> ConnectionRefusal? in
                guard case .refused(let refusal) = event else { return nil }
                return refusal
            }
            #expect(refusal == .connectionsPerSourceMax(.address("127.0.0.1")))
            try await third.closeFuture.get()
            for channel in [silent, second] { try? await channel.close() }
        }
    }

    @Test func `one identity has a number of connections`() async throws {
        var limits = ConnectionLimits.network
        limits.connectionsPerPeerMax = 1
        let world = try TLSWorld(limits: limits)
        try await withDescribingServer(world.transport) { _ in
            try await withGRPCClient(transport: try await knownClient(world)) { first in
                _ = try await first.ask()
                let second = try await knownClient(world)
                let code = await failureCode {
                    try await withGRPCClient(transport: second) { try await $0.ask() }
                }
                #expect(code == .unavailable)
                _ = try await first.ask()
            }
        }
    }

    @Test(arguments: [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("2001:0DB8:1::9", "2001:db8:1:0::/64"),
        ("fe80::1%eth0", "fe80:0:0:0::/64"),
        ("::1", "0:0:0:0::/64"),
        ("64:ff9b::192.0.2.7", "64:ff9b:0:0::/64"),
    ])
    func `an IPv6 network counts as one source`(_ host: String, _ source: String) {
        #expect(ConnectionSource(host: host) == .address(source))
        let address = host.contains(":") ? "[\(host)]:8081" : "\(host):8081"
        #expect(ConnectionSource(address: address) == .address(source))
    }
}
