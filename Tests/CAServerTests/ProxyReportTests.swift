// SPDX-License-Identifier: Apache-2.0

import CAServer
import ControlAPI
import ControlAPIProtos
import Datastore
import FoundationEssentials
import NodeSync
import SPIFFE
import SwiftProtobuf
import Testing

/// What agents report of their proxies, and what proxies answer through them.
@Suite(.timeLimit(.minutes(1)))
struct ProxyReportTests {
    typealias Attached = Signet_Node_V1alpha1_AttachedProxy
    static let capabilities = [SyncCapability.proxy]

    private func attached(
        _ proxy: String = "default/web",
        instance: UInt8 = 1,
        applied: Revision? = nil,
        refused: Revision? = nil,
        isAttached: Bool = true
    ) -> Attached {
        .with {
            $0.proxy = proxy
            $0.instance = Data(repeating: instance, count: 5)
            $0.version = "1.0"
            if let applied { $0.applied = applied.message }
            if let refused { ($0.refused, $0.refusedReason) = (refused.message, "cannot bind") }
            $0.pid = 42
            $0.attached = isAttached
        }
    }

    private func report(_ proxies: Attached...) -> Signet_Node_V1alpha1_SyncRequest {
        .with { $0.proxyReport = .with { $0.proxies = proxies } }
    }

    private func listed(_ server: TestServer) async throws -> [String] {
        try await server.administration.listProxies(.with { $0.allNamespaces = true }).proxies
            .map { "\($0.node) \($0.proxy.proxy)" }
    }

    private func wait(
        for revision: Revision,
        on server: TestServer,
        milliseconds: UInt32 = 30_000
    ) async throws -> Signet_Admin_V1alpha1_WaitResponse {
        try await server.documents.wait(
            .with {
                $0.revision = revision.message
                $0.deadlineMilliseconds = numericCast(milliseconds)
            }
        )
    }

    @Test func `a state is sent to agents of its scope that know the type`() async throws {
        try await withServer { server in
            try await server.putProxy()
            let agent = try await server.agent("web-1", selectors: ["role:web"])
            let other = try await server.agent("db-1", selectors: ["role:db"])
            func keys(_ agent: TestAgent, _ capabilities: [String]) async throws -> [String] {
                try await server.withSync(as: agent, capabilities: capabilities) { sync in
                    var keys: [String] = []
                    while true {
                        switch try await sync.nextState() {
                        case .snapshotPage(_, let page):
                            keys += page.filter { $0.key.type == .proxy }.map(\.key.name)
                        case .snapshotEnd: return keys
                        default: continue
                        }
                    }
                }
            }
            #expect(try await keys(agent, Self.capabilities) == ["default/web"])
            #expect(try await keys(agent, []).isEmpty)
            #expect(try await keys(other, Self.capabilities).isEmpty)
        }
    }

    @Test func `a Proxy that moves is removed where it was and sent where it is`() async throws {
        try await withServer { server in
            let web = try await server.agent("web-1", selectors: ["role:web"])
            let db = try await server.agent("db-1", selectors: ["role:db"])
            try await server.putProxy()
            let key = ResourceKey(.proxy, "default/web")
            let have = try await server.withSync(as: db, capabilities: Self.capabilities) { sync in
                let (revision, _) = try await sync.snapshot()
                sync.acknowledge(revision)
                return revision
            }
            try await server.withSync(as: web, capabilities: Self.capabilities) { sync in
                guard case .snapshotBegin(let revision) = try await sync.nextState() else { return }
                while case .snapshotPage = try await sync.nextState() {}
                sync.acknowledge(revision)
                try await server.putProxy(node: "role:db")
                #expect(try await sync.delta().changes == [.remove(key)])
            }
            try await server.withSync(as: db, have: have, capabilities: Self.capabilities) { sync in
                let delta = try await sync.delta()
                #expect(delta.changes == [.upsert(key, payload: [])])
            }
        }
    }

    @Test func `only proxies of the node's scope are known, as long as the stream is open`()
        async throws
    {
        try await withServer { server in
            try await server.putProxy()
            try await server.putProxy("db", id: "uid-db", node: "role:db")
            let agent = try await server.agent("web-1", selectors: ["role:web"])
            try await server.withSync(as: agent, capabilities: Self.capabilities) { sync in
                sync.send(report(attached(), attached("default/db"), attached("default/none")))
                try await eventually("the report is read") { try await !listed(server).isEmpty }
                #expect(try await listed(server) == ["web-1 default/web"])
                let named = try await server.administration.listProxies(
                    .with { ($0.namespace, $0.name) = ("default", "web") }
                )
                #expect(named.proxies.first?.proxy.pid == 42)
                #expect(try await server.administration.listProxies(.init()).proxies.count == 1)
                sync.send(report())
                try await eventually("it is gone") { try await listed(server).isEmpty }
                sync.send(report(attached()))
                try await eventually("it is back") { try await !listed(server).isEmpty }
            }
            try await eventually("the stream has ended") { try await listed(server).isEmpty }
        }
    }

