// SPDX-License-Identifier: Apache-2.0

import FoundationEssentials
import NodeSync
import SPIFFE
import Testing

/// What the cache gives to proxies, and takes from them.
struct ProxyCacheTests {
    let values: CacheValues
    let one = SubscriberID(1)
    let two = SubscriberID(2)
    let start = CacheValues.start

    init() throws {
        values = try CacheValues()
    }

    /// A cache with entry `a`, and proxy `default/p` that names it.
    private func prepared(
        _ changes: [NodeCache.Change] = []
    ) throws -> NodeCache {
        var cache = values.cache()
        _ = cache.received(
            [
                .bundle(values.bundle(values.trustDomain)), .entry(try values.entry("a")),
                .proxy(try values.proxy("p", ["a"])),
            ] + changes,
            now: start
        )
        return cache
    }

    /// The same, with a process that has its key.
    private func settled() throws -> NodeCache {
        var cache = try prepared()
        _ = cache.subscribe(one, proxy: "default/p", now: start)
        _ = cache.received([values.issued(try values.key("a", proxy: "p"))], now: start)
        return cache
    }

    private func ids(_ cache: NodeCache, _ subscriber: SubscriberID) -> [String] {
        cache.proxyView(for: subscriber).trust.granted.map(\.path)
    }

