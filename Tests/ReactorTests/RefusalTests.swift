// SPDX-License-Identifier: Apache-2.0

import FoundationEssentials
import Glibc
import Reactor
import SPIFFE
import TestPKI
import Testing

/// How failures are told apart: whose they are, and what they mean for who was let in before.
struct RefusalTests {
    @Test(arguments: Providers.all)
    func `a peer that was let in is judged again by newer requirements`(
        _ providers: Providers
    ) throws {
        let fixture = try Fixture(providers)
        let pair = try fixture.pair()
        pair.shakeHands()
        let peer = try #require(pair.clientPeer)
        let id = try SPIFFEID("spiffe://example.org/db")
        let another = try SPIFFEID("spiffe://example.org/another")
        #expect(fixture.requirements(providers.client).refusal(of: peer) == nil)
        #expect(fixture.requirements(providers.client, expected: [id]).refusal(of: peer) == nil)
        #expect(
            fixture.requirements(providers.client, expected: [another]).refusal(of: peer)
                == .unexpected(id)
        )
        let revocations = PeerRevocations(identities: [id: .distantFuture])
        #expect(
            fixture.requirements(providers.client, revocations: revocations).refusal(of: peer)
                == .revoked(id)
        )
        let nobody = TLSAuthorities(provider: providers.client, bundles: [:])
        #expect(
            PeerRequirements(authorities: nobody, in: id.trustDomain).refusal(of: peer)
                == .verification(.trustDomainUnknown(id.trustDomain))
        )
    }

    /// docs/decisions/0021-federation.md, "The way to who verifies".
    @Test(arguments: Providers.all)
    func `a peer of another trust domain is let in by who federates with it alone`(
        _ providers: Providers
    ) throws {
        var fixture = try Fixture(providers)
        let partner = try TestAuthority.root("partner.example")
        let id = try SPIFFEID("spiffe://partner.example/db")
        fixture.db = try partner.leaf(id.description)
        let own = fixture.root.trustDomain
        let all = TLSAuthorities(
            provider: providers.client,
            bundles: [own: fixture.root.bundle, partner.trustDomain: partner.bundle]
        )
        func requirements(
            _ authorities: TLSAuthorities,
            _ federations: Set<TrustDomain>
        ) -> PeerRequirements {
            PeerRequirements(authorities: authorities, in: own, federatingWith: federations)
        }
        // That the process knows the bundle, for another listener, is not enough.
        let stranger = try fixture.pair(clientRequires: requirements(all, []))
        stranger.shakeHands()
        #expect(!stranger.clientIsOpen)
        let federating = requirements(all, [partner.trustDomain])
        let pair = try fixture.pair(clientRequires: federating)
        pair.shakeHands()
        let peer = try #require(pair.clientPeer)
        #expect(peer.id == id && federating.refusal(of: peer) == nil)
        let unknown = PeerRefusal.verification(.trustDomainUnknown(partner.trustDomain))
        #expect(requirements(all, []).refusal(of: peer) == unknown)
        let withheld = TLSAuthorities(
            provider: providers.client,
            bundles: [own: fixture.root.bundle]
        )
        #expect(requirements(withheld, [partner.trustDomain]).refusal(of: peer) == unknown)
    }

    @Test(arguments: Providers.all)
    func `a foreign authority that has left its bundle takes its peers with it`(
        _ providers: Providers
    ) throws {
        var fixture = try Fixture(providers)
        let partner = try TestAuthority.root("partner.example")
        let next = try TestAuthority.root("partner.example")
        // Below an intermediate, so that the one that counts is not the one that signed.
        fixture.db = try partner.intermediate().leaf("spiffe://partner.example/db")
        let own = fixture.root.trustDomain
        func requirements(_ ders: [[UInt8]]) -> PeerRequirements {
            let bundle = TrustBundle(
                trustDomain: partner.trustDomain,
                x509Authorities: ders,
                x509Intermediates: [],
                sequenceNumber: 1,
                refreshHintSeconds: 300
            )
            return PeerRequirements(
                authorities: TLSAuthorities(
                    provider: providers.client,
                    bundles: [own: fixture.root.bundle, partner.trustDomain: bundle]
                ),
                in: own,
                federatingWith: [partner.trustDomain]
            )
        }
        let pair = try fixture.pair(clientRequires: requirements([partner.der, next.der]))
        pair.shakeHands()
        let peer = try #require(pair.clientPeer)
        #expect(requirements([next.der, partner.der]).refusal(of: peer) == nil)
        for left in [[next.der], []] {
            #expect(requirements(left).refusal(of: peer) == .verification(.noPath))
        }
    }

    @Test(arguments: TLSProvider.allCases)
    func `bundles that stay are not parsed again when another one changes`(
        _ provider: TLSProvider
    ) throws {
        let roots = try ["a.example", "b.example"].map { try TestAuthority.root($0) }
        var bundles = Dictionary(uniqueKeysWithValues: roots.map { ($0.trustDomain, $0.bundle) })
        let before = TLSAuthorities(provider: provider, bundles: bundles)
        let (a, b) = (roots[0].trustDomain, roots[1].trustDomain)
        bundles[b] = TrustBundle(
            trustDomain: b,
            x509Authorities: [try TestAuthority.root("b.example").der, [1]],
            x509Intermediates: [],
            sequenceNumber: 2,
            refreshHintSeconds: 300
        )
        let after = TLSAuthorities(provider: provider, bundles: bundles, reusing: before)
        #expect(after.share(a, with: before) && !after.share(b, with: before))
        #expect(after.unusableAuthorities == [.init(trustDomain: b, index: 1)])
        // What is left out is told of by everybody who shares it.
        let again = TLSAuthorities(provider: provider, bundles: bundles, reusing: after)
        #expect(again.share(b, with: after))
        #expect(again.unusableAuthorities == after.unusableAuthorities)
        bundles[a] = nil
        #expect(!TLSAuthorities(provider: provider, bundles: bundles, reusing: again).know(a))
    }

    @Test(arguments: Providers.all)
    func `a client that was done already hears that its certificate is refused`(
        _ providers: Providers
    ) throws {
        let fixture = try Fixture(providers)
        let nobody = TLSAuthorities(provider: providers.server, bundles: [:])
        let pair = try fixture.pair(
            serverRequires: PeerRequirements(authorities: nobody, in: fixture.root.trustDomain)
        )
        pair.shakeHands()
        #expect(pair.clientIsOpen)
        #expect(pair.clientReads() == .failed)
        #expect(pair.clientFailure?.isCertificateAlert == true, "\(pair.clientFailure as Any)")
    }

    @Test func `only what is said of a certificate is a certificate's alert`() {
        for alert in UInt8.min...UInt8.max {
            let isOne = [42, 43, 44, 45, 46, 48, 49, 116].contains(alert)
            #expect(TLSFailure.alertReceived(alert).isCertificateAlert == isOne)
        }
        #expect(!TLSFailure.protocolBroken("certificate").isCertificateAlert)
        #expect(!TLSFailure.postHandshakeFlood.isCertificateAlert)
    }

    @Test func `what this machine lacks is no fault of who is connected to`() {
        for error in [EMFILE, ENFILE, ENOBUFS, ENOMEM, EADDRNOTAVAIL] {
            #expect(SystemError(errorNumber: error).isOwnWhenConnecting)
        }
        for error in [ECONNREFUSED, ETIMEDOUT, EHOSTUNREACH, ENETUNREACH, ENOENT, EACCES] {
            #expect(!SystemError(errorNumber: error).isOwnWhenConnecting)
        }
    }
}
