// SPDX-License-Identifier: Apache-2.0

import FoundationEssentials
import NodeSync
import SPIFFE
import Testing

/// Who may have tokens, and which keys and tokens count (docs/decisions/0017-jwt-keys-and-services.md).
struct TokenCacheTests {
    private let values: CacheValues
    private let key: JSONWebKey

    init() throws {
        values = try CacheValues()
        // The base point of P-256, which is a public key as good as any.
        key = try JSONWebKey(members: [
            "kty": .string("EC"), "crv": .string("P-256"),
            "x": .string("axfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpY"),
            "y": .string("T-NC4v4af5uO5-tKfA-eFivOM1drMV7Oy7ZAaDe_UfU"),
        ])
    }

    private var bundle: TrustBundle {
        TrustBundle(
            trustDomain: values.trustDomain,
            x509Authorities: [[1]],
            x509Intermediates: [],
            jwtAuthorities: [
                JWTAuthority(keyID: "k", key: key, algorithm: .es256, authorityKeyID: [9])
            ],
            sequenceNumber: 1,
            refreshHintSeconds: 300
        )
    }

    private func cache(_ more: [NodeCache.Change] = []) throws -> NodeCache {
        var cache = values.cache()
        _ = cache.received([.bundle(bundle)] + more, now: values.time(0))
        return cache
    }

    private func standing(_ cache: NodeCache, at seconds: Double?) throws -> TokenMemory.Standing {
        cache.standing(
            ofToken: try SPIFFEID("spiffe://example.org/web"),
            issuedAt: seconds.map { values.time($0) },
            keyID: "k"
        )
    }

    @Test
    func `A-8 A-9 A-11 a token of each entry that covers a process, the oldest keeps the hint`()
        throws
    {
        let cache = try cache([
            .entry(try values.entry("b", created: 1, hint: "x")),
            .entry(try values.entry("a", created: 2, hint: "x")),
            .entry(try values.entry("c", workload: ["unix:uid:2"])),
            .entry(
                try values.entry(
                    "t",
                    spiffeID: "spiffe://example.org/u/{unix.user}",
                    created: 3,
                    bounds: ["unix.user": .agentAsserted]
                )
            ),
        ])
        let shown: Set<Selector> = [try Selector("unix:uid:1"), try Selector("unix:user:joe")]
        let grants = cache.tokenGrants(to: shown)
        #expect(grants.map(\.entryID) == ["b", "a", "t"])
        #expect(grants.map(\.hint) == ["x", "", ""])
        #expect(grants.map(\.variables) == [[:], [:], ["unix.user": "joe"]])
        #expect(cache.tokenGrants(to: [try Selector("unix:uid:3")]).isEmpty)
        #expect(cache.tokenBundles(for: shown) == [bundle])
    }

    @Test func `a token counts unless it is older than its identity's revocation`() throws {
        let web = try SPIFFEID("spiffe://example.org/web")
        var cache = try cache()
        #expect(try standing(cache, at: 0) == .good)
        let revocation = Revocation.identity(web, issuedBefore: values.time(100))
        _ = cache.received([.revocation(name: "r", revocation)], now: values.time(100))
        // To the second: tokens are not dated back.
        #expect(try standing(cache, at: 99) == .withheld)
        #expect(try standing(cache, at: nil) == .withheld)
        #expect(try standing(cache, at: 100) == .good)
        _ = cache.received([.revocationRemoved(name: "r")], now: values.time(100))
        #expect(try standing(cache, at: 99) == .good)
    }

    @Test func `a token stands and falls with its authority`() throws {
        var cache = try cache()
        let tainted = Revocation.taintedAuthority(keyID: [9])
        _ = cache.received([.revocation(name: "a", tainted)], now: values.time(0))
        #expect(try standing(cache, at: 0) == .tainted)
        #expect(cache.tokenBundle?.jwtAuthorities.count == 1)
        let revoked = Revocation.authority(keyID: [9])
        _ = cache.received([.revocation(name: "a", revoked)], now: values.time(0))
        // Whether the bundle still has it or not.
        #expect(try standing(cache, at: 0) == .withheld)
        #expect(cache.tokenBundle?.jwtAuthorities.isEmpty == true)
        #expect(
            cache.standing(
                ofToken: try SPIFFEID("spiffe://example.org/web"),
                issuedAt: values.time(0),
                keyID: "other"
            ) == .withheld
        )
    }

    @Test func `who reads bundles hears that an authority's key counts no more`() throws {
        var cache = try cache([.entry(try values.entry("web"))])
        let id = SubscriberID(1)
        _ = cache.subscribe(
            id,
            selectors: [try Selector("unix:uid:1")],
            interest: .bundles,
            now: values.time(0)
        )
        let revoked = Revocation.authority(keyID: [9])
        let actions = cache.received([.revocation(name: "a", revoked)], now: values.time(1))
        let woken = actions.contains { action in
            if case .wake(let subscribers) = action { subscribers.contains(id) } else { false }
        }
        #expect(woken, "\(actions)")
    }
}
