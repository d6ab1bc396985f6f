// SPDX-License-Identifier: Apache-2.0

import Clocks
import CAServer
import ControlAPI
import ControlAPIProtos
import Crypto
import FoundationEssentials
import NodeSync
import SPIFFE
import SwiftProtobuf
import Testing

@Suite(.timeLimit(.minutes(1)))
struct SyncTests {
    @Test func `a new agent gets a snapshot of its scope, then deltas, and is waited for`()
        async throws
    {
        try await withServer { server in
            let agent = try await server.agent("web-1", selectors: ["role:web"])
            let web = try await server.register("web")
            let db = try await server.register("db", node: "role:db")
            try await server.withSync(as: agent) { sync in
                let (revision, resources) = try await sync.snapshot()
                #expect(resources.keys.filter { $0.type == .entry }.map(\.name) == [web])
                #expect(resources[ResourceKey(.entry, db)] == nil)
                let bundle = try server.core.trust.bundle
                #expect(
                    resources[ResourceKey(.bundle, "example.org")] == .bundle(bundle)
                )
                sync.acknowledge(revision)

                let applied = try await server.apply(
                    entryDocument("api", spiffeID: "spiffe://example.org/api")
                )
                let early = try await server.wait(applied, milliseconds: 50)
                #expect(!early.complete)
                #expect(early.waiting == ["web-1"])
                let delta = try await sync.delta()
                #expect(delta.from == revision.number)
                #expect(delta.to == applied.revision.number)
                #expect(delta.changes.count == 1)
                sync.acknowledge(delta.toRevision)
                let complete = try await server.wait(applied, milliseconds: 20_000)
                #expect(complete.complete)
                #expect(complete.applied == ["web-1"])
            }
        }
    }

    @Test func `the welcome says what the server attested of the node`() async throws {
        try await withServer { server in
            let agent = try await server.agent("web-1", selectors: ["role:web", "zone:north"])
            try await server.withSync(as: agent) { sync in
                #expect(
                    sync.welcome.nodeSelectors == ["agent:web-1", "role:web", "zone:north"]
                )
            }
        }
    }

    @Test func `an entry that leaves the scope is removed`() async throws {
        try await withServer { server in
            let agent = try await server.agent("web-1", selectors: ["role:web"])
            let web = try await server.register("web")
            try await server.withSync(as: agent) { sync in
                sync.acknowledge(try await sync.snapshot().revision)
                try await server.register("web", node: "role:db")
                let delta = try await sync.delta()
                #expect(delta.changes == [.remove(ResourceKey(.entry, web))])
                sync.acknowledge(delta.toRevision)
                try await server.register("web")
                let back = try await sync.delta()
                #expect(back.changes.map(\.key) == [ResourceKey(.entry, web)])
            }
        }
    }

    @Test func `changes made while one delta is unacknowledged come as one`() async throws {
        try await withServer { server in
            let agent = try await server.agent("web-1", selectors: ["role:web"])
            try await server.withSync(as: agent) { sync in
                sync.acknowledge(try await sync.snapshot().revision)
                try await server.register("web-0")
                let first = try await sync.delta()
                var last: Signet_Node_V1alpha1_Revision?
                for index in 1...5 {
                    last = try await server.apply(
                        entryDocument("web-\(index)", spiffeID: "spiffe://example.org/\(index)")
                    ).revision
                }
                sync.acknowledge(first.toRevision)
                let merged = try await sync.delta()
                #expect(merged.from == first.to)
                #expect(merged.to == last?.number)
                #expect(merged.changes.count == 5)
            }
        }
    }

    @Test func `an agent that comes back gets what it lacks and no more`() async throws {
        let directory = try TestDirectory()
        let (agent, have) = try await withServer(in: directory) { server in
            let agent = try await server.agent("web-1", selectors: ["role:web"])
            try await server.register("web")
            let have = try await server.withSync(as: agent) { sync in
                let revision = try await sync.snapshot().revision
                sync.acknowledge(revision)
                return revision
            }
            try await server.register("api")
            return (agent, have)
        }
        try await withServer(in: directory) { server in
            try await server.withSync(as: agent, have: have) { sync in
                let delta = try await sync.delta()
                #expect(delta.from == have.number)
                #expect(delta.changes.map(\.key.type) == [.entry])
            }
            var generator = SystemRandomness()
            let foreign = Revision(epoch: Epoch(using: &generator), number: 1_000_000)
            try await server.withSync(as: agent, have: foreign) { sync in
                let (revision, resources) = try await sync.snapshot()
                #expect(revision.epoch == have.epoch)
                #expect(resources.keys.count { $0.type == .entry } == 2)
            }
        }
    }

    @Test(arguments: ["ban", "evict"])
    func `a ban and an eviction end the stream at once`(_ act: String) async throws {
        try await withServer { server in
            let agent = try await server.agent("web-1", selectors: ["role:web"])
            let ended = await refusal {
                try await server.withSync(as: agent) { sync in
                    sync.acknowledge(try await sync.snapshot().revision)
                    let request = Signet_Admin_V1alpha1_NodeActionRequest.with {
                        ($0.name, $0.reason) = ("web-1", "stolen")
                    }
                    _ =
                        act == "ban"
                        ? try await server.administration.banNode(request)
                        : try await server.administration.evictNode(request)
                    while try await sync.next() != nil {}
                }
            }
            // The whole connection is closed, so the reason may not arrive.
            #expect(ended?.kind == .unavailable, "\(ended?.description ?? "no error")")
            let again = await refusal {
                try await server.withSync(as: agent) { try await $0.snapshot().revision }
            }
            #expect(again?.kind == .permissionDenied)
        }
    }

    @Test func `who has not applied the end of an authority or a node is known by its revision`()
        async throws
    {
        try await withServer { server in
            let agent = try await server.agent("web-1", selectors: ["role:web"])
            _ = try await server.agent("web-2", selectors: ["role:web"])
            try await server.withSync(as: agent) { sync in
                sync.acknowledge(try await sync.snapshot().revision)
                let (old, _) = try await server.rotate()
                #expect(try await !server.taint(old, rehearse: true).hasRevision)
                let banned = try await server.administration.banNode(
                    .with { ($0.name, $0.reason) = ("web-2", "stolen") }
                )
                // The new authority is news to the agent, and what comes after it all the more.
                for revision in [
                    banned.revision, try await server.taint(old).revision,
                    try await server.revokeAuthority(old).revision,
                ] {
                    let done = Signet_Admin_V1alpha1_ApplyResponse.with { $0.revision = revision }
                    let state = try await server.wait(done, milliseconds: 50)
                    #expect(!state.complete && state.waiting == ["web-1"])
                }
            }
        }
    }

    @Test func `a second stream of one agent replaces the first`() async throws {
        try await withServer { server in
            let agent = try await server.agent("web-1", selectors: ["role:web"])
            let (opened, announce) = AsyncStream.makeStream(of: Void.self)
            async let replaced = refusal {
                // Also when there is no stream: the refusal is then what is compared.
                defer { announce.finish() }
                try await server.withSync(as: agent) { first in
                    first.acknowledge(try await first.snapshot().revision)
                    announce.finish()
                    while try await first.next() != nil {}
                }
            }
            for await _ in opened {}
            try await server.withSync(as: agent) { second in
                second.acknowledge(try await second.snapshot().revision)
            }
            let error = await replaced
            #expect(error?.reason == "replaced", "\(error?.description ?? "no error")")
        }
    }

    @Test func `the first message is Hello and only the first`() async throws {
        try await withServer { server in
            let agent = try await server.agent("web-1", selectors: ["role:web"])
            let twice = await refusal {
                try await server.withSync(as: agent) { sync in
                    sync.send(.with { $0.hello = .init() })
                    while try await sync.next() != nil {}
                }
            }
            #expect(twice?.reason == "syncOrder")
        }
    }

    @Test func `an agent that is away is named unreachable or waited for, never forgotten`()
        async throws
    {
        let directory = try TestDirectory()
        let agent = try await withServer(in: directory) { server in
            try await server.agent("web-1", selectors: ["role:web"])
        }
        try await withServer(in: directory) { server in
            let applied = try await server.apply(
                entryDocument("web", spiffeID: "spiffe://example.org/web")
            )
            let state = try await server.wait(applied, milliseconds: 50)
            #expect(state.unreachable == [agent.name] && state.waiting.isEmpty)
            #expect(state.applied.isEmpty)
        }
    }

    @Test func `an agent that was drained is told from one that hangs`() async throws {
        try await withServer { server in
            let agent = try await server.agent("web-1", selectors: ["role:web"])
            try await server.withSync(as: agent) { sync in
                sync.acknowledge(try await sync.snapshot().revision)
                // It hangs: its stream is open.
                let applied = try await server.apply(
                    entryDocument("web", spiffeID: "spiffe://example.org/web")
                )
                let state = try await server.wait(applied, milliseconds: 50)
                #expect(state.waiting == ["web-1"] && state.unreachable.isEmpty)
                #expect(state.lastSeenUnixSeconds.isEmpty)
            }
            try await eventually("its stream has ended") {
                !server.core.hub.presence(of: AgentName("web-1")).presence.isConnected
            }
            let applied = try await server.apply(
                entryDocument("api", spiffeID: "spiffe://example.org/api")
            )
            let state = try await server.wait(applied, milliseconds: 50)
            #expect(state.unreachable == ["web-1"] && state.waiting.isEmpty)
            #expect(!state.complete && (state.lastSeenUnixSeconds["web-1"] ?? 0) > 0)
        }
    }

    @Test func `what an agent refuses is told to who waits`() async throws {
        try await withServer { server in
            let agent = try await server.agent("web-1", selectors: ["role:web"])
            try await server.withSync(as: agent) { sync in
                sync.acknowledge(try await sync.snapshot().revision)
                let applied = try await server.apply(
                    entryDocument("web", spiffeID: "spiffe://example.org/web")
                )
                let delta = try await sync.delta()
                let key = try #require(delta.changes.first).key
                sync.acknowledge(
                    delta.toRevision,
                    refused: [ResourceRefusal(key: key, reason: "test")]
                )
                let state = try await server.wait(applied, milliseconds: 20_000)
                #expect(state.complete)
                #expect(state.refused.map(\.node) == ["web-1"])
                #expect(state.refused.map(\.reason) == ["test"])
            }
        }
    }
}

extension TestServer {
    func wait(
        _ applied: Signet_Admin_V1alpha1_ApplyResponse,
        milliseconds: UInt32
    ) async throws -> Signet_Admin_V1alpha1_WaitResponse {
        try await documents.wait(
            .with {
                $0.revision = applied.revision
                $0.deadlineMilliseconds = milliseconds
            }
        )
    }
}
