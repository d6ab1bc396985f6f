// SPDX-License-Identifier: Apache-2.0

import ControlAPI
import ControlAPIProtos
import Foundation
import GRPCCore
import NodeAgent
import NodeSync
import Routing
import SPIFFE
import SwiftProtobuf
import Telemetry
import Testing

/// What proxies and the agent have to do with each other beside states.
@Suite(.timeLimit(.minutes(1)))
struct ProxyProcessTests {
    @Test(.enabled(if: Relay.isPossible, "needs python3 to hand over sockets"))
    func `a connection whose opener has exited, or runs another program, is refused`()
        async throws
    {
        try await ServingAgent.run { agent in
            let proxy = try agent.proxy("p", ["web"])
            try await agent.withServer([agent.own("web")], [proxy]) { _ in
                let stays = try Relay(to: agent.proxySocket, .stay)
                try await agent.attach(socket: stays.socket) { talk in _ = try await talk.state() }
                let exits = try Relay(to: agent.proxySocket, .exit)
                // Refused by the interceptor, before the service sees it.
                #expect(await agent.refusal(socket: exits.socket) == "transport")
                for opener in [Relay.Opener.exec, .execAtOnce] {
                    let relay = try Relay(to: agent.proxySocket, opener)
                    #expect(await agent.refusal(socket: relay.socket) == "notAttested")
                }
            }
        }
    }

    @Test(.enabled(if: Relay.isPossible, "needs python3 to hand over sockets"))
    func `a process that runs another program is told nothing more`() async throws {
        try await ServingAgent.run { agent in
            let proxy = try agent.proxy("p", ["web"])
            try await agent.withServer([agent.own("web")], [proxy]) { _ in
                let relay = try Relay(to: agent.proxySocket, .execOnLine)
                let reason = Box("")
                do {
                    try await agent.attach(socket: relay.socket) { talk in
                        _ = try await talk.state()
                        try relay.execute()
                        _ = agent.receive([
                            try agent.put(try agent.proxy("p", ["web"], policies: [[9]]), 1)
                        ])
                        let told = try await talk.next()
                        Issue.record("told \(told)")
                    }
                } catch let error as RPCError {
                    reason.value = APIError(error).reason
                }
                #expect(reason.value == "executableReplaced")
            }
        }
    }

    @Test(.enabled(if: Relay.isPossible, "needs python3 to hand over sockets"))
    func `a process that runs another program does not keep its Proxy from the next one`()
        async throws
    {
        try await ServingAgent.run { agent in
            let proxy = try agent.proxy("p", ["web"])
            try await agent.withServer([agent.own("web")], [proxy]) { _ in
                let relay = try Relay(to: agent.proxySocket, .execOnLine)
                let next = ServingAgent.hello(instance: [6, 7, 8, 9, 0])
                try await agent.attach(socket: relay.socket) { talk in
                    _ = try await talk.state()
                    // Whoever says that it is the same instance is nobody's next.
                    #expect(await agent.refusal() == "instanceTaken")
                    #expect(await agent.refusal(hello: next) == "alreadyServed")
                    try relay.execute()
                    try await agent.attach(hello: next) { talk in _ = try await talk.state() }
                }
            }
        }
    }

    @Test(.enabled(if: Relay.isPossible, "needs python3 to hand over sockets"))
    func `who left without draining counts until its process has exited`() async throws {
        try await ServingAgent.run { agent in
            let proxy = try agent.proxy("p", ["web"])
            try await agent.withServer([agent.own("web")], [proxy]) { reports in
                let relay = try Relay(to: agent.proxySocket, .stay)
                try await agent.attach(socket: relay.socket) { talk in _ = try await talk.state() }
                let left = try await reports.until { $0.first?.isAttached == false }
                #expect(left.map(\.proxy) == ["default/p"])
                relay.end()
                _ = try await reports.until { $0.isEmpty }
            }
        }
    }

