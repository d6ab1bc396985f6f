// SPDX-License-Identifier: Apache-2.0

import Foundation
import Glibc
import HTTPSemantics
import MTLSProxy
import Reactor
import Routing
import Testing

/// What is too much: of one request, and of connections when there are no descriptors left.
@Suite(.timeLimit(.minutes(1)), .serialized) struct ProxySizeTests {
    private static let get = "GET / HTTP/1.1\r\nhost: backend\r\n\r\n"

    private func world(_ provider: TLSProvider) async throws -> World {
        let application = try Application(.mirror)
        let world = try World(provider, .http, application: application.address)
        try await world.applyServer([World.allow()])
        try await world.applyClient()
        return world
    }

    /// A request that is too large in one way.
    struct Excess: Sendable, CustomTestStringConvertible {
        var rule: String
        var status: Int
        var request: String
        var testDescription: String { rule }

        static let all = [
            Excess(
                rule: "targetBytesMax",
                status: 414,
                request: "GET /\(String(repeating: "a", count: 8 << 10)) HTTP/1.1\r\n"
                    + "host: a\r\n\r\n"
            ),
            Excess(
                rule: "headBytesMax",
                status: 431,
                request: "GET / HTTP/1.1\r\nhost: a\r\nx: "
                    + String(repeating: "a", count: 32 << 10) + "\r\n\r\n"
            ),
            Excess(
                rule: "fieldsMax",
                status: 431,
                request: "GET / HTTP/1.1\r\nhost: a\r\n"
                    + String(repeating: "x: y\r\n", count: 101) + "\r\n"
            ),
            Excess(
                rule: "bodyBytesMax",
                status: 413,
                request: "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: \(1 << 40 + 1)\r\n\r\n"
            ),
        ]
    }

    @Test(arguments: TLSProvider.allCases, Excess.all)
    func `a request that is too large is told by which rule`(
        _ provider: TLSProvider,
        _ excess: Excess
    ) async throws {
        let world = try await world(provider)
        let wire = try Wire.connect(world.outboundAddress)
        wire.send(excess.request)
        let answer = try #require(wire.readAnswer())
        #expect(answer.status == excess.status)
        #expect(answer.body.contains("rule \(excess.rule)\n"))
        // Nothing after it is read: where it ends is not known.
        #expect(answer.head.contains("connection: close"))
        #expect(wire.readToEnd().isEmpty)
        let sum = await world.client.sum()
        #expect(sum.reasons == [.requestRefused: 1])
        let records = world.client.takeRecords().records
        #expect(records.map(\.reason) == [.requestRefused])
        #expect(records.first?.status == excess.status)
        // Nobody behind the proxy has heard of it.
        #expect(await world.server.sum().requests == 0)
        // And it is the matter of that client alone.
        let other = try Wire.connect(world.outboundAddress)
        other.send(Self.get)
        #expect(other.readAnswer()?.status == 200)
    }

    @Test(arguments: TLSProvider.allCases)
    func `without descriptors newcomers are turned away, and who is connected goes on`(
        _ provider: TLSProvider
    ) async throws {
        let world = try await world(provider)
        let wire = try Wire.connect(world.outboundAddress)
        func ask() -> Int? {
            wire.send(Self.get)
            return wire.readAnswer()?.status
        }
        #expect(ask() == 200)
        let few = try FewDescriptors(free: 1)
        for (engine, address) in [
            (world.client, world.outboundAddress), (world.server, world.inboundAddress),
        ] {
            // It has the last descriptor itself, so that the proxy has none for it.
            let newcomer = try Wire.connect(address)
            #expect(newcomer.readToEnd().isEmpty)
            let sum = await engine.sum()
            #expect(sum.turnedAway == 1)
            #expect(sum.reasons[.overloaded] == 1)
            #expect(ask() == 200)
        }
        few.giveBack()
        let late = try Wire.connect(world.outboundAddress)
        late.send(Self.get)
        #expect(late.readAnswer()?.status == 200)
        // The connections between the proxies are let in again as well.
        try await world.applyClient()
        #expect(ask() == 200)
        #expect(await world.server.sum().turnedAway == 1)
    }
}

/// All descriptors of the process but a few, until they are given back: others that run at the same
/// time in it would be disturbed.
private final class FewDescriptors {
    private let before: rlimit
    private var taken: [Int32] = []

    init(free: Int) throws {
        let resource = __rlimit_resource_t(RLIMIT_NOFILE.rawValue)
        var limit = rlimit()
        guard unsafe getrlimit(resource, &limit) == 0 else { throw NoAddress() }
        before = limit
        // Not one descriptor for each number that there may be.
        limit.rlim_cur = min(limit.rlim_cur, rlim_t(Self.highest + 1 + free))
        guard unsafe setrlimit(resource, &limit) == 0 else { throw NoAddress() }
        // Numbers below it that are free have to be taken.
        while true {
            let next = dup(STDERR_FILENO)
            if next < 0 { break }
            taken.append(next)
        }
        for _ in 0..<free { if let last = taken.popLast() { close(last) } }
    }

    deinit { giveBack() }

    /// The greatest number that is in use.
    private static var highest: Int {
        let names = try? FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd")
        return (names ?? []).compactMap { Int($0) }.max() ?? 0
    }

    func giveBack() {
        var limit = before
        _ = unsafe setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
        for descriptor in taken { close(descriptor) }
        taken = []
    }
}
