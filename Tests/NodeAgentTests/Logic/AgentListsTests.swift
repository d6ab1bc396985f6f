// SPDX-License-Identifier: Apache-2.0

import ControlAPI
import Crypto
import FoundationEssentials
import Issuance
import NodeAgent
import NodeSync
import SPIFFE
import TestPKI
import TestSeeds
import Testing

/// An authority whose revocation lists an agent is told.
struct SigningAuthority {
    let authority: Authority
    private let signer: MemorySigner
    private let now: Date

    init(now: Date, seed: UInt64 = 1) throws {
        self.now = now
        signer = try MemorySigner(pkcs8DER: Array(P256.Signing.PrivateKey().derRepresentation))
        var generator = SeededGenerator(seed: seed)
        authority = try Authority.selfSigned(
            trustDomain: TrustDomain("example.org"),
            serverID: "one",
            lifetimes: .standard,
            signer: signer,
            now: now,
            using: &generator
        )
    }

    var key: ResourceKey { ResourceKey(.revocationList, authority.id) }

    /// The list that begins so many seconds after `now`, which is its number too.
    func list(_ seconds: TimeInterval, revoked: [UInt8] = []) throws -> CertificateRevocationList {
        let content = RevocationListContent(
            authorityID: authority.id,
            thisUpdate: now + seconds,
            nextUpdate: now + seconds + 3600,
            isLast: false,
            entries: revoked.map {
                .init(serial: [$0], revokedAt: now - 3600, notAfter: now + 60)
            }
        )
        let signed = try PreparedRevocationList(content, authority: authority).signed(with: signer)
        return try CertificateRevocationList(der: signed.der)
    }
}

/// What agents make of revocation lists (docs/decisions/0018-certificate-revocation-lists.md).
struct AgentListsTests {
    let world: AgentWorld
    private let first: SigningAuthority
    private let second: SigningAuthority

    init() throws {
        let now = Date(timeIntervalSince1970: testSecond)
        world = try AgentWorld(now: now)
        first = try SigningAuthority(now: now)
        second = try SigningAuthority(now: now, seed: 2)
    }

    private let testSecond: TimeInterval = 1_800_000_000

    private func bundle(
        _ authorities: [SigningAuthority],
        _ number: UInt64,
        below intermediates: [SigningAuthority] = []
    ) -> TrustBundle {
        TrustBundle(
            trustDomain: world.authority.bundle.trustDomain,
            x509Authorities: world.authority.bundle.x509Authorities
                + authorities.map(\.authority.certificateDER),
            x509Intermediates: intermediates.map(\.authority.certificateDER),
            jwtAuthorities: [],
            sequenceNumber: number,
            refreshHintSeconds: 300
        )
    }

    private func numbers(_ cache: NodeCache) -> [[UInt8]] {
        cache.view(for: SubscriberID(1)).lists.map(\.number)
    }

    private func cache(_ authorities: [SigningAuthority]) throws -> NodeCache {
        var cache = NodeCache(
            trustDomain: world.authority.bundle.trustDomain,
            node: TemplateNode(name: "web-1", selectors: [])
        )
        let entry = try world.entry("web", node: [], workload: ["unix:uid:1"])
        _ = cache.received([.bundle(bundle(authorities, 1)), .entry(entry)], now: world.now)
        let selectors: Set = [try Selector("unix:uid:1")]
        _ = cache.subscribe(SubscriberID(1), selectors: selectors, now: world.now)
        _ = cache.subscribe(
            SubscriberID(2),
            selectors: selectors,
            interest: .bundles,
            now: world.now
        )
        return cache
    }