    @Test func `a Proxy that leaves the node's scope is attached no more, and not waited for`()
        async throws
    {
        try await withServer { server in
            try await server.putProxy()
            try await server.putProxy("api", id: "uid-api")
            let agent = try await server.agent("web-1", selectors: ["role:web"])
            try await server.withSync(as: agent, capabilities: Self.capabilities) { sync in
                guard case .snapshotBegin(let revision) = try await sync.nextState() else { return }
                while case .snapshotPage = try await sync.nextState() {}
                sync.acknowledge(revision)
                sync.send(report(attached(), attached("default/api", instance: 2)))
                try await eventually("both are known") { try await listed(server).count == 2 }
                // The agent says nothing any more.
                try await server.putProxy(node: "role:db")
                let moved = try await sync.delta().toRevision
                sync.acknowledge(moved)
                try await eventually("one is gone") { try await listed(server).count == 1 }
                #expect(try await listed(server) == ["web-1 default/api"])
                #expect(try await wait(for: moved, on: server).complete)
                let id = "aeaqcaib" + String(repeating: "a", count: 18)
                let refused = await refusal {
                    try await server.administration.explainDecision(.with { $0.id = id })
                }
                #expect(refused?.reason == "decisionUnknown")
                // Named again, it is judged by what is in force.
                sync.send(report(attached(), attached("default/api", instance: 2)))
                sync.send(report(attached(), attached("default/api", instance: 3)))
                try await eventually("the newest report is read") {
                    server.core.hub.proxies { $0.instance == [3, 3, 3, 3, 3] }.count == 1
                }
                #expect(try await listed(server) == ["web-1 default/api"])
                try await server.core.write { transaction in
                    let number = try transaction.advanceRevision().number
                    try transaction.deleteProxy(id: "uid-api", number: number)
                }
                try await eventually("none is left") { try await listed(server).isEmpty }
            }
        }
    }

    @Test func `a report that breaks a rule ends the stream`() async throws {
        try await withServer { server in
            try await server.putProxy()
            let agent = try await server.agent("web-1", selectors: ["role:web"])
            let refused = await refusal {
                try await server.withSync(as: agent, capabilities: Self.capabilities) { sync in
                    var short = attached()
                    short.instance = Data([1, 2, 3, 4])
                    sync.send(report(short))
                    while try await sync.next() != nil {}
                }
            }
            #expect(refused?.kind == .invalidArgument)
            #expect(try await listed(server).isEmpty)
        }
    }

    /// Applies the state that changes next, waits for it, and tells how the wait ended.
    private func waiting(
        _ server: TestServer,
        _ sync: SyncConversation,
        _ answer: (Revision) -> Attached
    ) async throws -> Signet_Admin_V1alpha1_WaitResponse {
        try await server.putProxy(identities: ["spiffe://example.org/other"])
        let delta = try await sync.delta()
        async let ended = wait(for: delta.toRevision, on: server)
        try await eventually("somebody waits") { server.core.hub.waitCount == 1 }
        sync.acknowledge(delta.toRevision)
        sync.send(report(answer(delta.toRevision)))
        return try await ended
    }

    private func withWaiting(
        _ answer: @escaping @Sendable (Revision) -> Attached,
        _ check: @escaping @Sendable (Signet_Admin_V1alpha1_WaitResponse) -> Void
    ) async throws {
        try await withServer { server in
            try await server.putProxy()
            let agent = try await server.agent("web-1", selectors: ["role:web"])
            try await server.withSync(as: agent, capabilities: Self.capabilities) { sync in
                guard case .snapshotBegin(let revision) = try await sync.nextState() else { return }
                while case .snapshotPage = try await sync.nextState() {}
                sync.acknowledge(revision)
                sync.send(report(attached(applied: revision)))
                try await eventually("the report is read") { try await !listed(server).isEmpty }
                check(try await waiting(server, sync, answer))
            }
        }
    }

    @Test func `a wait ends when the proxy has applied the state`() async throws {
        try await withWaiting {
            attached(applied: $0)
        } _: { response in
            #expect(response.complete)
            #expect(response.applied == ["web-1", "web-1/default/web"])
            #expect(response.waiting.isEmpty)
            #expect(response.refused.isEmpty)
        }
    }

    @Test func `a wait ends at once when a proxy refuses, and says why`() async throws {
        try await withWaiting {
            attached(refused: $0)
        } _: { response in
            #expect(response.applied == ["web-1"])
            #expect(response.refused.map(\.node) == ["web-1"])
            #expect(response.refused.map(\.resource) == ["proxy default/web"])
            #expect(response.refused.map(\.reason) == ["cannot bind"])
        }
    }

