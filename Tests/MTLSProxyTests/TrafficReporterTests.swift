// SPDX-License-Identifier: Apache-2.0

import Clocks
import ControlAPIProtos
import Foundation
import HTTPSemantics
import Logging
import MTLSProxy
import Reactor
import Routing
import SwiftProtobuf
import Telemetry
import TestPrograms
import Testing

/// What the agent is told of the traffic, to the last word.
@Suite(.timeLimit(.minutes(1)))
struct TrafficReporterTests {
    @Test(arguments: TLSProvider.allCases)
    func `what the last seconds have brought reaches the agent before the process ends`(
        _ provider: TLSProvider
    ) async throws {
        try await LinkWorld.run { linked in
            let agent = try await Reader(linked.streams).next()
            let application = try Application(.mirror)
            let world = try World(provider, .http, application: application.address)
            try await world.applyServer([World.allow(["/public"])])
            try await world.applyClient()
            let reporter = world.reporter(to: linked)
            let wire = try Wire.connect(world.outboundAddress)
            for (path, status) in [("/public", 200), ("/secret", 403)] {
                wire.send("GET \(path) HTTP/1.1\r\nhost: backend\r\n\r\n")
                #expect(wire.readAnswer()?.status == status)
            }
            // What was counted under the old name is believed under that.
            try await world.applyServer([World.allow(["/public"])], name: "renamed")
            let server = world.server
            await withTaskGroup(of: Void.self) { group in
                group.addTask { await reporter.run() }
                await server.drained()
                group.cancelAll()
            }
            await linked.link.finish(within: .seconds(30))
            // It has ended the stream, and all came before the end.
            var counts: [Signet_Proxy_V1alpha1_DecisionCount] = []
            var denials = 0
            for await message in agent.said {
                counts += message.records.counts
                denials += message.records.denials.count
            }
            #expect(Set(counts.map(\.allowed)) == [true, false])
            #expect(counts.map(\.count) == [1, 1])
            #expect(counts.allSatisfy { $0.identity == World.backendID && $0.listener == "in" })
            #expect(counts.first(where: \.allowed)?.policy == "p")
            #expect(denials == 1)
        }
    }

    @Test(arguments: TLSProvider.allCases, [TrafficProtocol.http, .tcp])
    func `the client's proxy counts who answered by name, and each failure once`(
        _ provider: TLSProvider,
        _ kind: TrafficProtocol
    ) async throws {
        try await LinkWorld.run { linked in
            _ = try await Reader(linked.streams).next()
            let application = try Application(.mirror)
            let world = try World(provider, kind, application: application.address)
            try await world.applyServer([World.allow()])
            let lists: [[SocketAddress]?] = [nil, [try World.freeAddress()]]
            for endpoints in lists {
                try await world.applyClient(endpoints: endpoints)
                let wire = try Wire.connect(world.outboundAddress)
                wire.send("GET / HTTP/1.1\r\nhost: backend\r\n\r\n")
                let answer = wire.readAnswer()
                #expect(answer?.status == (endpoints == nil ? 200 : kind == .tcp ? nil : 503))
            }
            let reporter = world.reporter(to: linked, of: world.client)
            let client = world.client
            await withTaskGroup(of: Void.self) { group in
                group.addTask { await reporter.run() }
                await client.drained()
                group.cancelAll()
            }
            let lines = linked.metrics.exposition().split(separator: "\n")
            let who = kind == .tcp ? "istio_tcp_connections_opened_total" : "istio_requests_total"
            for (server, flags) in [(World.backendID, "-"), ("unknown", "UF")] {
                let counted = lines.filter {
                    $0.hasPrefix("\(who){reporter=\"source\"")
                        && $0.contains("destination_principal=\"\(server)\"")
                        // A stream's beginning knows no end.
                        && (kind == .tcp || $0.contains("response_flags=\"\(flags)\""))
                }
                #expect(counted.count == 1 && counted[0].hasSuffix(" 1"), "\(lines)")
            }
            for name in ["signet_proxy_ends_total", "signet_proxy_server_ends_total"] {
                let line = "\(name){reason=\"server_unreachable\"} 1"
                #expect(lines.contains { $0 == line }, "\(lines)")
            }
        }
    }

    @Test func `a proxy is suspended while its agent is silent for longer than it may be`()
        async throws
    {
        try await LinkWorld.run { linked in
            let agent = try await Reader(linked.streams).next()
            let application = try Application(.mirror)
            let world = try World(.boringSSL, .http, application: application.address)
            let log = LoggedLines()
            let reporter = world.reporter(
                to: linked,
                stalenessMax: .seconds(2),
                logger: log.logger
            )
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask { await reporter.run() }
                defer { group.cancelAll() }
                try await agent.say(try linked.trust())
                // Who says nothing more ages.
                try await eventually("the proxy to be suspended") {
                    log.lines.contains { $0.contains("the agent is silent for too long") }
                }
                #expect(!log.lines.contains { $0.contains("heard again") })
                // Its next word ends it, whenever the proxy looks.
                try await eventually("the proxy to go on") {
                    try await agent.say(try linked.trust())
                    return log.lines.contains { $0.contains("the agent is heard again") }
                }
            }
        }
    }

    @Test func `an end without an agent waits no longer than it may`() async {
        let link = AgentLink(
            socket: "/nonexistent/proxy.sock",
            introduction: .init(instance: [1, 2, 3, 4, 5]),
            engine: RecordingEngine(),
            clock: SystemClock(),
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() },
            metrics: MetricRegistry(of: .proxy),
            health: Health(ready: [AgentLink.readyCondition])
        )
        link.record(.with { $0.counts = [.with { $0.count = 1 }] })
        await withTaskGroup(of: Void.self) { group in
            group.addTask { await link.run() }
            await link.finish(within: .milliseconds(20))
            group.cancelAll()
        }
    }
}
