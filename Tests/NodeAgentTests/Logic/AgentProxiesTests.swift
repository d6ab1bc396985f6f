// SPDX-License-Identifier: Apache-2.0

import ControlAPI
import FoundationEssentials
import NodeAgent
import NodeSync
import Routing
import SPIFFE
import Testing

/// What the agent decides about proxies, without clock and network.
struct AgentProxiesTests {
    let world: AgentWorld

    init() throws {
        world = try AgentWorld()
    }

    private func proxy(
        _ identities: [String] = ["spiffe://example.org/web"],
        selectors: [String] = ["unix:uid:7"]
    ) throws -> ProxyState {
        ProxyState(
            proxy: Proxy(
                namespace: "default",
                name: "p",
                nodeSelectors: [try Selector("role:web")],
                selectors: try selectors.map { try Selector($0) },
                identities: try identities.map { try SPIFFEID($0) }
            ),
            inboundPolicies: []
        )
    }

    /// A driver that has an entry and a Proxy that names it.
    private func joined(_ extra: [Resource] = []) throws -> LogicDriver {
        var driver = LogicDriver(world, try world.stored())
        _ = driver.tell { $0.started(now: $1, using: &$2) }
        _ = driver.connect()
        let resources = [try ResourcePayload.proxy(proxy()).resource] + extra
        let entry = try world.entry("web", workload: ["unix:uid:1"])
        let actions = driver.receive(try world.snapshot(1, [entry], extra: resources))
        _ = try driver.sign(actions)
        return driver
    }

    private func attach(_ driver: inout LogicDriver) throws -> (SubscriberID, [AgentLogic.Action]) {
        let id = SubscriberID(100)
        let selectors = try Set("unix:uid:7")
        let actions = driver.tell {
            $0.proxyAttached(id, proxy: "default/p", selectors: selectors, now: $1, using: &$2)
        }
        return (id, actions)
    }

    private func offer(_ driver: LogicDriver, _ id: SubscriberID) throws -> ProxyOffer {
        guard case .view(let offer) = driver.logic.proxyAnswer(for: id) else { throw Missing() }
        return offer
    }

    private func items(_ actions: [AgentLogic.Action]) -> [SigningBatch.Item] {
        actions.flatMap { action -> [SigningBatch.Item] in
            if case .sign(let batch) = action { batch.items } else { [] }
        }
    }

    @Test func `a proxy's key is asked for in its name, and a state waits for it`() throws {
        var driver = try joined()
        let (id, actions) = try attach(&driver)
        let asked = items(actions)
        #expect(asked.map(\.key.holder) == [.proxy("default/p")])
        #expect(asked.first?.variables == [:])
        #expect(try offer(driver, id).isDue == false)
        let signed = try driver.sign(actions)
        #expect(signed.contains(.wake([id])))
        let ready = try offer(driver, id)
        #expect(ready.isDue)
        #expect(ready.view.identities.first?.svid != nil)
        #expect(ready.revision == world.revision(1))
    }

    @Test func `a state without keys is due once they were waited for`() throws {
        var driver = try joined()
        let start = driver.now.boot
        let (id, _) = try attach(&driver)
        var woken = false
        while driver.now.boot < start + AgentLogic.firstAnswerPatience {
            woken = try driver.fire().contains(.wake([id])) || woken
        }
        #expect(woken)
        let late = try offer(driver, id)
        #expect(late.isDue)
        #expect(late.view.identities.map(\.svid) == [nil])
    }

    @Test func `after a restart without a server, proxies have their state and no new keys`() throws
    {
        let before = try joined()
        var driver = LogicDriver(
            world,
            try world.stored(sync: before.logic.persistedSync),
            seed: 8
        )
        #expect(driver.tell { $0.started(now: $1, using: &$2) } == [.connect])
        #expect(
            try driver.logic.proxies(meaning: Set("unix:uid:7")).map(\.reference) == ["default/p"]
        )
        let (id, actions) = try attach(&driver)
        #expect(items(actions) == [])
        let offered = try offer(driver, id)
        #expect(offered.view.trust.granted.map(\.path) == ["/web"])
        #expect(
            offered.view.proxy?.payload == (try ResourcePayload.proxy(proxy()).resource.payload)
        )
        #expect(offered.view.identities.map(\.svid) == [nil])
        // As soon as the server is back they are signed.
        let back = driver.connect()
        #expect(items(back).map(\.key.holder) == [.workload, .proxy("default/p")])
        #expect(try driver.sign(back).contains(.wake([id])))
        #expect(try offer(driver, id).view.identities.first?.svid != nil)
    }

    @Test func `a revision that concerns nobody wakes proxies`() throws {
        var driver = try joined()
        let (id, actions) = try attach(&driver)
        _ = try driver.sign(actions)
        #expect(driver.receive([.watermark(world.revision(4))]).contains(.wake([id])))
        #expect(try offer(driver, id).revision == world.revision(4))
        #expect(!driver.receive([.watermark(world.revision(4))]).contains(.wake([id])))
    }

    @Test func `a Proxy whose selectors the process did not attest to is its Proxy no more`() throws
    {
        var driver = try joined()
        let (id, _) = try attach(&driver)
        let other = try ResourcePayload.proxy(proxy(selectors: ["unix:uid:8"])).resource
        let actions = driver.receive([
            world.delta(1, 2, [.upsert(other.key, payload: other.payload)])
        ])
        #expect(actions.contains(.wake([id])))
        #expect(driver.logic.proxyAnswer(for: id) == .ended(.selectorsChanged))
        _ = driver.receive([world.delta(2, 3, [.remove(other.key)])])
        #expect(driver.logic.proxyAnswer(for: id) == .ended(.gone))
    }

    @Test func `what cannot be read of a proxy is refused by name, and the last good one stays`()
        throws
    {
        var driver = try joined()
        let foreign = try ResourcePayload.proxy(proxy(["spiffe://other.org/web"])).resource
        for payload in [foreign.payload, [0xFF, 0xFF], []] {
            let revision = try #require(driver.logic.sync.revision).number
            let actions = driver.receive([
                world.delta(revision, revision + 1, [.upsert(foreign.key, payload: payload)])
            ])
            let refused = actions.compactMap { action -> [ResourceRefusal]? in
                if case .sendAcknowledgement(let ack) = action { ack.refused } else { nil }
            }
            #expect(refused.first?.map(\.key) == [foreign.key])
            #expect(try driver.logic.proxies(meaning: Set("unix:uid:7")).count == 1)
        }
    }

    @Test func `a revocation is told until it is removed, and no document removes it`() throws {
        let id = try SPIFFEID("spiffe://example.org/gone")
        let revocation = try ResourcePayload.revocation(
            name: "one",
            .identity(id, issuedBefore: Date(timeIntervalSince1970: 1_800_000_000))
        ).resource
        var driver = try joined([revocation])
        let (stream, _) = try attach(&driver)
        #expect(try offer(driver, stream).view.trust.revocations.count == 1)
        _ = driver.receive([world.delta(1, 2, [.remove(ResourceKey(.document, "one"))])])
        #expect(try offer(driver, stream).view.trust.revocations.count == 1)
        _ = driver.receive([world.delta(2, 3, [.remove(ResourceKey(.revocation, "one"))])])
        #expect(try offer(driver, stream).view.trust.revocations == [])
    }
}