    @Test func `a list is shown beside the bundle with its authority, and not before`() throws {
        var cache = try cache([])
        let list = try first.list(0)
        let other = try second.list(0)
        _ = cache.received([.revocationList(list), .revocationList(other)], now: world.now)
        #expect(numbers(cache) == [])
        let actions = cache.received([.bundle(bundle([first, second], 2))], now: world.now)
        #expect(actions.contains(.wake([SubscriberID(1), SubscriberID(2)])))
        let shown = cache.view(for: SubscriberID(1)).lists
        let ids = [first, second].map(\.authority.id).sorted()
        #expect(shown.map { Hexadecimal.text($0.authorityKeyID) } == ids)
        #expect(Set(shown.map(\.der)) == [list.der, other.der])
        // It goes when its authority does, and comes back with it.
        _ = cache.received([.bundle(bundle([second], 3))], now: world.now)
        #expect(cache.view(for: SubscriberID(1)).lists.map(\.der) == [other.der])
        _ = cache.received([.bundle(bundle([first], 4))], now: world.now)
        #expect(cache.view(for: SubscriberID(1)).lists.map(\.der) == [list.der])
    }

    @Test func `a list of an authority that another one certified is shown too`() throws {
        var cache = try cache([first])
        let list = try second.list(0)
        _ = cache.received([.revocationList(list)], now: world.now)
        #expect(numbers(cache) == [])
        _ = cache.received([.bundle(bundle([first], 2, below: [second]))], now: world.now)
        #expect(cache.view(for: SubscriberID(1)).lists.map(\.der) == [list.der])
        // Once more, beside the certificate that verified it.
        _ = cache.received([.bundle(bundle([], 3, below: [second]))], now: world.now)
        #expect(cache.view(for: SubscriberID(1)).lists.map(\.der) == [list.der])
        _ = cache.received([.bundle(bundle([first], 4))], now: world.now)
        #expect(numbers(cache) == [])
    }

    @Test func `the list that comes last counts, and wakes streams if its number is another`()
        throws
    {
        var cache = try cache([first])
        func receive(_ list: CertificateRevocationList) -> Bool {
            cache.received([.revocationList(list)], now: world.now)
                .contains(.wake([SubscriberID(1), SubscriberID(2)]))
        }
        #expect(receive(try first.list(0)) == true)
        #expect(receive(try first.list(1, revoked: [7])) == true)
        #expect(receive(try first.list(1, revoked: [7])) == false)
        // Revisions give the order: an older one is what the server has now.
        #expect(receive(try first.list(0)) == true)
        let removed = NodeCache.Change.revocationListRemoved(authorityID: first.authority.id)
        _ = cache.received([removed], now: world.now)
        #expect(numbers(cache) == [])
    }

    private func refusals(_ actions: [AgentLogic.Action]) -> [ResourceKey] {
        actions.flatMap { action -> [ResourceKey] in
            guard case .sendAcknowledgement(let ack) = action else { return [] }
            return ack.refused.map(\.key)
        }
    }

    @Test func `what is not a list, or not its authority's, is refused by name`() throws {
        var agent = LogicDriver(world, try world.stored())
        _ = agent.tell { $0.started(now: $1, using: &$2) }
        _ = agent.connect()
        let known = bundle([first], 2)
        let good = try first.list(0)
        var forged = try first.list(1).der
        forged[forged.count - 1] ^= 1
        let stranger = try second.list(0)
        let resources = [
            try ResourcePayload.bundle(known).resource,
            Resource(key: first.key, payload: good.der),
            // Its authority may still come: it is kept, and not shown.
            Resource(key: second.key, payload: stranger.der),
        ]
        let actions = agent.receive([
            .snapshotBegin(world.revision(1)), .snapshotPage(index: 0, resources: resources),
            .snapshotEnd(resourceCount: resources.count),
        ])
        #expect(refusals(actions) == [])
        func refused(_ to: UInt64, _ key: ResourceKey, _ payload: [UInt8]) -> [ResourceKey] {
            let change = ResourceChange.upsert(key, payload: payload)
            return refusals(agent.receive([world.delta(to - 1, to, [change])]))
        }
        #expect(refused(2, first.key, forged) == [first.key])
        #expect(refused(3, first.key, stranger.der) == [first.key])
        #expect(refused(4, first.key, [0x30, 0x00]) == [first.key])
        // The last good state stays.
        let kept = agent.logic.persistedSync?.resources[first.key]
        #expect(kept == good.der)
        #expect(refused(5, first.key, try first.list(2).der) == [])
    }
}
