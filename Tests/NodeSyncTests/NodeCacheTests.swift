// SPDX-License-Identifier: Apache-2.0

import FoundationEssentials
import NodeSync
import SPIFFE
import Testing

struct NodeCacheTests {
    let values: CacheValues
    let one = SubscriberID(1)
    let two = SubscriberID(2)
    let start = CacheValues.start
    let end = CacheValues.start.addingTimeInterval(3_600)

    init() throws {
        values = try CacheValues()
    }

    /// A cache with entry `a` for uid 1, its bundle and SVID, and subscriber `one` of uid 1.
    private func settled() throws -> NodeCache {
        var cache = values.cache()
        _ = cache.received(
            [.bundle(values.bundle(values.trustDomain)), .entry(try values.entry("a"))],
            now: start
        )
        _ = cache.subscribe(one, selectors: try values.selectors("unix:uid:1"), now: start)
        _ = cache.received([values.issued(try values.key("a"))], now: start)
        return cache
    }

    // MARK: What a workload is shown

    @Test func `A-12 a workload that no entry means is denied`() throws {
        var cache = try settled()
        let actions = cache.subscribe(
            two,
            selectors: try values.selectors("unix:uid:2"),
            now: start
        )
        #expect(actions == [])
        #expect(cache.view(for: two).state == .denied)
        #expect(cache.view(for: two).bundle == nil)
        #expect(cache.view(for: SubscriberID(99)).state == .denied)
    }

    @Test func `a workload is shown what its entries grant`() throws {
        let cache = try settled()
        let view = cache.view(for: one)
        #expect(view.state == .ready)
        #expect(view.svids.map(\.id.description) == ["spiffe://example.org/a"])
        #expect(view.bundle == values.bundle(values.trustDomain))
    }

