// SPDX-License-Identifier: Apache-2.0

import Clocks
import ControlAPI
import ControlAPIProtos
import Foundation
import Logging
import MTLSProxy
import NodeAgent
import NodeSync
import Routing
import SPIFFE
import Telemetry
import Testing

/// An engine that takes every state and shows what it was told.
private final class TakingEngine: TrafficEngine {
    let states: AsyncStream<ProxyConfiguration>
    let trusts: AsyncStream<ProxyTrust>
    private let stateOutlet: AsyncStream<ProxyConfiguration>.Continuation
    private let trustOutlet: AsyncStream<ProxyTrust>.Continuation

    init() {
        (states, stateOutlet) = AsyncStream.makeStream(of: ProxyConfiguration.self)
        (trusts, trustOutlet) = AsyncStream.makeStream(of: ProxyTrust.self)
    }

    func trust(_ trust: ProxyTrust) async { trustOutlet.yield(trust) }

    func apply(_ configuration: ProxyConfiguration) async -> String? {
        stateOutlet.yield(configuration)
        return nil
    }

    func endpoints(_ endpoints: ProxyEndpoints) async {}

    func answer(
        _ question: ProxyQuestion,
        limit: Int
    ) async -> Signet_Node_V1alpha1_ProxyQueryReply {
        .init()
    }
}

/// The proxy's own end of the stream, at the agent's socket.
@Suite(.timeLimit(.minutes(1)))
struct ProxyLinkTests {
    @Test func `what the agent says, the proxy takes and answers`() async throws {
        try await ServingAgent.run { agent in
            let proxy = try agent.proxy("p", ["web"], policies: [[1]])
            try await agent.withServer([agent.own("web")], [proxy]) { reports in
                let engine = TakingEngine()
                let link = AgentLink(
                    socket: agent.proxySocket,
                    introduction: .init(instance: [1, 1, 1, 1, 1]),
                    engine: engine,
                    clock: SystemClock(),
                    logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() },
                    metrics: MetricRegistry(of: .proxy),
                    health: Health(ready: [AgentLink.readyCondition])
                )
                try await withThrowingTaskGroup(of: Void.self) { group in
                    group.addTask { await link.run() }
                    var states = engine.states.makeAsyncIterator()
                    var trusts = engine.trusts.makeAsyncIterator()
                    let trust = await trusts.next(isolation: #isolation)
                    #expect(trust?.granted.map(\.path) == ["/web"])
                    let first = await states.next(isolation: #isolation)
                    #expect(first?.state == proxy)
                    #expect(first?.identities.keys.map(\.path) == ["/web"])
                    let report = try await reports.until { $0.first?.applied != nil }
                    #expect(report[0].instance == [1, 1, 1, 1, 1])
                    #expect(report[0].version == SignetVersion.current)
                    // A later state, and one that takes away.
                    let other = try agent.proxy("p", ["web"], policies: [[2]])
                    _ = agent.receive([try agent.put(other, 1)])
                    #expect(await states.next(isolation: #isolation)?.state == other)
                    _ = agent.receive([
                        agent.world.delta(2, 3, [.remove(ResourceKey(.entry, "entry-web"))])
                    ])
                    #expect(await trusts.next(isolation: #isolation)?.granted == [])
                    #expect(await states.next(isolation: #isolation)?.identities == [:])
                    _ = try await reports.until { $0.first?.applied?.number == 3 }
                    link.drain()
                    _ = try await reports.until(\.isEmpty)
                    group.cancelAll()
                }
            }
        }
    }
}