    @Test func `a proxy that left is named and not waited for`() async throws {
        try await withWaiting { _ in
            attached(isAttached: false)
        } _: { response in
            #expect(response.complete)
            #expect(response.unreachable == ["web-1/default/web"])
        }
    }

    @Test func `a proxy that says nothing is named when the time is over`() async throws {
        try await withServer { server in
            try await server.putProxy()
            let agent = try await server.agent("web-1", selectors: ["role:web"])
            try await server.withSync(as: agent, capabilities: Self.capabilities) { sync in
                guard case .snapshotBegin(let revision) = try await sync.nextState() else { return }
                while case .snapshotPage = try await sync.nextState() {}
                sync.acknowledge(revision)
                sync.send(report(attached()))
                try await eventually("the report is read") { try await !listed(server).isEmpty }
                try await server.putProxy(identities: ["spiffe://example.org/other"])
                let next = try await sync.delta().toRevision
                sync.acknowledge(next)
                let response = try await wait(for: next, on: server, milliseconds: 500)
                #expect(!response.complete)
                #expect(response.waiting == ["web-1/default/web"])
                #expect(server.core.hub.waitCount == 0)
            }
        }
    }

    @Test func `a question reaches the proxy through its agent`() async throws {
        try await withServer { server in
            try await server.putProxy()
            let agent = try await server.agent("web-1", selectors: ["role:web"])
            try await server.withSync(as: agent, capabilities: Self.capabilities) { sync in
                // Base32 of five bytes 0x01.
                sync.send(report(attached()))
                try await eventually("the report is read") { try await !listed(server).isEmpty }
                let id = "aeaqcaib" + String(repeating: "a", count: 18)
                async let explained = server.administration.explainDecision(.with { $0.id = id })
                try await sync.answerProxy { query in
                    #expect(query.proxy == "default/web")
                    #expect(query.decision.id == id)
                    return .with { $0.decision = .with { ($0.id, $0.allowed) = (id, true) } }
                }
                let told = try await explained
                #expect(told.allowed)
                #expect(told.toldBy.proxy == "default/web")
                #expect(told.toldBy.agent.hasSuffix("/web-1"))
                #expect(told.toldBy.contradiction.isEmpty)
                let query = Signet_Admin_V1alpha1_AskProxyRequest.with {
                    $0.query = .with { ($0.proxy, $0.connections) = ("default/web", .init()) }
                }
                async let refused = refusal { try await server.administration.askProxy(query) }
                try await sync.answerProxy { _ in
                    .with { $0.refusal = .with { ($0.code, $0.message) = ("busy", "later") } }
                }
                #expect(await refused?.reason == "busy")
            }
        }
    }

    @Test(arguments: [
        ("aeaqcaib", "decisionMalformed"),
        ("aeaqcaib" + String(repeating: "1", count: 18), "decisionMalformed"),
        ("AEAQCAIB" + String(repeating: "a", count: 18), "decisionMalformed"),
        ("aeaqcaic" + String(repeating: "a", count: 18), "decisionUnknown"),
    ])
    func `a decision that no attached proxy made is not asked for`(
        _ id: String,
        _ reason: String
    ) async throws {
        try await withServer { server in
            let refused = await refusal {
                try await server.administration.explainDecision(.with { $0.id = id })
            }
            #expect(refused?.reason == reason)
        }
    }

    @Test func `nobody is asked who is not there, or not alone`() async throws {
        try await withServer { server in
            try await server.putProxy()
            let query = Signet_Node_V1alpha1_ProxyQuery.with {
                ($0.proxy, $0.connections) = ("default/web", .init())
            }
            let away = await refusal {
                try await server.administration.askProxy(.with { $0.query = query })
            }
            #expect(away?.reason == "proxyAway")
            let one = try await server.agent("web-1", selectors: ["role:web"])
            let two = try await server.agent("web-2", selectors: ["role:web"])
            try await server.withSync(as: one, capabilities: Self.capabilities) { first in
                first.send(report(attached(instance: 1)))
                try await server.withSync(as: two, capabilities: Self.capabilities) { second in
                    second.send(report(attached(instance: 2)))
                    try await eventually("both are known") { try await listed(server).count == 2 }
                    let ambiguous = await refusal {
                        try await server.administration.askProxy(.with { $0.query = query })
                    }
                    #expect(ambiguous?.reason == "proxyAmbiguous")
                }
            }
        }
    }
}

extension SyncConversation {
    /// Answers the next question for a proxy; state that comes before is left aside.
    func answerProxy(
        _ answer: (Signet_Node_V1alpha1_ProxyQuery) -> Signet_Node_V1alpha1_ProxyQueryReply
    ) async throws {
        while let message = try await next() {
            guard case .query(let query) = message else { continue }
            guard case .proxy(let asked)? = query.kind else { throw UnexpectedMessage() }
            let reply = answer(asked)
            send(.with { $0.queryReply = .with { ($0.id, $0.proxy) = (query.id, reply) } })
            return
        }
        throw UnexpectedMessage()
    }
}
