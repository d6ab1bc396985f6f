// SPDX-License-Identifier: Apache-2.0

import Foundation
import HTTPSemantics
import MTLSProxy
import Reactor
import Routing
import SPIFFE
import Testing

/// What one worker does, several do: each has its own connections, and all hear of every change.
@Suite(.timeLimit(.minutes(2)), .serialized) struct ProxyWorkerTests {
    /// So many that the kernel does not give all of them to one worker.
    private static let clients = 40

    /// Sends on all connections before an answer is read, so that each has its own to the server.
    private func ask(_ wires: [Wire], _ path: String) -> [Int?] {
        for wire in wires { wire.send("GET \(path) HTTP/1.1\r\nhost: backend\r\n\r\n") }
        return wires.map { $0.readAnswer()?.status }
    }

    @Test(arguments: TLSProvider.allCases, [2, 4])
    func `requests, policies that change and a revocation reach every worker`(
        _ provider: TLSProvider,
        _ workers: Int
    ) async throws {
        let application = try Application(.slow(100))
        let world = try World(
            provider,
            .http,
            application: application.address,
            workers: workers
        )
        try await world.applyServer([World.allow()])
        try await world.applyClient()
        let wires = try (0..<Self.clients).map { _ in try Wire.connect(world.outboundAddress) }
        let all = { (status: Int) in [Int?](repeating: status, count: Self.clients) }
        #expect(ask(wires, "/") == all(200))
        #expect(await world.server.sum().requests == UInt64(Self.clients))
        #expect(await world.client.sum().accepted == UInt64(Self.clients))
        // Whom a worker has decided about is said by the ID of the decision.
        let records = world.server.takeRecords().records
        #expect(records.count == Self.clients)
        #expect(Set(records.compactMap(\.decisionID)).count == Self.clients)
        #expect(Set(records.compactMap(\.decisionID?.worker)).count > 1)
        // No worker goes on by what was before, on connections that it had.
        try await world.applyServer([World.allow(["/other"])])
        #expect(ask(wires, "/") == all(403))
        try await world.applyServer([World.allow()])
        #expect(ask(wires, "/") == all(200))
        let known = await world.server.list().count { $0.isDownstream }
        #expect(known > 1)
        let revocations = PeerRevocations(identities: [try SPIFFEID(World.webID): Date()])
        try await world.applyServer([World.allow()], revocations: revocations)
        while await world.server.list().contains(where: \.isDownstream) { await Task.yield() }
        while await world.client.sum().pooled > 0 { await Task.yield() }
        #expect(await world.server.sum().reasons[.revoked] == UInt64(known))
        // Nor does a worker let in whom it has not seen before.
        let refused = ask(wires, "/")
        #expect(refused.allSatisfy { $0 == 502 || $0 == 503 }, "\(refused)")
        #expect(await world.server.sum().requests == UInt64(3 * Self.clients))
    }

    @Test(arguments: TLSProvider.allCases, [2, 4])
    func `streams of every worker are cut off when their peer loses its right`(
        _ provider: TLSProvider,
        _ workers: Int
    ) async throws {
        let application = try Application(.echo)
        let world = try World(
            provider,
            .tcp,
            application: application.address,
            workers: workers
        )
        try await world.applyServer([World.allow()])
        try await world.applyClient()
        let wires = try (0..<Self.clients).map { _ in try Wire.connect(world.outboundAddress) }
        for wire in wires {
            wire.send("hello")
            #expect(wire.read(5) == Array("hello".utf8))
        }
        try await world.applyServer([])
        for wire in wires {
            #expect(wire.readToEnd().isEmpty)
            #expect(wire.failure != nil)
        }
        while await world.server.sum().live > 0 { await Task.yield() }
        #expect(await world.server.sum().reasons[.deniedLater] == UInt64(Self.clients))
    }
}
