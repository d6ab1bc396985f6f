// SPDX-License-Identifier: Apache-2.0

import AuditLog
import Authorization
import CAServer
import Clocks
import ControlAPIProtos
import Crypto
import Foundation
import GRPCCore
import GRPCPeer
import Issuance
import Logging
import NIOCore
import NIOPosix
import NodeAgent
import NodeSync
import SPIFFE
import SwiftProtobuf
import Synchronization
import Telemetry
import TestPrograms
import Testing

/// What the documentation lists, an agent that does a bit of everything shows: each of its metrics.
@Suite(.timeLimit(.minutes(2)))
struct CatalogTests {
    private static let quiet = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

    private func shown(_ metrics: MetricRegistry) -> Set<Metric> {
        let lines = metrics.exposition().split(separator: "\n")
        return Set(
            Metric.allCases.filter { metric in lines.contains { $0.hasPrefix(metric.name) } }
        )
    }

    /// Registers this process, fetches its identity, loses the connection and lives through a
    /// renewal and a step of the clock.
    private func work(_ joined: JoinedAgent) async throws {
        try await joined.register("self")
        let metrics = joined.agent.metrics
        try await JoinedAgent.eventually("the workload has its identity") {
            (try? await joined.fetch()) == ["spiffe://example.org/self"]
        }
        try await JoinedAgent.eventually("the agent's own certificate is renewed") {
            metrics.exposition().contains("signet_agent_svid_renewals_total{result=\"renewed\"}")
        }
        try await JoinedAgent.eventually("the segment of the earlier run is stored") {
            metrics.exposition().contains("signet_agent_decision_uploads_total{result=\"stored\"}")
        }
        // It is no server below.
        _ = try? await withGRPCClient(
            transport: PeerClientTransport.unixSocket(path: joined.socket)
        ) { client in
            try await Signet_Upstream_V1alpha1_Upstream.Client(wrapping: client)
                .certify(.init(), metadata: ServingAgent.header)
        }
        let tokens = joined.socket.replacing("workload.sock", with: "token.sock")
        #expect(
            try await UnixClient.answer(to: "GET / HTTP/1.1\r\nHost: x\r\n\r\n", at: tokens)
                .contains("404")
        )
        // A caller that says nothing.
        let silent = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .connect(unixDomainSocketPath: joined.socket).get()
        try await silent.close()
        try await JoinedAgent.eventually("the silent caller is counted") {
            metrics.exposition().contains("signet_connections_refused_total{")
        }
        joined.server.disconnect(try SPIFFEID("spiffe://example.org/signet/agent/web-1"))
        try await JoinedAgent.eventually("the loss of the stream is counted") {
            !metrics.exposition().contains("\nsignet_agent_sync_reconnects_total 0\n")
        }
        joined.clock.step(by: 6)
        try await JoinedAgent.eventually("the step of the clock is counted") {
            _ = try? await joined.fetch()
            return !metrics.exposition().contains("\nsignet_clock_steps_total 0\n")
        }
    }

    @Test func `every metric of the agent is shown`() async throws {
        let seen = Mutex<Set<Metric>>([])
        // The agent renews its own certificate after some seconds.
        let lifetimes = try SVIDLifetimes(
            workload: .seconds(30),
            agent: .seconds(14),
            server: .seconds(30),
            authority: .seconds(600)
        )
        try await JoinedAgent.run(lifetimes: lifetimes) { joined in
            try await work(joined)
            for number in 0...MetricRegistry.seriesMax {
                joined.agent.metrics.increment(.workloadAPIRequests, "method-\(number)", "ok")
            }
            let shown = shown(joined.agent.metrics)
            seen.withLock { $0 = shown }
        }
        // What a server does that forgot something or lies.
        try await ServingAgent.run { agent in
            try agent.serve([])
            _ = agent.receive(try agent.world.snapshot(9, []))
            _ = agent.receive([.watermark(agent.world.revision(3))])
            agent.core.transition { _, _, _ in [.report(.auditContradiction("test"))] }
            // Reports follow what the disk was given before.
            try await JoinedAgent.eventually("both alarms are counted") {
                self.shown(agent.core.metrics).isSuperset(of: [.auditAlarms, .syncAlarms])
            }
            let shown = self.shown(agent.core.metrics)
            seen.withLock { $0.formUnion(shown) }
        }
        try await ServingAgent.run { agent in
            #expect(await agent.refusal() == "notSynced")
            let proxy = try agent.proxy("p", ["web"])
            try await agent.withServer([agent.own("web")], [proxy]) { reports in
                try await agent.attach { talk in
                    _ = try await talk.state()
                    talk.say {
                        // One of an identity of the Proxy, and one of nobody's.
                        let known = Signet_Proxy_V1alpha1_DecisionCount.with {
                            $0.identity = "spiffe://example.org/web"
                            $0.rule = -1
                            $0.count = 1
                        }
                        $0.records.counts = [known, .with { $0.count = 1 }]
                    }
                    talk.say { $0.draining = .init() }
                    _ = try await reports.until(\.isEmpty)
                }
            }
            let shown = self.shown(agent.core.metrics)
            seen.withLock { $0.formUnion(shown) }
        }
        let missing = Metric.allCases.filter { metric in
            metric.daemon != .server && metric.daemon != .proxy
                && !seen.withLock { $0.contains(metric) }
        }
        #expect(missing == [])
        let foreign = seen.withLock { $0 }.filter { $0.daemon == .server || $0.daemon == .proxy }
        #expect(foreign == [])
    }
}
