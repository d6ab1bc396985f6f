// SPDX-License-Identifier: Apache-2.0

import ControlAPI
import FoundationEssentials
import NodeAgent
import NodeSync
import Routing
import SPIFFE
import Testing

/// The agent compares what it is sent with what its node was attested to be.
struct AgentScopeTests {
    private let world: AgentWorld
    private let ours: RegistrationEntry
    /// The same entry once an admin has moved it to other nodes.
    private let theirs: RegistrationEntry

    init() throws {
        world = try AgentWorld()
        ours = try world.entry("web", workload: ["unix:uid:1000"])
        theirs = try world.entry("web", node: ["role:db"], workload: ["unix:uid:1000"])
    }

    private func proxy(node: String) throws -> Resource {
        try ResourcePayload.proxy(
            ProxyState(
                proxy: Proxy(
                    namespace: "default",
                    name: "p",
                    nodeSelectors: [try Selector(node)],
                    selectors: [try Selector("unix:uid:7")],
                    identities: [try SPIFFEID("spiffe://example.org/web")]
                ),
                inboundPolicies: []
            )
        ).resource
    }

    /// An agent whose node was attested to be `role:web`.
    private func welcomed(_ stored: StoredAgent? = nil) throws -> LogicDriver {
        var agent = LogicDriver(world, try stored ?? world.stored())
        _ = agent.tell { $0.started(now: $1, using: &$2) }
        _ = agent.connect(nodeSelectors: try Set("role:web"))
        return agent
    }

    private func refusals(_ actions: [AgentLogic.Action]) -> [[ResourceRefusal]] {
        actions.compactMap { action in
            if case .sendAcknowledgement(let ack) = action { ack.refused } else { nil }
        }
    }

    private func asked(_ actions: [AgentLogic.Action]) -> [IdentityKey] {
        actions.flatMap { action -> [IdentityKey] in
            if case .sign(let batch) = action { batch.items.map(\.key) } else { [] }
        }
    }

    private func replace(
        _ agent: inout LogicDriver,
        with resource: Resource,
        from number: UInt64 = 1
    ) -> [AgentLogic.Action] {
        let change = ResourceChange.upsert(resource.key, payload: resource.payload)
        return agent.receive([world.delta(number, number + 1, [change])])
    }

    @Test func `an entry that is not scoped to the node is refused by name and gives nothing`()
        throws
    {
        var agent = try welcomed()
        let both = try world.entry(
            "both",
            node: ["role:web", "zone:north"],
            workload: ["unix:uid:1000"]
        )
        let named = try world.entry("named", node: ["agent:web-1"], workload: ["unix:uid:1"])
        let actions = agent.receive(try world.snapshot(1, [theirs, both, named]))
        let keys = [ResourceKey(.entry, both.id), ResourceKey(.entry, theirs.id)]
        #expect(refusals(actions).map { $0.map(\.key) } == [keys])
        let reasons = refusals(actions).joined().map(\.reason)
        #expect(reasons.first?.contains("zone:north") == true, "\(reasons)")
        #expect(reasons.last?.contains("role:db") == true, "\(reasons)")
        // What the node's own name is asked for needs no word of the server.
        #expect(asked(actions).map(\.entryID) == [named.id])
        let (id, _) = agent.subscribe(try Set("unix:uid:1000"))
        #expect(agent.logic.answer(for: id) == .denied)
        let kept = try #require(agent.logic.persistedSync)
        #expect(keys.allSatisfy { kept.resources[$0] == nil })
    }

    @Test func `an entry that was moved to other nodes is withdrawn, whatever the server sends`()
        throws
    {
        var agent = try welcomed()
        _ = try agent.sign(agent.receive(try world.snapshot(1, [ours])))
        let (id, _) = agent.subscribe(try Set("unix:uid:1000"))
        #expect(try agent.view(id).svids.count == 1)
        let resource = try ResourcePayload.entry(theirs).resource
        let actions = replace(&agent, with: resource)
        #expect(refusals(actions).map { $0.map(\.key) } == [[resource.key]])
        #expect(actions.contains(.wake([id])))
        #expect(agent.logic.answer(for: id) == .denied)
        // Nor does it come back from disk.
        #expect(agent.logic.persistedSync?.resources[resource.key] == nil)
        let back = try ResourcePayload.entry(ours).resource
        let returned = replace(&agent, with: back, from: 2)
        #expect(refusals(returned) == [[]])
        #expect(asked(returned).map(\.entryID) == [ours.id])
    }