    @Test func `a proxy's key is wanted only while a process is there, and is its own`() throws {
        var cache = try prepared()
        let key = try values.key("a", proxy: "p")
        #expect(cache.entry(of: key) == nil)
        var actions = cache.subscribe(one, proxy: "default/p", now: start)
        #expect(
            actions.demand == [DemandChange(key: key, demand: .subscribed, validity: nil)]
        )
        let before = cache.proxyView(for: one)
        #expect(before.isAwaiting)
        #expect(before.identities.map(\.svid) == [nil])
        actions = cache.received([values.issued(key, serial: 9)], now: start)
        #expect(actions.woken == [one])
        let view = cache.proxyView(for: one)
        #expect(!view.isAwaiting)
        #expect(view.identities.first?.svid?.serial == [9])
        // The workload of the same entry is shown another key, or none.
        _ = cache.subscribe(two, selectors: try values.selectors("unix:uid:1"), now: start)
        #expect(cache.view(for: two).svids == [])
        _ = cache.received([values.issued(try values.key("a"), serial: 3)], now: start)
        #expect(cache.view(for: two).svids.map(\.serial) == [[3]])
        #expect(cache.proxyView(for: one).identities.first?.svid?.serial == [9])
    }

    @Test func `keys order first by entry and ID, then workloads before proxies`() throws {
        let keys = [
            try values.key("b", proxy: "p"), try values.key("b"), try values.key("a", proxy: "q"),
            try values.key("a", proxy: "p"), try values.key("a"),
        ]
        #expect(
            keys.sorted().map(\.description) == [
                "spiffe://example.org/a (entry a)",
                "spiffe://example.org/a (entry a, proxy default/p)",
                "spiffe://example.org/a (entry a, proxy default/q)",
                "spiffe://example.org/b (entry b)",
                "spiffe://example.org/b (entry b, proxy default/p)",
            ]
        )
        #expect(Set(keys).count == keys.count)
    }

    @Test func `an identity that the proxy does not name is not given`() throws {
        var cache = try prepared([.entry(try values.entry("b"))])
        _ = cache.subscribe(one, proxy: "default/p", now: start)
        #expect(ids(cache, one) == ["/a"])
        let issued = values.issued(try values.key("b", proxy: "p"))
        #expect(cache.received([issued], now: start).discarded == [issued.key])
    }

    @Test func `an entry of another namespace gives nothing`() throws {
        var cache = try prepared([.proxy(try values.proxy("p", ["a"], namespace: "other"))])
        _ = cache.subscribe(one, proxy: "other/p", now: start)
        #expect(ids(cache, one) == [])
        #expect(cache.proxyView(for: one).proxy != nil)
    }

    @Test func `an identity that needs something of a workload is given to no proxy`() throws {
        let template = try values.entry(
            "t",
            spiffeID: "spiffe://example.org/t/{unix.user}",
            bounds: ["unix.user": .values(["u"])]
        )
        var cache = try prepared([
            .entry(template), .proxy(try values.proxy("p", ["a", "t/u"])),
        ])
        _ = cache.subscribe(one, proxy: "default/p", now: start)
        _ = cache.subscribe(
            two,
            selectors: try values.selectors("unix:uid:1", "unix:user:u"),
            now: start
        )
        #expect(ids(cache, one) == ["/a"])
    }

    @Test func `of several entries the oldest gives the identity, and another takes its place`()
        throws
    {
        var cache = try prepared([
            .entry(try values.entry("young", spiffeID: "spiffe://example.org/a", created: 5))
        ])
        let actions = cache.subscribe(one, proxy: "default/p", now: start)
        #expect(actions.demand.map(\.key) == [try values.key("a", proxy: "p")])
        _ = cache.received([values.issued(try values.key("a", proxy: "p"))], now: start)
        let removed = cache.received([.entryRemoved(id: "a")], now: start)
        #expect(removed.woken == [one])
        #expect(
            removed.demand.map(\.key.entryID) == ["a", "a", "young"]
        )
        // Still granted, but with no key: the proxy keeps what it has.
        #expect(ids(cache, one) == ["/a"])
        #expect(cache.proxyView(for: one).identities.map(\.svid) == [nil])
    }

    @Test func `an entry that ends takes the identity away at once`() throws {
        var cache = try prepared([
            .entry(try values.entry("a", expires: values.time(10)))
        ])
        _ = cache.subscribe(one, proxy: "default/p", now: start)
        _ = cache.received([values.issued(try values.key("a", proxy: "p"))], now: start)
        let actions = cache.timerFired(now: values.time(10))
        #expect(actions.woken == [one])
        #expect(ids(cache, one) == [])
        #expect(cache.svidCount == 0)
    }

    @Test func `an entry that comes gives the identity`() throws {
        var cache = try prepared([.proxy(try values.proxy("p", ["a", "b"]))])
        _ = cache.subscribe(one, proxy: "default/p", now: start)
        #expect(ids(cache, one) == ["/a"])
        let actions = cache.received([.entry(try values.entry("b"))], now: start)
        #expect(actions.woken == [one])
        #expect(ids(cache, one) == ["/a", "/b"])
    }

    @Test func `a proxy that leaves the scope has nothing, and its keys are forgotten`() throws {
        var cache = try settled()
        let actions = cache.received([.proxyRemoved("default/p")], now: start)
        #expect(actions.woken == [one])
        #expect(actions.demand.map(\.demand) == [.none])
        #expect(cache.proxyView(for: one).proxy == nil)
        #expect(cache.proxyView(for: one).trust.bundles == [])
        #expect(cache.svidCount == 0)
    }

    @Test func `the key of a process that went away is kept, and forgotten with its proxy`() throws
    {
        var cache = try settled()
        let left = cache.unsubscribe(one, now: start)
        #expect(left.demand.map(\.demand) == [.none])
        #expect(cache.svidCount == 1)
        _ = cache.subscribe(two, proxy: "default/p", now: start)
        #expect(cache.proxyView(for: two).identities.first?.svid != nil)
        _ = cache.unsubscribe(two, now: start)
        _ = cache.received([.proxyRemoved("default/p")], now: start)
        #expect(cache.svidCount == 0)
    }

    @Test func `a proxy that does not name the identity any more loses its key`() throws {
        var cache = try settled()
        let changed = try values.proxy("p", ["b"])
        let actions = cache.received([.proxy(changed)], now: start)
        #expect(actions.woken == [one])
        #expect(ids(cache, one) == [])
        #expect(cache.svidCount == 0)
    }

    @Test func `what is declared anew is told, what is the same is not`() throws {
        var cache = try settled()
        let same = try values.proxy("p", ["a"])
        #expect(cache.received([.proxy(same)], now: start) == [])
        let other = try values.proxy("p", ["a"], payload: [7])
        #expect(cache.received([.proxy(other)], now: start).woken == [one])
        #expect(cache.proxyView(for: one).proxy?.payload == [7])
        #expect(cache.proxyView(for: one).identities.first?.svid != nil)
    }

    @Test func `revocations of identities are told to every proxy, and judged by notBefore`()
        throws
    {
        var cache = try settled()
        let id = try SPIFFEID("spiffe://example.org/a")
        let other = try SPIFFEID("spiffe://example.org/zz")
        // The leaf says start - 60 s, so it was issued at start: that second is not before itself.
        var actions = cache.received(
            [.revocation(name: "1", .identity(id, issuedBefore: start))],
            now: start
        )
        #expect(actions.woken == [one])
        #expect(cache.proxyView(for: one).identities.first?.svid != nil)
        actions = cache.received(
            [
                .revocation(name: "2", .identity(id, issuedBefore: values.time(1))),
                .revocation(name: "3", .identity(other, issuedBefore: start)),
            ],
            now: start
        )
        #expect(actions.woken == [one])
        #expect(actions.demand.map(\.demand) == [.subscribed])
        let view = cache.proxyView(for: one)
        #expect(view.identities.map(\.svid) == [nil])
        #expect(
            view.trust.revocations == [
                .identity(id, issuedBefore: values.time(1)), .identity(other, issuedBefore: start),
            ]
        )
        // One that was issued in time by the server's clock, whatever this machine's says.
        let issued = values.issued(
            try values.key("a", proxy: "p"),
            at: -500,
            lifetime: 5_000,
            notBefore: -59
        )
        #expect(cache.received([issued], now: start).discarded == [])
        #expect(cache.proxyView(for: one).identities.first?.svid != nil)
        let late = values.issued(
            try values.key("a", proxy: "p"),
            at: 500,
            notBefore: -59.5
        )
        #expect(cache.received([late], now: start).discarded == [late.key])
    }

    @Test func `the proxies that mean a process are found by all of their selectors`() throws {
        let cache = try prepared([
            .proxy(try values.proxy("q", ["a"], selectors: ["unix:uid:9", "unix:gid:9"]))
        ])
        func found(_ texts: String...) throws -> [String] {
            cache.proxies(meaning: Set(try texts.map { try Selector($0) })).map(\.reference)
        }
        #expect(try found("unix:uid:7") == ["default/p"])
        #expect(try found("unix:uid:9") == [])
        #expect(try found("unix:uid:9", "unix:gid:9", "unix:uid:7") == ["default/p", "default/q"])
        #expect(cache.proxyCount == 2)
    }

    @Test func `federated bundles follow the entries of the identities`() throws {
        var cache = try settled()
        _ = cache.received([.bundle(values.bundle(values.foreign))], now: start)
        let own = values.bundle(values.trustDomain)
        #expect(cache.proxyView(for: one).trust.bundles == [own])
        let federated = try values.entry("a", federatesWith: ["foreign.org"])
        #expect(cache.received([.entry(federated)], now: start).woken == [one])
        #expect(
            cache.proxyView(for: one).trust.bundles == [own, values.bundle(values.foreign)]
        )
        let next = values.bundle(values.foreign, 2)
        #expect(cache.received([.bundle(next)], now: start).woken == [one])
    }

    @Test func `each identity federates for itself, also before there is a bundle`() throws {
        var cache = try settled()
        let id = try values.key("a", proxy: "p").spiffeID
        #expect(cache.proxyView(for: one).trust.federations == [:])
        let names = ["foreign.org", "example.org", "absent.example"]
        let federated = try values.entry("a", federatesWith: names)
        _ = cache.received([.entry(federated)], now: start)
        let trust = cache.proxyView(for: one).trust
        #expect(trust.federations == [id: [try TrustDomain("absent.example"), values.foreign]])
        #expect(trust.bundles == [values.bundle(values.trustDomain)])
        let alone = try values.entry("a", federatesWith: ["example.org"])
        #expect(cache.received([.entry(alone)], now: start).woken == [one])
        #expect(cache.proxyView(for: one).trust.federations == [:])
    }

    @Test func `a refusal of the server keeps nobody waiting`() throws {
        var cache = try prepared()
        _ = cache.subscribe(one, proxy: "default/p", now: start)
        let actions = cache.signingRefused([try values.key("a", proxy: "p")], now: start)
        #expect(actions.woken == [one])
        #expect(!cache.proxyView(for: one).isAwaiting)
    }
}
