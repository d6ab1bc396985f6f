// SPDX-License-Identifier: Apache-2.0

import FoundationEssentials
import NodeSync
import SPIFFE
import Testing

/// What a cache makes of authorities that are tainted or revoked (decision 0014).
struct DistrustedAuthorityTests {
    private let values: CacheValues
    private let start = CacheValues.start

    init() throws {
        values = try CacheValues()
    }

    @Test func `what a tainted authority signed is served on, and replaced once it is told`() throws
    {
        var cache = values.cache()
        _ = cache.received([.bundle(values.bundle(values.trustDomain))], now: start)
        _ = cache.received(
            [.entry(try values.entry("a")), .entry(try values.entry("b"))],
            now: start
        )
        let (a, b) = (try values.key("a"), try values.key("b"))
        _ = cache.received([values.issued(a), values.issued(b, authority: [2])], now: start)
        let taint = NodeCache.Change.revocation(name: "t", .taintedAuthority(keyID: [1]))
        let told = cache.received([taint], now: start)
        #expect(told.demand.map(\.key) == [a])
        #expect(told.demand.allSatisfy { $0.isTainted && !$0.isOutdated && $0.validity != nil })
        #expect(cache.svidCount == 2)
        #expect(cache.standing(ofAuthority: [1]) == .tainted)
        #expect(cache.standing(ofAuthority: [2]) == nil)
        // Told again, with others, or by an answer: nothing is asked for a second time.
        #expect(cache.received([taint], now: start).demand.isEmpty)
        let other = NodeCache.Change.revocation(name: "u", .taintedAuthority(keyID: [9]))
        #expect(cache.received([other], now: start).demand.isEmpty)
        #expect(cache.received([values.issued(a, at: 1)], now: start).demand.isEmpty)
        // Then it is revoked.
        let revoked = cache.received(
            [.revocation(name: "t", .authority(keyID: [1]))],
            now: start
        )
        #expect(revoked.demand.map(\.key) == [a])
        #expect(revoked.demand.allSatisfy { $0.validity == nil })
        #expect(cache.standing(ofAuthority: [1]) == .revoked)
    }

    @Test func `each authority of a verified path counts, and the worst of them decides`() throws {
        var cache = values.cache()
        _ = cache.received([.bundle(values.bundle(values.trustDomain))], now: start)
        #expect(cache.standing(ofPath: [[1], [2], [3]]) == nil)
        _ = cache.received(
            [
                .revocation(name: "t", .taintedAuthority(keyID: [1])),
                .revocation(name: "r", .authority(keyID: [2])),
            ],
            now: start
        )
        let cases: [(path: [[UInt8]], standing: AuthorityStanding?)] = [
            ([], nil), ([[3]], nil), ([[3], [4], [5]], nil), ([[1]], .tainted),
            ([[3], [1]], .tainted), ([[3], [1], [4]], .tainted), ([[3], [4], [1]], .tainted),
            ([[2]], .revoked), ([[3], [2], [4]], .revoked), ([[3], [4], [2]], .revoked),
            ([[1], [2]], .revoked), ([[2], [1]], .revoked), ([[1], [3], [2]], .revoked),
        ]
        for (path, standing) in cases {
            #expect(cache.standing(ofPath: path) == standing, "\(path)")
        }
    }

    @Test func `proxies are told of authorities and leaves after revoked identities`() throws {
        var cache = values.cache()
        _ = cache.received(
            [
                .bundle(values.bundle(values.trustDomain)),
                .entry(try values.entry("a")), .proxy(try values.proxy("p", ["a"])),
            ],
            now: start
        )
        let process = SubscriberID(1)
        _ = cache.subscribe(process, proxy: "default/p", now: start)
        let id = try SPIFFEID("spiffe://example.org/z")
        let revocations: [Revocation] = [
            .identity(id, issuedBefore: values.time(9)), .authority(keyID: [3]),
            .taintedAuthority(keyID: [2]),
            .leaf(authorityKeyID: [3], serial: [1], notAfter: values.time(900)),
            .leaf(authorityKeyID: [3], serial: [2], notAfter: values.time(600)),
        ]
        let changes = revocations.enumerated().reversed().map { place, revocation in
            NodeCache.Change.revocation(name: "\(place)", revocation)
        }
        let actions = cache.received(changes, now: start)
        #expect(actions.woken == [process])
        #expect(cache.proxyView(for: process).trust.revocations == revocations)
        // What ended longer ago than clocks differ is told nobody any more.
        _ = cache.received(
            [.revocation(name: "new", .leaf(authorityKeyID: [3], serial: [9], notAfter: start))],
            now: values.time(661)
        )
        #expect(cache.proxyView(for: process).trust.revocations == Array(revocations.dropLast()))
    }
}