    @Test func `templates are not resolved with what an entry says of the node`() throws {
        var agent = try welcomed()
        let strange = try world.entry("strange", node: ["zone:south"], workload: ["unix:uid:1"])
        let zoned = try world.entry(
            "zoned",
            id: "spiffe://example.org/{node.zone}/web",
            workload: ["unix:uid:1"]
        )
        let actions = agent.receive(try world.snapshot(1, [strange, zoned]))
        #expect(asked(actions) == [])
        #expect(agent.logic.cache.problem(ofEntry: zoned.id) == .variableMissing("node.zone"))
    }

    @Test func `what was stored for another node grants nothing once the node is known`() throws {
        var first = LogicDriver(world, try world.stored())
        _ = try first.join([theirs])
        var agent = LogicDriver(world, try world.stored(sync: first.logic.persistedSync))
        _ = agent.tell { $0.started(now: $1, using: &$2) }
        let (id, _) = agent.subscribe(try Set("unix:uid:1000"))
        #expect(agent.logic.answer(for: id) == .wait)
        let actions = agent.connect(nodeSelectors: try Set("role:web"))
        #expect(asked(actions) == [])
        #expect(agent.logic.answer(for: id) == .denied)
        let found = agent.logic.explanation(
            of: try Set("unix:uid:1000"),
            limit: 1,
            now: agent.now.wall
        )
        #expect(found.grants == [])
        #expect(found.nearMisses.first?.missingOfNode == [try Selector("role:db")])
        // A clock that is set does not bring it into force.
        agent.now = ClockReading(
            wall: agent.now.wall.addingTimeInterval(-60),
            boot: agent.now.boot + .seconds(1)
        )
        #expect(asked(try agent.fire()) == [])
        #expect(agent.logic.answer(for: id) == .denied)
    }

    @Test func `from a server that does not say what the node is, nothing is compared`() throws {
        var agent = LogicDriver(world, try world.stored())
        let actions = try agent.join([theirs])
        #expect(refusals(actions) == [[]])
        #expect(asked(actions).map(\.entryID) == [theirs.id])
    }

    @Test func `a Proxy that is not for the node is refused by name and its process has nothing`()
        throws
    {
        var agent = try welcomed()
        _ = try agent.sign(
            agent.receive(
                try world.snapshot(1, [ours], extra: [proxy(node: "role:web")])
            )
        )
        let id = SubscriberID(100)
        let shown = try Set("unix:uid:7")
        let attached = agent.tell {
            $0.proxyAttached(id, proxy: "default/p", selectors: shown, now: $1, using: &$2)
        }
        #expect(asked(attached).map(\.holder) == [.proxy("default/p")])
        let actions = replace(&agent, with: try proxy(node: "role:db"))
        #expect(refusals(actions).map { $0.map(\.key.name) } == [["default/p"]])
        #expect(agent.logic.proxyAnswer(for: id) == .ended(.gone))
        #expect(agent.logic.proxies(meaning: shown) == [])
    }

    @Test func `a Proxy that was stored for another node is nobody's once the node is known`()
        throws
    {
        var first = LogicDriver(world, try world.stored())
        _ = first.tell { $0.started(now: $1, using: &$2) }
        _ = first.connect()
        _ = first.receive(try world.snapshot(1, [ours], extra: [proxy(node: "role:db")]))
        var agent = LogicDriver(world, try world.stored(sync: first.logic.persistedSync))
        _ = agent.tell { $0.started(now: $1, using: &$2) }
        #expect(try agent.logic.proxies(meaning: Set("unix:uid:7")).count == 1)
        _ = agent.connect(nodeSelectors: try Set("role:web"))
        #expect(try agent.logic.proxies(meaning: Set("unix:uid:7")) == [])
        // It is kept, for a server that says something else of the node.
        _ = agent.tell { $0.disconnected(now: $1, using: &$2) }
        _ = try agent.fire()
        _ = agent.connect(nodeSelectors: try Set("role:db"))
        #expect(try agent.logic.proxies(meaning: Set("unix:uid:7")).count == 1)
    }
}
