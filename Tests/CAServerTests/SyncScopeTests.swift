// SPDX-License-Identifier: Apache-2.0

import CAServer
import Clocks
import ControlAPI
import ControlAPIProtos
import Datastore
import FoundationEssentials
import NodeSync
import SPIFFE
import SwiftProtobuf
import Telemetry
import Testing

/// Who is sent what when scopes change, and what is said of those who are away.
@Suite(.timeLimit(.minutes(1)))
struct SyncScopeTests {
    private func entries(_ resources: [ResourceKey: ResourcePayload]) -> [String] {
        resources.keys.filter { $0.type == .entry }.map(\.name)
    }

    @Test func `a name that comes back with other selectors gets a snapshot`() async throws {
        try await withServer { server in
            let web = try await server.register("web")
            let db = try await server.register("db", node: "role:db")
            let old = try await server.agent("node-1", selectors: ["role:web"])
            let have = try await server.withSync(as: old) { sync in
                let (revision, resources) = try await sync.snapshot()
                #expect(entries(resources) == [web])
                sync.acknowledge(revision)
                return revision
            }
            _ = try await server.administration.evictNode(.with { $0.name = "node-1" })
            let new = try await server.agent("node-1", selectors: ["role:db"])
            // Its disk says that it has everything up to the newest revision.
            try await server.withSync(as: new, have: have) { sync in
                let (revision, resources) = try await sync.snapshot()
                #expect(entries(resources) == [db])
                sync.acknowledge(revision)
            }
            // Once something has been committed since, the number says it.
            try await server.register("api", node: "role:api")
            let later = try await server.withSync(as: new) { sync in
                let revision = try await sync.snapshot().revision
                sync.acknowledge(revision)
                return revision
            }
            try await server.withSync(as: new, have: later) { sync in
                let next = try await sync.nextState()
                guard case .watermark = next else {
                    Issue.record("\(next)")
                    return
                }
            }
        }
    }

