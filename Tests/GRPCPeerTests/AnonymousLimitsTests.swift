// SPDX-License-Identifier: Apache-2.0

import GRPCCore
import GRPCPeer
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
}
