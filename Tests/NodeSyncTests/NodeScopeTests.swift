// SPDX-License-Identifier: Apache-2.0

import FoundationEssentials
import NodeSync
import SPIFFE
import Testing

/// What the cache does with what is for other nodes than its own was attested to be.
struct NodeScopeTests {
    private let values: CacheValues
    private let workload = SubscriberID(1)
    private let process = SubscriberID(2)
    private let start = CacheValues.start

    init() throws {
        values = try CacheValues()
    }

    /// A cache with an entry and a Proxy of nodes with `role:web` and `zone:north`, and both SVIDs.
    private func settled() throws -> NodeCache {
        var cache = values.cache()
        let node = ["role:web", "zone:north"]
        _ = cache.received(
            [
                .bundle(values.bundle(values.trustDomain)),
                .entry(
                    try values.entry("a", node: node, expires: start.addingTimeInterval(1_000))
                ),
                .proxy(try values.proxy("p", ["a"], node: node)),
            ],
            now: start
        )
        _ = cache.subscribe(workload, selectors: try values.selectors("unix:uid:1"), now: start)
        _ = cache.subscribe(process, proxy: "default/p", now: start)
        _ = cache.received(
            [values.issued(try values.key("a")), values.issued(try values.key("a", proxy: "p"))],
            now: start
        )
        return cache
    }

    private func isServed(_ cache: NodeCache) throws -> Bool {
        let svids = cache.view(for: workload).svids.count
        let view = cache.proxyView(for: process)
        #expect((view.proxy != nil) == (svids == 1))
        #expect(try cache.proxies(meaning: values.selectors("unix:uid:7")).count == svids)
        #expect(cache.proxyCount == svids)
        return svids == 1
    }

    @Test func `nothing is compared while nobody has said what the node is`() throws {
        var cache = try settled()
        #expect(try isServed(cache))
        let actions = cache.received([.attested(nil)], now: start)
        #expect(actions == [])
        #expect(try isServed(cache))
    }

    @Test func `what asks for more than the node was attested to be is served no more`() throws {
        var cache = try settled()
        let fitting: Set = try values.selectors("role:web", "zone:north", "other:1")
        #expect(cache.received([.attested(fitting)], now: start).woken == [])
        #expect(try isServed(cache))
        let actions = cache.received(
            [.attested(try values.selectors("role:web"))],
            now: start
        )
        #expect(actions.woken == [workload, process])
        #expect(actions.demand.map(\.demand) == [.none, .none])
        #expect(!(try isServed(cache)))
        #expect(cache.view(for: workload).state == .denied)
        // What was signed meanwhile is not shown.
        let late = values.issued(try values.key("a"), at: 1)
        #expect(cache.received([late], now: start).discarded == [try values.key("a")])
    }

    @Test func `it stays so whatever the clock does, and ends when the node is known to be more`()
        throws
    {
        var cache = try settled()
        _ = cache.received([.attested(try values.selectors("role:web"))], now: start)
        for seconds in [-100.0, 2_000, 10] {
            _ = cache.clockStepped(now: values.time(seconds))
            #expect(!(try isServed(cache)))
        }
        let both = try values.selectors("role:web", "zone:north")
        let actions = cache.received([.attested(both)], now: values.time(10))
        let wanted = [try values.key("a"), try values.key("a", proxy: "p")]
        #expect(actions.demand.map(\.key) == wanted)
        #expect(actions.demand.allSatisfy { $0.demand == .subscribed })
        let issued = wanted.map { values.issued($0, at: 10) }
        _ = cache.received(issued, now: values.time(10))
        #expect(try isServed(cache))
    }

    @Test func `what comes later is compared as well, and what is removed does not come back`()
        throws
    {
        var cache = try settled()
        _ = cache.received([.attested(try values.selectors("role:web"))], now: start)
        let ours = try values.entry("b", spiffeID: "spiffe://example.org/a")
        let theirs = try values.entry("c", node: ["role:db"])
        let actions = cache.received([.entry(ours), .entry(theirs)], now: start)
        #expect(actions.demand.map(\.key.entryID) == ["b"])
        _ = cache.received([.entryRemoved(id: "a"), .proxyRemoved("default/p")], now: start)
        let all = try values.selectors("role:web", "zone:north")
        _ = cache.received([.attested(all)], now: start)
        #expect(cache.proxyCount == 0)
        #expect(cache.entry(of: try values.key("a")) == nil)
    }
}