    @Test func `an entry is wanted before a workload comes, and more when it does`() throws {
        var cache = values.cache()
        let key = try values.key("a")
        var actions = cache.received([.entry(try values.entry("a"))], now: start)
        #expect(
            actions == [.demand([DemandChange(key: key, demand: .prefetch, validity: nil)])]
        )
        actions = cache.subscribe(one, selectors: try values.selectors("unix:uid:1"), now: start)
        #expect(
            actions == [.demand([DemandChange(key: key, demand: .subscribed, validity: nil)])]
        )
        actions = cache.unsubscribe(one, now: start)
        #expect(
            actions == [.demand([DemandChange(key: key, demand: .prefetch, validity: nil)])]
        )
        actions = cache.received([.entryRemoved(id: "a")], now: start)
        #expect(actions == [.demand([DemandChange(key: key, demand: .none, validity: nil)])])
    }

    @Test func `A-3 a subscriber is woken only if its view differs`() throws {
        var cache = try settled()
        _ = cache.subscribe(two, selectors: try values.selectors("unix:uid:2"), now: start)
        let own = values.bundle(values.trustDomain)
        #expect(cache.received([.bundle(own)], now: start) == [])
        #expect(cache.received([.bundle(values.bundle(values.foreign))], now: start) == [])
        #expect(cache.received([.entry(try values.entry("a"))], now: start).woken == [])
        #expect(cache.received([values.issued(try values.key("a"))], now: start).woken == [])
        let other = try values.entry("b", workload: ["unix:uid:3"])
        #expect(cache.received([.entry(other)], now: start).woken == [])
        let next = values.issued(try values.key("a"), at: 10, serial: 2)
        #expect(cache.received([next], now: start).woken == [one])
        let new = values.bundle(values.trustDomain, 2)
        #expect(cache.received([.bundle(new)], now: start).woken == [one])
    }

    @Test func `a subscriber of bundles is not woken by rotated SVIDs`() throws {
        var cache = try settled()
        let selectors = try values.selectors("unix:uid:1")
        _ = cache.subscribe(two, selectors: selectors, interest: .bundles, now: start)
        let next = values.issued(try values.key("a"), at: 10, serial: 2)
        #expect(cache.received([next], now: start).woken == [one])
        let new = values.bundle(values.trustDomain, 2)
        #expect(cache.received([.bundle(new)], now: start).woken == [one, two])
        #expect(cache.received([.entryRemoved(id: "a")], now: start).woken == [one, two])
    }

    @Test func `A-4 whose entry is removed is told at once`() throws {
        var cache = try settled()
        let actions = cache.received([.entryRemoved(id: "a")], now: start)
        #expect(actions.woken == [one])
        #expect(cache.view(for: one).state == .denied)
        #expect(cache.svidCount == 0)
        #expect(cache.received([values.issued(try values.key("a"))], now: start).discarded != [])
        #expect(cache.view(for: one).svids == [])
    }

    @Test func `A-11 the order is by age of the entries and stays`() throws {
        var cache = values.cache()
        let names = ["c", "a", "b"]
        var changes = [NodeCache.Change.bundle(values.bundle(values.trustDomain))]
        for (age, name) in names.enumerated() {
            changes.append(.entry(try values.entry(name, created: Double(age))))
        }
        _ = cache.received(changes, now: start)
        _ = cache.subscribe(one, selectors: try values.selectors("unix:uid:1"), now: start)
        _ = cache.received(try names.sorted().map { values.issued(try values.key($0)) }, now: start)
        #expect(cache.view(for: one).svids.map(\.entryID) == names)
        let next = values.issued(try values.key("a"), at: 10, serial: 2)
        _ = cache.received([next], now: start)
        #expect(cache.view(for: one).svids.map(\.entryID) == names)
        _ = cache.received([.entry(try values.entry("0", created: 9))], now: start)
        _ = cache.received([values.issued(try values.key("0"))], now: start)
        #expect(cache.view(for: one).svids.map(\.entryID) == names + ["0"])
    }

    @Test func `A-11 nothing is shown before the default identity is there`() throws {
        var cache = values.cache()
        _ = cache.received(
            [
                .bundle(values.bundle(values.trustDomain)),
                .entry(try values.entry("old", created: 1)),
                .entry(try values.entry("new", created: 2)),
            ],
            now: start
        )
        _ = cache.subscribe(one, selectors: try values.selectors("unix:uid:1"), now: start)
        #expect(cache.received([values.issued(try values.key("new"))], now: start).woken == [])
        #expect(cache.view(for: one).state == .awaitingSVIDs)
        #expect(cache.received([values.issued(try values.key("old"))], now: start).woken == [one])
        #expect(cache.view(for: one).svids.map(\.entryID) == ["old", "new"])
    }

    @Test func `a refused identity holds up nobody, and patience ends`() throws {
        for isRefused in [true, false] {
            var cache = values.cache()
            _ = cache.received(
                [
                    .bundle(values.bundle(values.trustDomain)),
                    .entry(try values.entry("old", created: 1)),
                    .entry(try values.entry("new", created: 2)),
                ],
                now: start
            )
            _ = cache.subscribe(one, selectors: try values.selectors("unix:uid:1"), now: start)
            _ = cache.received([values.issued(try values.key("new"))], now: start)
            let actions =
                isRefused
                ? cache.signingRefused([try values.key("old")], now: start)
                : cache.patienceEnded(one, now: start)
            #expect(actions.woken == [one])
            #expect(cache.view(for: one).svids.map(\.entryID) == ["new"])
        }
    }

    @Test func `A-6 nothing is shown without the own bundle`() throws {
        var cache = try settled()
        _ = cache.received([.bundleRemoved(values.trustDomain)], now: start)
        #expect(cache.view(for: one).state == .awaitingSVIDs)
        #expect(cache.view(for: one).svids == [])
    }

    @Test func `A-8 of equal hints the oldest entry keeps it`() throws {
        var cache = values.cache()
        _ = cache.received(
            [
                .bundle(values.bundle(values.trustDomain)),
                .entry(try values.entry("young", created: 2, hint: "internal")),
                .entry(try values.entry("old", created: 1, hint: "internal")),
                .entry(try values.entry("other", created: 3, hint: "external")),
                .entry(try values.entry("plain", created: 4)),
            ],
            now: start
        )
        _ = cache.subscribe(one, selectors: try values.selectors("unix:uid:1"), now: start)
        let names = ["old", "young", "other", "plain"]
        _ = cache.received(try names.map { values.issued(try values.key($0)) }, now: start)
        let view = cache.view(for: one)
        #expect(view.svids.map(\.entryID) == names)
        #expect(view.svids.map(\.hint) == ["internal", "", "external", ""])
        // A changed hint needs no new SVID.
        let renamed = try values.entry("other", created: 3, hint: "outside")
        #expect(cache.received([.entry(renamed)], now: start).demand == [])
        #expect(cache.view(for: one).svids.map(\.hint) == ["internal", "", "outside", ""])
    }

    @Test func `only bundles that an entry federates with are shown, sorted`() throws {
        var cache = try settled()
        let third = try TrustDomain("another.org")
        let entry = try values.entry(
            "a",
            federatesWith: ["foreign.org", "another.org", "gone.org"]
        )
        _ = cache.received([.entry(entry)], now: start)
        let actions = cache.received(
            [
                .bundle(values.bundle(values.foreign)), .bundle(values.bundle(third)),
                .bundle(values.bundle(try TrustDomain("unrelated.org"))),
            ],
            now: start
        )
        #expect(actions.woken == [one])
        #expect(
            cache.view(for: one).federatedBundles.map(\.trustDomain) == [third, values.foreign]
        )
        #expect(cache.received([.bundleRemoved(third)], now: start).woken == [one])
        #expect(cache.view(for: one).federatedBundles.map(\.trustDomain) == [values.foreign])
    }

    @Test func `an ID that may not be granted here grants nothing`() throws {
        for id in ["spiffe://foreign.org/a", "spiffe://example.org/signet/server/x", "nonsense"] {
            var cache = values.cache()
            let actions = cache.received([.entry(try values.entry("a", spiffeID: id))], now: start)
            #expect(actions == [])
            #expect(cache.problem(ofEntry: "a") != nil)
            _ = cache.subscribe(one, selectors: try values.selectors("unix:uid:1"), now: start)
            #expect(cache.view(for: one).state == .denied)
        }
    }

    // MARK: Templates

    private func template() throws -> RegistrationEntry {
        try values.entry(
            "t",
            spiffeID: "spiffe://example.org/{node.role}/{unix.user}",
            workload: ["unix:gid:9"],
            bounds: ["unix.user": .values(["alice", "bob"])]
        )
    }

    @Test func `a template grants each workload its own identity`() throws {
        var cache = values.cache()
        let own = NodeCache.Change.bundle(values.bundle(values.trustDomain))
        #expect(cache.received([own, .entry(try template())], now: start) == [])
        let alice = try values.key("t", "spiffe://example.org/web/alice")
        let bob = try values.key("t", "spiffe://example.org/web/bob")
        for (subscriber, user, key) in [(one, "alice", alice), (two, "bob", bob)] {
            let selectors = try values.selectors("unix:gid:9", "unix:user:\(user)")
            let actions = cache.subscribe(subscriber, selectors: selectors, now: start)
            #expect(actions.demand.map(\.key) == [key])
        }
        let mallory = try values.selectors("unix:gid:9", "unix:user:mallory")
        #expect(cache.subscribe(SubscriberID(3), selectors: mallory, now: start) == [])
        #expect(cache.received([values.issued(alice)], now: start).woken == [one])
        #expect(cache.view(for: one).svids.map(\.id) == [alice.spiffeID])
        #expect(cache.view(for: two).state == .awaitingSVIDs)
    }

    @Test func `the SVID of a workload that went away waits for it, but not for a changed entry`()
        throws
    {
        var cache = values.cache()
        _ = cache.received(
            [.bundle(values.bundle(values.trustDomain)), .entry(try template())],
            now: start
        )
        let alice = try values.key("t", "spiffe://example.org/web/alice")
        let selectors = try values.selectors("unix:gid:9", "unix:user:alice")
        _ = cache.subscribe(one, selectors: selectors, now: start)
        _ = cache.received([values.issued(alice)], now: start)
        #expect(cache.unsubscribe(one, now: start).demand.map(\.demand) == [.none])
        let back = cache.subscribe(two, selectors: selectors, now: start)
        #expect(back.demand.first?.validity == values.issued(alice).validity)
        #expect(cache.view(for: two).state == .ready)
        _ = cache.unsubscribe(two, now: start)
        _ = cache.received([.entry(try template())], now: start)
        #expect(cache.svidCount == 0)
    }

    // MARK: Time

    @Test func `an expired entry grants nothing`() throws {
        var cache = try settled()
        let expiring = try values.entry("a", expires: values.time(100))
        #expect(cache.received([.entry(expiring)], now: start).timer == values.time(100))
        #expect(cache.timerFired(now: values.time(99)).woken == [])
        let actions = cache.timerFired(now: values.time(100))
        #expect(actions.woken == [one])
        #expect(actions.demand.map(\.demand) == [.none])
        #expect(cache.view(for: one).state == .denied)
        #expect(cache.svidCount == 0)
    }

    @Test func `an entry that has expired before it is restored grants nothing`() throws {
        var cache = values.cache()
        let expired = try values.entry("a", expires: start)
        #expect(cache.received([.entry(expired)], now: start) == [])
        let actions = cache.restored([values.issued(try values.key("a"))], now: start)
        #expect(actions == [.discarded([try values.key("a")])])
    }

    @Test func `an expired SVID is withdrawn and a new one wanted`() throws {
        var cache = try settled()
        let actions = cache.timerFired(now: values.time(3_600))
        #expect(actions.woken == [one])
        #expect(
            actions.demand
                == [DemandChange(key: try values.key("a"), demand: .subscribed, validity: nil)]
        )
        #expect(cache.view(for: one).state == .awaitingSVIDs)
        let old = cache.received([values.issued(try values.key("a"))], now: values.time(3_600))
        #expect(old.discarded == [try values.key("a")])
    }

    @Test func `what is due is never shown because the timer is late`() throws {
        var cache = try settled()
        let actions = cache.received(
            [.bundle(values.bundle(values.trustDomain, 2))],
            now: values.time(4_000)
        )
        #expect(actions.woken == [one])
        #expect(cache.view(for: one).svids == [])
    }

    @Test func `a stepped clock is judged anew in both directions`() throws {
        var cache = try settled()
        _ = cache.received([.entry(try values.entry("a", expires: values.time(100)))], now: start)
        #expect(cache.clockStepped(now: values.time(200)).woken == [one])
        #expect(cache.view(for: one).state == .denied)
        let back = cache.clockStepped(now: values.time(50))
        #expect(back.demand.map(\.demand) == [.subscribed])
        #expect(back.timer == values.time(100))
        #expect(cache.view(for: one).state == .awaitingSVIDs)
    }

    // MARK: Changed entries and revocations

    @Test func `an SVID with more than its entry grants is withdrawn at once`() throws {
        var cache = try settled()
        let key = try values.key("a")
        let wide = try values.entry("a", dnsNames: ["a.example.org", "b.example.org"])
        var actions = cache.received([.entry(wide)], now: start)
        // What it has is still granted: it is replaced, not withdrawn.
        #expect(actions.woken == [])
        #expect(actions.demand.map(\.isOutdated) == [true])
        let full = values.issued(
            key,
            at: 1,
            serial: 2,
            dnsNames: ["a.example.org", "b.example.org"]
        )
        #expect(cache.received([full], now: start).woken == [one])
        let narrow = try values.entry("a", dnsNames: ["a.example.org"])
        actions = cache.received([.entry(narrow)], now: start)
        #expect(actions.woken == [one])
        #expect(actions.demand.map(\.validity) == [nil])
        #expect(cache.received([full], now: start).discarded == [key])
    }

    @Test func `a changed lifetime asks for a new SVID`() throws {
        var cache = try settled()
        let actions = cache.received([.entry(try values.entry("a", ttl: 60))], now: start)
        #expect(actions.woken == [])
        #expect(actions.demand.map(\.isOutdated) == [true])
    }

    @Test(arguments: ["leaf", "identity", "authority", "node"])
    func `a revoked SVID is withdrawn at once and never shown again`(_ kind: String) throws {
        let key = try values.key("a")
        let revocation: Revocation =
            switch kind {
            case "leaf": .leaf(authorityKeyID: [1], serial: [1], notAfter: end)
            case "identity": .identity(key.spiffeID, issuedBefore: values.time(1))
            case "authority": .authority(keyID: [1])
            default: .node(AgentName("node-1"))
            }
        var cache = try settled()
        let actions = cache.received([.revocation(name: "r", revocation)], now: start)
        #expect(actions.woken == [one])
        #expect(cache.view(for: one).svids == [])
        #expect(cache.received([values.issued(key)], now: start).discarded == [key])
        #expect(cache.restored([values.issued(key)], now: start).discarded == [key])
        let fresh = values.issued(key, at: 5, serial: 2, authority: [2])
        #expect(cache.received([fresh], now: start).discarded == (kind == "node" ? [key] : []))
    }

    @Test func `a revoked certificate that ended by a wrong clock only is refused again`() throws {
        let key = try values.key("a")
        var cache = try settled()
        // Booted with a clock that is ahead: what is told then seems to have ended.
        _ = cache.received(
            [
                .revocation(
                    name: "r",
                    .leaf(authorityKeyID: [1], serial: [1], notAfter: values.time(100))
                )
            ],
            now: values.time(10_000)
        )
        _ = cache.clockStepped(now: start)
        #expect(cache.view(for: one).svids == [])
        #expect(cache.received([values.issued(key)], now: start).discarded == [key])
    }

    @Test func `revocations of others change nothing`() throws {
        var cache = try settled()
        let id = try SPIFFEID("spiffe://example.org/b")
        let actions = cache.received(
            [
                .revocation(name: "1", .leaf(authorityKeyID: [1], serial: [2], notAfter: end)),
                .revocation(name: "2", .leaf(authorityKeyID: [2], serial: [1], notAfter: end)),
                .revocation(name: "3", .identity(id, issuedBefore: values.time(100))),
                .revocation(name: "4", .node(AgentName("node-2"))),
                .revocation(name: "5", .authority(keyID: [])),
            ],
            now: start
        )
        #expect(actions == [])
    }

    @Test func `a restart serves only what entries and revocations allow`() throws {
        var cache = values.cache()
        _ = cache.received(
            [
                .revocation(name: "r", .leaf(authorityKeyID: [1], serial: [7], notAfter: end)),
                .bundle(values.bundle(values.trustDomain)),
                .entry(try values.entry("a")), .entry(try values.entry("b")),
            ],
            now: start
        )
        let actions = cache.restored(
            [
                values.issued(try values.key("a")),
                values.issued(try values.key("b"), serial: 7),
                values.issued(try values.key("removed")),
                values.issued(try values.key("a", "spiffe://example.org/other")),
            ],
            now: start
        )
        #expect(
            actions.discarded
                == [
                    try values.key("a", "spiffe://example.org/other"),
                    try values.key("b"), try values.key("removed"),
                ].sorted()
        )
        // The queue learns what is at hand, so that it is not signed again.
        #expect(actions.demand.map(\.key) == [try values.key("a")])
        #expect(actions.demand.first?.validity?.notAfter == values.time(3_600))
    }

    @Test func `an older answer does not replace a newer one`() throws {
        var cache = try settled()
        let key = try values.key("a")
        _ = cache.received([values.issued(key, at: 10, serial: 2)], now: start)
        #expect(cache.received([values.issued(key, at: 5, serial: 3)], now: start) == [])
        #expect(cache.view(for: one).svids.map(\.serial) == [[2]])
    }

    // MARK: Illegal events

    @Test func `events of unknown subscribers and identities do nothing`() throws {
        var cache = try settled()
        #expect(cache.unsubscribe(two, now: start) == [])
        #expect(cache.patienceEnded(two, now: start) == [])
        #expect(cache.signingRefused([try values.key("x")], now: start) == [])
        #expect(cache.received([.entryRemoved(id: "x")], now: start) == [])
        #expect(cache.received([.revocationRemoved(name: "x")], now: start) == [])
        #expect(cache.timerFired(now: start).woken == [])
    }

    @Test func `of 1000 subscribers only those concerned are woken`() throws {
        var cache = values.cache()
        var changes = [NodeCache.Change.bundle(values.bundle(values.trustDomain))]
        for entry in 0..<100 {
            changes.append(.entry(try values.entry("e\(entry)", workload: ["unix:uid:\(entry)"])))
        }
        _ = cache.received(changes, now: start)
        for number in 0..<1_000 {
            let selectors = try values.selectors("unix:uid:\(number % 100)", "unix:gid:\(number)")
            _ = cache.subscribe(SubscriberID(UInt64(number)), selectors: selectors, now: start)
        }
        let all = try (0..<100).map { values.issued(try values.key("e\($0)")) }
        #expect(cache.received(all, now: start).woken.count == 1_000)
        let next = values.issued(try values.key("e7"), at: 9, serial: 2)
        let seventh: [SubscriberID] = (0..<10).map { (hundred: Int) -> SubscriberID in
            SubscriberID(UInt64(hundred * 100 + 7))
        }
        #expect(cache.received([next], now: start).woken == seventh)
    }
}
