// SPDX-License-Identifier: Apache-2.0

import FoundationEssentials
import NodeSync
import SPIFFE
import TestPKI
import Testing

/// What a cache makes of an authority that leaves the bundle before what it signed has ended
/// (docs/decisions/0022-backup-and-restore.md, "Agents").
struct LeavingAuthorityTests {
    private let values: CacheValues
    private let start = CacheValues.start
    private let stays: TestAuthority
    private let leaves: TestAuthority

    init() throws {
        values = try CacheValues()
        stays = try TestAuthority.root("example.org")
        leaves = try TestAuthority.root("example.org")
    }

    private func bundle(_ authorities: [TestAuthority], _ sequence: UInt64) -> TrustBundle {
        TrustBundle(
            trustDomain: values.trustDomain,
            x509Authorities: authorities.map(\.der),
            x509Intermediates: [],
            sequenceNumber: sequence,
            refreshHintSeconds: 300
        )
    }

    private func keyID(_ authority: TestAuthority) throws -> [UInt8] {
        try #require(try LeafCertificate(der: authority.der).subjectKeyID)
    }

    @Test func `what it signed is withdrawn and asked for at once, and nothing else is`() throws {
        var cache = values.cache()
        _ = cache.received(
            [
                .bundle(bundle([stays, leaves], 1)), .entry(try values.entry("a")),
                .entry(try values.entry("b")),
            ],
            now: start
        )
        let (a, b) = (try values.key("a"), try values.key("b"))
        _ = cache.received(
            [
                values.issued(a, authority: try keyID(leaves)),
                values.issued(b, authority: try keyID(stays)),
            ],
            now: start
        )
        #expect(cache.svidCount == 2)
        let actions = cache.received([.bundle(bundle([stays], 2))], now: start)
        #expect(actions.demand.map(\.key) == [a])
        #expect(actions.demand.allSatisfy { $0.validity == nil })
        #expect(cache.svidCount == 1)
        // An answer that was under way by it is not taken either.
        let late = cache.received(
            [values.issued(a, at: 1, authority: try keyID(leaves))],
            now: start
        )
        #expect(late.first == .discarded([a]))
        _ = cache.received([values.issued(a, at: 2, authority: try keyID(stays))], now: start)
        #expect(cache.svidCount == 2)
    }

    @Test func `an authority that joins takes nothing away`() throws {
        var cache = values.cache()
        _ = cache.received(
            [.bundle(bundle([stays], 1)), .entry(try values.entry("a"))],
            now: start
        )
        let a = try values.key("a")
        _ = cache.received([values.issued(a, authority: try keyID(stays))], now: start)
        _ = cache.received([.bundle(bundle([leaves, stays], 2))], now: start)
        #expect(cache.svidCount == 1)
    }
}
