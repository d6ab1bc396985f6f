// SPDX-License-Identifier: Apache-2.0

import Authorization
import Clocks
import ControlAPIProtos
import Foundation
import HTTPSemantics
import Logging
import MTLSProxy
import Reactor
import Routing
import SPIFFE
import Telemetry
import Testing

/// Policies in shadow: they change nothing, and say what they would change.
@Suite(.timeLimit(.minutes(1)), .serialized) struct ProxyShadowTests {
    private func shadow(_ path: String) throws -> AccessPolicy {
        let pattern = try #require(PathPattern(path))
        let patterns = try #require(AccessField(anyOf: [pattern]))
        return AccessPolicy(
            namespace: "default",
            name: "later",
            action: .deny,
            mode: .shadow,
            rules: [try #require(AccessRule(to: [AccessOperation(paths: patterns)]))]
        )
    }

    private func ask(_ wire: Wire, _ path: String) -> Int? {
        wire.send("GET \(path) HTTP/1.1\r\nhost: backend\r\n\r\n")
        return wire.readAnswer()?.status
    }

    @Test(arguments: TLSProvider.allCases)
    func `what a policy in shadow would deny passes, and is recorded as what it would be`(
        _ provider: TLSProvider
    ) async throws {
        let application = try Application(.mirror)
        let world = try World(provider, .http, application: application.address)
        // Also where nothing else that is allowed is told of.
        try await world.applyServer([World.allow(), shadow("/old/*")], recording: .denials)
        try await world.applyClient()
        let wire = try Wire.connect(world.outboundAddress)
        #expect(ask(wire, "/old/x") == 200)
        #expect(ask(wire, "/new/x") == 200)
        _ = await world.server.sum()
        let records = world.server.takeRecords().records.filter(\.isForAccessLog)
        #expect(records.map(\.path) == ["/old/x"])
        let record = try #require(records.first)
        #expect(record.status == 200)
        #expect(record.reason == .none)
        #expect(record.decision?.isAllowed == true)
        #expect(record.decision?.shadow.isAllowed == false)
        #expect(record.decision?.differsInShadow == true)
        // Whoever asks about it hears which policy it was.
        world.decisions.add(records)
        let id = try #require(record.decisionID?.description)
        let explanation = try #require(world.decisions.explanation(of: id))
        #expect(explanation.allowed)
        #expect(explanation.shadowDiffers)
        #expect(!explanation.shadowAllowed)
        #expect(explanation.shadowPolicy == "default/later")
    }

    @Test(arguments: TLSProvider.allCases)
    func `each difference is counted with its verdict and policy`(
        _ provider: TLSProvider
    ) async throws {
        try await LinkWorld.run { linked in
            let application = try Application(.mirror)
            let world = try World(provider, .http, application: application.address)
            try await world.applyServer([World.allow(), shadow("/old/*")])
            try await world.applyClient()
            let reporter = world.reporter(to: linked)
            let wire = try Wire.connect(world.outboundAddress)
            for path in ["/old/1", "/new", "/old/2", "/old/3"] {
                #expect(ask(wire, path) == 200)
            }
            let server = world.server
            await withTaskGroup(of: Void.self) { group in
                group.addTask { await reporter.run() }
                await server.drained()
                group.cancelAll()
            }
            let lines = linked.metrics.exposition().split(separator: "\n").filter {
                $0.hasPrefix("signet_proxy_shadow_differences_total{")
            }
            #expect(lines.count == 1, "\(lines)")
            let line = try #require(lines.first)
            #expect(line.contains("verdict=\"denied\""))
            #expect(line.contains("policy=\"default/later\""))
            #expect(line.hasSuffix(" 3"))
        }
    }
}