    @Test func `who hangs up waits no more, and only so many may wait`() async throws {
        try await withServer { server in
            // It has joined and is not back: it is waited for.
            _ = try await server.agent("node-1", selectors: ["role:web"])
            let text = entryDocument("web", spiffeID: "spiffe://example.org/web")
            let revision = try await server.apply(text).revision
            let hub = server.core.hub
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask {
                    _ = try? await server.documents.wait(
                        .with { ($0.revision, $0.deadlineMilliseconds) = (revision, 3_600_000) }
                    )
                }
                try await eventually("somebody waits") { hub.waitCount == 1 }
                group.cancelAll()
                try await eventually("the wait ends with its caller") { hub.waitCount == 0 }
            }
            let deadline = server.core.clock.bootTime + .seconds(3600)
            try await withThrowingTaskGroup(of: Void.self) { group in
                for _ in 0..<SyncHub.waitsMax {
                    group.addTask {
                        let state = try await hub.waitUntilApplied(
                            revision.number,
                            deadline: deadline
                        )
                        // Ended before the agent came back, it does not look as if it had.
                        #expect(state.waiting == [AgentName("node-1")])
                    }
                }
                try await eventually("all places are taken") { hub.waitCount == SyncHub.waitsMax }
                let refused = await refusal {
                    try await hub.waitUntilApplied(revision.number, deadline: deadline)
                }
                #expect(refused?.kind == .exhausted)
                #expect(refused?.reason == "waitsTooMany")
                group.cancelAll()
                try await group.waitForAll()
            }
        }
    }

    @Test func `who held an entry between two changes is told, too`() async throws {
        try await withServer { server in
            let before = try await server.administration.getHealth(.init()).revision.number
            for role in ["a", "b", "c"] { try await server.register("e", node: "role:\(role)") }
            let (_, changes) = try await server.core.datastore.read { transaction in
                try SyncContent.committed(after: before, in: transaction)
            }
            var scope = ScopeIndex()
            for role in ["a", "b", "c", "d"] {
                scope.insert(AgentName(role), selectors: [try Selector("role:\(role)")])
            }
            var told: Set<AgentName> = []
            for change in changes {
                guard case .agents(let agents) = change.agents(in: scope) else { continue }
                told.formUnion(agents)
            }
            #expect(told == Set(["a", "b", "c"].map { AgentName($0) }))
            // The last change concerns who loses the entry and who gets it.
            let last = try #require(changes.last).agents(in: scope)
            #expect(last == .agents([AgentName("b"), AgentName("c")]))
        }
    }

    @Test func `nobody is said to have what was committed before a restart and never acknowledged`()
        async throws
    {
        let directory = try TestDirectory()
        let applied = try await withServer(in: directory) { server in
            _ = try await server.agent("web-1", selectors: ["role:web"])
            return try await server.apply(
                entryDocument("web", spiffeID: "spiffe://example.org/web")
            )
        }
        try await withServer(in: directory) { server in
            let state = try await server.wait(applied, milliseconds: 50)
            // It may be at work: its certificate is valid. It has no stream, which is told apart.
            #expect(!state.complete)
            #expect(state.unreachable == ["web-1"] && state.waiting.isEmpty)
            var future = applied
            future.revision.number += 1_000_000
            let unknown = await refusal { try await server.wait(future, milliseconds: 50) }
            #expect(unknown?.reason == "revisionUnknown")
        }
        let week = ShiftedClock(wall: 7 * 86_400)
        try await withServer(in: directory, clock: week) { server in
            let state = try await server.wait(applied, milliseconds: 50)
            #expect(state.complete)
            #expect(state.unreachable == ["web-1"])
        }
    }

    @Test func `an agent is named from the moment it joined`() async throws {
        try await withServer { server in
            _ = try await server.agent("web-1", selectors: ["role:web"])
            let applied = try await server.apply(
                entryDocument("web", spiffeID: "spiffe://example.org/web")
            )
            let state = try await server.wait(applied, milliseconds: 50)
            #expect(!state.complete && state.unreachable == ["web-1"])
        }
    }

    @Test func `when an agent was seen last is known, also after it left`() async throws {
        let clock = ShiftedClock()
        try await withServer(clock: clock) { server in
            let agent = try await server.agent("web-1")
            clock.pass(.seconds(1000))
            @Sendable func seen() async throws -> Int64 {
                let nodes = try await server.administration.listNodes(.init()).nodes
                return try #require(nodes.first).lastSeenUnixSeconds
            }
            let joined = try await seen()
            try await server.withSync(as: agent) { sync in
                sync.acknowledge(try await sync.snapshot().revision)
                #expect(try await seen() >= joined + 1000)
            }
            try await eventually("the end of the stream is noted") {
                clock.pass(Server.maintenanceInterval)
                let last = try await seen()
                return last >= joined + 1000
            }
        }
    }

    @Test func `the server knows what an agent said it can do, within limits`() async throws {
        try await withServer { server in
            let agent = try await server.agent("web-1")
            let long = String(repeating: "x", count: 65)
            let many = (0..<80).map { "word-\($0)" }
            try await server.withSync(as: agent, capabilities: ["revocations", long] + many) {
                sync in
                sync.acknowledge(try await sync.snapshot().revision)
                let hub = server.core.hub
                #expect(hub.agents(lacking: "revocations").isEmpty)
                for capability in ["policies", long, "word-79"] {
                    #expect(hub.agents(lacking: capability) == [AgentName("web-1")])
                }
            }
        }
    }

    @Test func `an idle agent costs no message and no write`() async throws {
        let clock = ShiftedClock()
        try await withServer(clock: clock) { server in
            let agent = try await server.agent("web-1", selectors: ["role:web"])
            try await server.withSync(as: agent) { sync in
                sync.acknowledge(try await sync.snapshot().revision)
                try await eventually("the snapshot is acknowledged") {
                    let number = try await server.administration.getHealth(.init()).revision.number
                    return server.core.hub.appliedState(of: number, amongAll: true).applied
                        == [AgentName("web-1")]
                }
                func sent() -> [Substring] {
                    server.core.metrics.exposition().split(separator: "\n")
                        .filter { $0.hasPrefix("signet_server_sync_messages_total") }
                }
                let (messages, leaves) = (
                    sent(), try await server.audit.getCheckpoint(.init()).committedSize
                )
                let commits = server.core.datastore.commitCounts.commits
                // Less than a minute, after which the server looks after itself.
                for _ in 0..<5 {
                    clock.pass(.seconds(10))
                    _ = try await server.administration.getHealth(.init())
                }
                #expect(sent() == messages)
                #expect(server.core.datastore.commitCounts.commits == commits)
                let after = try await server.audit.getCheckpoint(.init()).committedSize
                #expect(after == leaves)
                // It is still there: the next change reaches it.
                try await server.register("web")
                let delta = try await sync.delta()
                #expect(delta.changes.count == 1)
            }
        }
    }

    @Test func `an agent that says too much loses its stream`() async throws {
        try await withServer { server in
            let agent = try await server.agent("web-1")
            let ended = await refusal {
                try await server.withSync(as: agent) { sync in
                    let revision = try await sync.snapshot().revision
                    for _ in 0..<2000 { sync.acknowledge(revision) }
                    while try await sync.next() != nil {}
                }
            }
            #expect(ended?.reason == "syncRate")
        }
    }
}
