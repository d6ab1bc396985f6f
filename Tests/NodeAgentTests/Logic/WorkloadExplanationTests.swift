// SPDX-License-Identifier: Apache-2.0

import NodeAgent
import NodeSync
import SPIFFE
import Testing

@Suite struct WorkloadExplanationTests {
    @Test func `the nearest miss comes first, and what is missing is named`() throws {
        let world = try AgentWorld()
        var agent = LogicDriver(world, try world.stored())
        _ = try agent.join([
            try world.entry("far", workload: ["unix:uid:1", "unix:gid:1"]),
            try world.entry("near", workload: ["unix:uid:1000", "unix:path:/usr/bin/web"]),
            try world.entry("mine", workload: ["unix:uid:1000"]),
            try world.entry(
                "bounded",
                id: "spiffe://example.org/u/{unix.user}",
                workload: ["unix:uid:1000"],
                bounds: ["unix.user": .values(["bob"])]
            ),
        ])
        let found = agent.logic.explanation(
            of: try Set("unix:uid:1000", "unix:user:alice"),
            limit: 10,
            now: world.now
        )
        #expect(found.spiffeIDs.map(\.description) == ["spiffe://example.org/mine"])
        #expect(found.revision == world.revision(1))
        let names = found.nearMisses.map(\.entry)
        #expect(names == ["default/bounded", "default/near", "default/far"])
        #expect(found.nearMisses[0].templateProblem == .valueOutOfBounds("unix.user"))
        #expect(found.nearMisses[1].missing == [try Selector("unix:path:/usr/bin/web")])
        #expect(found.nearMisses[1].matched == [try Selector("unix:uid:1000")])
    }

    @Test func `each identity is granted by a named entry, the oldest first`() throws {
        let world = try AgentWorld()
        var agent = LogicDriver(world, try world.stored())
        let shared = "spiffe://example.org/shared"
        _ = try agent.join([
            try world.entry("second", id: shared, workload: ["unix:uid:1000"], age: 10),
            try world.entry(
                "template",
                id: "spiffe://example.org/u/{unix.user}",
                workload: ["unix:uid:1000", "unix:user:alice"],
                bounds: ["unix.user": .values(["alice"])],
                age: 5
            ),
            try world.entry("first", id: shared, workload: ["unix:user:alice"], age: 20),
            try world.entry("other", workload: ["unix:uid:1"], age: 30),
        ])
        let grants = agent.logic.explanation(
            of: try Set("unix:uid:1000", "unix:user:alice"),
            limit: 10,
            now: world.now
        ).grants
        #expect(grants.map(\.entry) == ["default/first", "default/second", "default/template"])
        #expect(grants.map(\.entryID) == ["entry-first", "entry-second", "entry-template"])
        #expect(
            grants.map(\.spiffeID.description) == [
                shared, shared, "spiffe://example.org/u/alice",
            ]
        )
        #expect(
            grants.map { $0.matched.map(\.description) } == [
                ["unix:user:alice"], ["unix:uid:1000"], ["unix:uid:1000", "unix:user:alice"],
            ]
        )
    }

    @Test func `an explanation has a limit`() throws {
        let world = try AgentWorld()
        var agent = LogicDriver(world, try world.stored())
        _ = try agent.join(
            try (0..<60).map { try world.entry("e\($0)", workload: ["unix:uid:1"]) }
        )
        let all = agent.logic.explanation(of: [], limit: .max, now: world.now)
        #expect(all.nearMisses.count == AgentLogic.nearMissesMax)
        #expect(agent.logic.explanation(of: [], limit: 3, now: world.now).nearMisses.count == 3)
        #expect(agent.logic.explanation(of: [], limit: -1, now: world.now).nearMisses.isEmpty)
    }
}
