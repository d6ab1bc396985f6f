// SPDX-License-Identifier: Apache-2.0

import Authorization
import ControlAPIProtos
import HTTPSemantics
import MTLSProxy
import Reactor
import Routing
import SPIFFE
import Testing

/// Hosts, headers and names of the handshake reach the policies (decision 0025).
@Suite(.timeLimit(.minutes(2)), .serialized) struct ProxyFactsTests {
    private func policy(
        _ action: AccessPolicy.Action = .allow,
        to: AccessOperation? = nil,
        when: [AccessCondition] = [],
        name: String = "p"
    ) throws -> AccessPolicy {
        let rule = try #require(AccessRule(to: to.map { [$0] }, when: when))
        return AccessPolicy(namespace: "default", name: name, action: action, rules: [rule])
    }

    private func hosts(_ text: String) throws -> AccessField<HostPattern> {
        let pattern = try #require(HostPattern(text))
        return try #require(AccessField(anyOf: [pattern]))
    }

    private func header(_ name: String, _ value: String) throws -> AccessCondition {
        let pattern = try #require(HeaderPattern(value))
        return .header(name, try #require(AccessField(anyOf: [pattern])))
    }

    private func ask(_ wire: Wire, host: String, _ more: String = "") -> Int? {
        wire.send("GET / HTTP/1.1\r\nhost: \(host)\r\n\(more)\r\n")
        return wire.readAnswer()?.status
    }

    @Test(arguments: TLSProvider.allCases)
    func `a request is judged by the host and the headers that it has`(
        _ provider: TLSProvider
    ) async throws {
        let application = try Application(.mirror)
        let world = try World(provider, .http, application: application.address)
        let operation = AccessOperation(hosts: try hosts("api.example.org"))
        try await world.applyServer([
            policy(to: operation, when: [try header("x-tenant", "a")])
        ])
        try await world.applyClient()
        let wire = try Wire.connect(world.outboundAddress)
        #expect(ask(wire, host: "API.example.org:8080", "X-Tenant: a\r\n") == 200)
        #expect(ask(wire, host: "api.example.org", "x-tenant: b\r\n") == 403)
        #expect(ask(wire, host: "api.example.org") == 403)
        #expect(ask(wire, host: "api.example.org", "x-tenant: a\r\nx-tenant: a\r\n") == 403)
        #expect(ask(wire, host: "other.example.org", "x-tenant: a\r\n") == 403)
    }

    @Test(arguments: TLSProvider.allCases)
    func `a connection is judged by the name that its handshake asked for`(
        _ provider: TLSProvider
    ) async throws {
        let application = try Application(.mirror)
        let world = try World(provider, .tcp, application: application.address)
        let named = AccessCondition.serverName(try hosts("backend.default.signet.internal"))
        try await world.applyServer([policy(when: [named])])
        try await world.applyClient()
        let wire = try Wire.connect(world.outboundAddress)
        wire.send("x")
        while await world.server.sum().connected == 0 { await Task.yield() }
        let other = AccessCondition.serverName(try hosts("other.default.signet.internal"))
        try await world.applyServer([policy(when: [other])])
        _ = wire.readToEnd()
        #expect(await world.server.sum().reasons[.deniedLater] == 1)
    }

    @Test(arguments: TLSProvider.allCases)
    func `a request under way is judged again with its host and headers`(
        _ provider: TLSProvider
    ) async throws {
        let application = try Application(.silent)
        let world = try World(provider, .http, application: application.address)
        let operation = AccessOperation(hosts: try hosts("backend"))
        let policies = [try policy(to: operation, when: [try header("x-tenant", "a")])]
        try await world.applyServer(policies)
        try await world.applyClient()
        let wire = try Wire.connect(world.outboundAddress)
        wire.send("GET / HTTP/1.1\r\nhost: backend\r\nx-tenant: a\r\n\r\n")
        while await world.server.sum().connected == 0 { await Task.yield() }
        // Other policies that say the same of it.
        try await world.applyServer(
            policies + [policy(when: [try header("x-tenant", "c")], name: "q")]
        )
        #expect(await world.server.sum().reasons[.deniedLater] == nil)
        try await world.applyServer([
            policy(to: operation, when: [try header("x-tenant", "b")])
        ])
        #expect(wire.readAnswer()?.status == 403)
        #expect(await world.server.sum().reasons[.deniedLater] == 1)
    }

    @Test(arguments: TLSProvider.allCases)
    func `what is not remembered of a denied request is neither matched nor unknown`(
        _ provider: TLSProvider
    ) async throws {
        let application = try Application(.mirror)
        let world = try World(provider, .http, application: application.address)
        let admin = AccessOperation(hosts: try hosts("admin.example.org"))
        let other = AccessOperation(hosts: try hosts("other.example.org"))
        try await world.applyServer([
            policy(.deny, to: admin, name: "admin"), policy(.deny, to: other, name: "other"),
            policy(when: [try header("x-tenant", "a")]),
        ])
        try await world.applyClient()
        let wire = try Wire.connect(world.outboundAddress)
        #expect(ask(wire, host: "admin.example.org", "x-tenant: a\r\n") == 403)
        _ = await world.server.sum()
        let records = world.server.takeRecords().records
        let record = try #require(records.first { $0.reason == .denied })
        world.decisions.add(records)
        let id = try #require(record.decisionID?.description)
        let explanation = try #require(world.decisions.explanation(of: id))
        #expect(!explanation.allowed && explanation.policy == "admin" && explanation.rule == 0)
        let told = explanation.rules.map { rule in
            "\(rule.policy) \(rule.matches) \(rule.isNotRemembered)"
        }
        #expect(told == ["admin true false", "other false true", "p false true"])
        let why = "asks about what is not remembered of the request"
        #expect(explanation.rules[1].failed == "to[0].operation.hosts \(why)")
        #expect(explanation.rules[2].failed == "when[request.headers[x-tenant]].values \(why)")
    }
}
