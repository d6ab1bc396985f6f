// SPDX-License-Identifier: Apache-2.0

import Crypto
import FoundationEssentials
import Reactor
import SPIFFE
import TestPKI
import Testing
import X509

/// A revoked or tainted authority counts wherever it is in a peer's path, by its key
/// (docs/decisions/0020-authorities-under-another.md).
@Suite(.timeLimit(.minutes(2))) struct DistrustedPathTests {
    private static let uri = "spiffe://example.org/web"

    /// Whether somebody who shows the chain is refused as revoked, in a handshake and when an open
    /// connection is judged again.
    private func isRefused(
        _ fixture: Fixture,
        by revocations: PeerRevocations
    ) throws -> Bool {
        let provider = fixture.providers.server
        let requirements = fixture.requirements(provider, revocations: revocations)
        let web = try SPIFFEID(Self.uri)
        let new = try fixture.pair(serverRequires: requirements)
        new.shakeHands()
        #expect(new.serverIsOpen == (new.serverFailure == nil))
        let open = try fixture.pair()
        open.shakeHands()
        let peer = try #require(open.serverPeer)
        let isRefusedLater = requirements.refusal(of: peer) == .revoked(web)
        #expect((new.serverFailure == .peerRefused(.revoked(web))) == isRefusedLater)
        return isRefusedLater
    }

    @Test(arguments: Providers.all, 0..<3)
    func `X-17 an intermediate that is revoked is refused although the peer sends it`(
        _ providers: Providers,
        place: Int
    ) throws {
        var fixture = try Fixture(providers)
        let upper = try fixture.root.intermediate()
        let lower = try upper.intermediate()
        let authorities = [try lower.intermediate(), lower, upper]
        fixture.web = try authorities[0].leaf(Self.uri)
        let revocations = PeerRevocations(authorities: [authorities[place].keyID])
        #expect(try isRefused(fixture, by: revocations))
        let pair = try fixture.pair(
            serverRequires: fixture.requirements(providers.server, revocations: revocations)
        )
        pair.shakeHands()
        #expect(pair.clientReads() == .failed)
        // certificate_revoked.
        #expect(pair.clientFailure == .alertReceived(44))
    }

    @Test(arguments: Providers.all)
    func `X-17 a revoked authority is refused although the bundle holds it`(
        _ providers: Providers
    ) throws {
        var fixture = try Fixture(providers)
        let revocations = PeerRevocations(authorities: [fixture.root.keyID])
        #expect(try isRefused(fixture, by: revocations))
        fixture.web = try fixture.root.intermediate().intermediate().leaf(Self.uri)
        #expect(try isRefused(fixture, by: revocations))
    }

    @Test(arguments: Providers.all)
    func `who is beside a revoked authority is admitted`(_ providers: Providers) throws {
        var fixture = try Fixture(providers)
        let upper = try fixture.root.intermediate()
        let (lower, sibling) = (try upper.intermediate(), try upper.intermediate())
        let revocations = PeerRevocations(authorities: [sibling.keyID])
        for signer in [fixture.root, upper, lower] {
            fixture.web = try signer.leaf(Self.uri)
            #expect(try !isRefused(fixture, by: revocations))
        }
        fixture.web = try sibling.leaf(Self.uri)
        #expect(try isRefused(fixture, by: revocations))
    }

    @Test(arguments: Providers.all)
    func `what a thief calls the authorities that he makes neither hides nor harms`(
        _ providers: Providers
    ) throws {
        var fixture = try Fixture(providers)
        let (stolen, honest) = (try fixture.root.intermediate(), try fixture.root.intermediate())
        let lie = try Certificate.Extension(
            SubjectKeyIdentifier(keyIdentifier: honest.keyID[...]),
            critical: false
        )
        let lying = try stolen.intermediate {
            $0.hasKeyIdentifiers = false
            $0.extraExtensions.append(lie)
        }
        for thief in [lying, try stolen.intermediate { $0.hasKeyIdentifiers = false }] {
            fixture.web = try thief.leaf(Self.uri)
            let byStolen = PeerRevocations(authorities: [stolen.keyID])
            #expect(try isRefused(fixture, by: byStolen))
            let byThief = PeerRevocations(authorities: [thief.keyID])
            #expect(try isRefused(fixture, by: byThief))
            let byName = PeerRevocations(authorities: [honest.keyID])
            #expect(try !isRefused(fixture, by: byName))
        }
    }

    @Test(arguments: Providers.all)
    func `another certificate of a revoked key is refused`(_ providers: Providers) throws {
        var fixture = try Fixture(providers)
        let one = try fixture.root.intermediate()
        let other = try fixture.root.intermediate { $0.publicKey = .init(one.key.publicKey) }
        fixture.web = try other.leaf(Self.uri) { $0.signer = .init(one.key) }
        let revocations = PeerRevocations(authorities: [one.keyID])
        #expect(try isRefused(fixture, by: revocations))
    }

    @Test(arguments: Providers.all)
    func `a leaf is revoked by the key that signed it, not by what it says of that`(
        _ providers: Providers
    ) throws {
        var fixture = try Fixture(providers)
        let signer = try fixture.root.intermediate()
        fixture.web = try signer.leaf(Self.uri)
        let read = try LeafCertificate(der: fixture.web.der)
        func revoking(_ keyID: [UInt8]) -> PeerRevocations {
            PeerRevocations(leaves: [.init(authorityKeyID: keyID, serial: read.serial)])
        }
        #expect(try isRefused(fixture, by: revoking(signer.keyID)))
        let said = try #require(read.authorityKeyID)
        #expect(said != signer.keyID)
        for other in [said, fixture.root.keyID] {
            #expect(try !isRefused(fixture, by: revoking(other)))
        }
    }

    @Test(arguments: Providers.all, 0..<4)
    func `what a tainted authority vouches for counts until its certificate ends, wherever it is`(
        _ providers: Providers,
        place: Int
    ) throws {
        var fixture = try Fixture(providers)
        let upper = try fixture.root.intermediate()
        let lower = try upper.intermediate()
        let beside = try upper.intermediate()
        fixture.web = try lower.leaf(Self.uri)
        let keyIDs = [lower, upper, fixture.root, beside].map(\.keyID)
        let tainted = PeerRevocations(taintedAuthorities: [keyIDs[place]])
        #expect(try !isRefused(fixture, by: tainted))
        let pair = try fixture.pair()
        pair.shakeHands()
        let peer = try #require(pair.serverPeer)
        #expect(peer.path == Array(keyIDs.prefix(3)))
        #expect(tainted.taint(peer) == (place < 3))
        #expect(!PeerRevocations(authorities: [keyIDs[place]]).taint(peer))
    }
}