    @Test func `where a proxy listens and what it decided is told on`() async throws {
        try await ServingAgent.run { agent in
            let proxy = try agent.proxy("p", ["web"])
            try await agent.withServer([agent.own("web")], [proxy]) { reports in
                try await agent.attach { talk in
                    _ = try await talk.state()
                    talk.say {
                        $0.records = .with {
                            $0.counts = [
                                .with {
                                    $0.allowed = true
                                    $0.policyNamespace = "default"
                                    $0.policy = "allow-web"
                                    $0.count = 41
                                }
                            ]
                            $0.dropped = 3
                        }
                    }
                    talk.say {
                        $0.listening = .with {
                            $0.listeners = ["web", "other"].map { name in
                                .with {
                                    $0.listener = name
                                    $0.identity = "spiffe://example.org/\(name)"
                                    $0.address = "192.0.2.1:\(name.utf8.count)"
                                }
                            }
                        }
                    }
                    let report = try await reports.until { $0.first?.listening.isEmpty == false }
                    // The other identity is not the Proxy's.
                    #expect(report[0].listening.map(\.address.description) == ["192.0.2.1:3"])
                    #expect(report[0].pid == getpid())
                    #expect(report[0].instance == [1, 2, 3, 4, 5])
                    let page = agent.core.metrics.exposition()
                    let sample = "{verdict=\"allowed\",policy=\"default/allow-web\"} 41\n"
                    #expect(page.contains("signet_agent_proxy_decisions_total" + sample))
                    #expect(page.contains("signet_agent_proxy_records_dropped_total 3\n"))
                    #expect(page.contains("signet_agent_proxies_attached 1\n"))
                }
            }
        }
    }

    @Test func `a question is passed on with its limit, and its answer back`() async throws {
        try await ServingAgent.run { agent in
            let proxy = try agent.proxy("p", ["web"])
            try await agent.withServer([agent.own("web")], [proxy]) { _ in
                let queries = ServerQueries(
                    core: agent.core,
                    attestor: UnixWorkloadAttestor(clock: agent.core.clock)
                )
                let query = Signet_Node_V1alpha1_Query.with {
                    $0.id = 5
                    $0.deadlineMilliseconds = 30_000
                    $0.limit = 7
                    $0.proxy = .with {
                        $0.proxy = "default/p"
                        $0.connections = .init()
                    }
                }
                #expect(await queries.answer(query).refusal.code == "proxyNotAttached")
                try await agent.attach { talk in
                    _ = try await talk.state()
                    async let reply = queries.answer(query)
                    guard case .question(let question) = try await talk.next().message else {
                        Issue.record("no question")
                        return
                    }
                    #expect(question.limit == 7)
                    #expect(question.query.connections == .init())
                    talk.say {
                        $0.queryAnswer = .with {
                            $0.id = question.id
                            $0.reply.connections.truncated = true
                        }
                    }
                    let answer = await reply
                    #expect(answer.id == 5)
                    #expect(answer.proxy.connections.truncated)
                    // One that is not answered in time.
                    var short = query
                    short.deadlineMilliseconds = 20
                    #expect(await queries.answer(short).refusal.code == "deadline")
                }
            }
        }
    }

    @Test func `an explanation names the Proxies that a process attests to`() async throws {
        try await ServingAgent.run { agent in
            let proxy = try agent.proxy("p", ["web"])
            try await agent.withServer([agent.own("web")], [proxy]) { _ in
                let explanation = try await agent.withClient { client in
                    try await Signet_Agent_V1alpha1_AgentLocal.Client(wrapping: client)
                        .explainWorkload(.with { $0.pid = getpid() })
                }
                #expect(explanation.notes.contains("the process attests to Proxy default/p"))
            }
        }
    }

    @Test(.enabled(if: Machine.isRoot, "gives files away"))
    func `the socket is its owner's, or its group's where there is that group`() async throws {
        func mode(_ access: ProxySocket.Access) async throws -> [Int] {
            let found = Box<[Int]>([])
            try await ServingAgent.run(proxyAccess: access) { agent in
                let file = try FileManager.default.attributesOfItem(atPath: agent.proxySocket)
                found.value = [
                    try #require(file[.posixPermissions] as? Int),
                    try #require(file[.groupOwnerAccountID] as? Int),
                ]
            }
            return found.value
        }
        #expect(try await mode(.init(group: "no-such-group-here")) == [0o600, 0])
        // On every Debian system.
        let gid = 12
        #expect(try await mode(.init(group: "man")) == [0o660, gid])
        #expect(try await mode(.init(mode: 0o620, group: "man")) == [0o620, gid])
    }
}
