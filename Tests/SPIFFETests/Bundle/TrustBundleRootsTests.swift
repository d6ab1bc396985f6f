// SPDX-License-Identifier: Apache-2.0

import SPIFFE
import TestPKI
import Testing

/// Which authorities of a bundle may have others below them.
@Suite struct TrustBundleRootsTests {
    private let root: TestAuthority

    init() throws { root = try TestAuthority.root("example.org") }

    private func roots(_ authorities: [[UInt8]]) -> [[UInt8]] {
        TrustBundle(
            trustDomain: root.trustDomain,
            x509Authorities: authorities,
            x509Intermediates: [],
            sequenceNumber: 1,
            refreshHintSeconds: 300
        ).rootsOfAuthorities
    }

    @Test func `a root is one, whatever else is in the bundle`() throws {
        let other = try TestAuthority.root("example.org")
        #expect(roots([root.der, other.der]) == [root.der, other.der])
        #expect(roots([[1, 2, 3], root.der]) == [root.der])
        #expect(roots([]).isEmpty)
    }

    @Test func `a server's own authority, which certifies leaves alone, is none`() throws {
        let own = try TestAuthority.root("example.org") { $0.certifyLeavesAlone() }
        #expect(roots([own.der, root.der]) == [root.der])
    }

    @Test func `what somebody else certified, or speaks for others, is none`() throws {
        let below = try root.intermediate()
        let unnamed = try TestAuthority.root("example.org") { $0.uris = [] }
        let foreign = try TestAuthority.root("partner.org")
        let leaf = try root.leaf("spiffe://example.org/web")
        let nameless = try TestAuthority.root("example.org") { $0.hasKeyIdentifiers = false }
        #expect(roots([below.der, unnamed.der, foreign.der, leaf.der, nameless.der]).isEmpty)
    }
}
