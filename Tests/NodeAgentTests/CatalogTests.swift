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

/// The machine's clocks, of which a test steps one.
private final class SteppedClock: NodeClock {
    private let system = SystemClock()
    private let shift = Mutex<TimeInterval>(0)

    func step(by seconds: TimeInterval) { shift.withLock { $0 += seconds } }

    var wallTime: Date { system.wallTime.addingTimeInterval(shift.withLock { $0 }) }

    var bootTime: Duration { system.bootTime }

    func sleep(untilBoot deadline: Duration) async throws {
        try await system.sleep(untilBoot: deadline)
    }
}

/// What the documentation lists, an agent that does a bit of everything shows: each of its metrics.
@Suite(.timeLimit(.minutes(2)))
struct CatalogTests {
    private static let quiet = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

    /// A server, and an agent that has joined it.
    private struct Joined: Sendable {
        let server: ServerCore
        let agent: Agent
        let clock: SteppedClock
        let socket: String
        let admin: ServingAgent.Client
    }

    private func shown(_ metrics: MetricRegistry) -> Set<Metric> {
        let lines = metrics.exposition().split(separator: "\n")
        return Set(
            Metric.allCases.filter { metric in lines.contains { $0.hasPrefix(metric.name) } }
        )
    }

    private func eventually(_ what: Comment, _ condition: () async throws -> Bool) async throws {
        let clock = SystemClock()
        for _ in 0..<4000 {
            if try await condition() { return }
            try await clock.sleep(untilBoot: clock.bootTime + .milliseconds(10))
        }
        Issue.record(what)
        throw CancellationError()
    }

    private func withJoined(_ body: @escaping @Sendable (Joined) async throws -> Void) async throws
    {
        let directory = "/tmp/signet-catalog-\(UInt32.random(in: 0 ... .max))"
        try FileManager.default.createDirectory(
            atPath: directory,
            withIntermediateDirectories: false,
            attributes: [.posixPermissions: 0o755]
        )
        defer { try? FileManager.default.removeItem(atPath: directory) }
        var settings = ServerConfiguration(
            trustDomain: try TrustDomain("example.org"),
            dataDirectory: directory + "/server"
        )
        settings.keyStorage = .plain
        settings.listen = ServerAddress(host: "127.0.0.1", port: 0)
        settings.adminSocket = directory + "/admin.sock"
        settings.admins = [.localUser(uid: geteuid(), host: nil)]
        settings.telemetryPort = 0
        // The agent renews its own certificate after some seconds.
        settings.lifetimes = try SVIDLifetimes(
            workload: .seconds(30),
            agent: .seconds(14),
            server: .seconds(30),
            authority: .seconds(600)
        )
        let server = try Server(settings, clock: SystemClock(), logger: Self.quiet)
        try await withThrowingTaskGroup(of: Void.self) { group in
            defer { group.cancelAll() }
            let (ports, announce) = AsyncStream.makeStream(of: UInt16.self)
            group.addTask { try await server.run { announce.yield($0) } }
            var found: UInt16?
            for await port in ports {
                found = port
                break
            }
            let port = try #require(found)
            let transport = try PeerClientTransport.unixSocket(path: settings.adminSocket)
            try await withGRPCClient(transport: transport) { admin in
                let clock = SteppedClock()
                let agent = try await join(directory, port, admin, clock)
                group.addTask { try await agent.run() }
                try await body(
                    Joined(
                        server: server.core,
                        agent: agent,
                        clock: clock,
                        socket: directory + "/workload.sock",
                        admin: admin
                    )
                )
            }
        }
    }

    private func join(
        _ directory: String,
        _ port: UInt16,
        _ admin: ServingAgent.Client,
        _ clock: SteppedClock
    ) async throws -> Agent {
        let administration = Signet_Admin_V1alpha1_Administration.Client(wrapping: admin)
        var options = CallOptions.defaults
        options.waitForReady = true
        options.timeout = .seconds(20)
        let token = try await administration.createToken(
            .with {
                $0.agentName = "web-1"
                $0.nodeSelectors = ["role:web"]
                $0.serverAddresses = ["127.0.0.1:\(port)"]
            },
            options: options
        )
        var configuration = AgentConfiguration()
        configuration.dataDirectory = directory + "/agent"
        configuration.joinToken = token.token
        configuration.socket = directory + "/workload.sock"
        configuration.tokenSocket = directory + "/token.sock"
        configuration.telemetryPort = 0
        // What an earlier run could not send.
        let spool = DecisionSpool(
            directory: directory + "/agent/decisions",
            clock: clock,
            logger: Self.quiet,
            metrics: MetricRegistry(of: .agent)
        )
        spool.offer(DecisionSamples.judged(DecisionSamples.denials(0..<2)))
        await spool.write()
        return try Agent(configuration, clock: clock, logger: Self.quiet)
    }

    /// Registers this process, fetches its identity, loses the connection and lives through a
    /// renewal and a step of the clock.
    private func work(_ joined: Joined) async throws {
        let documents = Signet_Admin_V1alpha1_Documents.Client(wrapping: joined.admin)
        _ = try await documents.apply(
            .with {
                $0.files = [
                    .with {
                        $0.name = "test.yaml"
                        $0.content = """
                            apiVersion: core.signet/v1alpha1
                            kind: RegistrationEntry
                            metadata: {name: self}
                            spec:
                              spiffeID: spiffe://example.org/self
                              nodeSelectors: ["role:web"]
                              workloadSelectors: ["unix:uid:\(getuid())"]

                            """
                    }
                ]
            }
        )
        let metrics = joined.agent.metrics
        try await eventually("the workload has its identity") {
            (try? await fetch(joined.socket)) == ["spiffe://example.org/self"]
        }
        try await eventually("the agent's own certificate is renewed") {
            metrics.exposition().contains("signet_agent_svid_renewals_total{result=\"renewed\"}")
        }
        try await eventually("the segment of the earlier run is stored") {
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
        try await eventually("the silent caller is counted") {
            metrics.exposition().contains("signet_connections_refused_total{")
        }
        joined.server.disconnect(try SPIFFEID("spiffe://example.org/signet/agent/web-1"))
        try await eventually("the loss of the stream is counted") {
            !metrics.exposition().contains("\nsignet_agent_sync_reconnects_total 0\n")
        }
        joined.clock.step(by: 6)
        try await eventually("the step of the clock is counted") {
            _ = try? await fetch(joined.socket)
            return !metrics.exposition().contains("\nsignet_clock_steps_total 0\n")
        }
    }

    private func fetch(_ socket: String) async throws -> [String] {
        try await withGRPCClient(
            transport: PeerClientTransport.unixSocket(path: socket)
        ) { client in
            try await SpiffeWorkloadAPI.Client(wrapping: client).fetchX509SVID(
                .init(),
                metadata: ServingAgent.header
            ) { response in
                for try await message in response.messages {
                    return message.svids.map(\.spiffeID)
                }
                return []
            }
        }
    }

    @Test func `every metric of the agent is shown`() async throws {
        let seen = Mutex<Set<Metric>>([])
        try await withJoined { joined in
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
            try await eventually("both alarms are counted") {
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
