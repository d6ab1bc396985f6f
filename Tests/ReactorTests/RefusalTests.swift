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
            PeerRequirements(authorities: nobody).refusal(of: peer)
                == .verification(.trustDomainUnknown(id.trustDomain))
        )
    }

    @Test(arguments: Providers.all)
    func `a client that was done already hears that its certificate is refused`(
        _ providers: Providers
    ) throws {
        let fixture = try Fixture(providers)
        let nobody = TLSAuthorities(provider: providers.server, bundles: [:])
        let pair = try fixture.pair(serverRequires: PeerRequirements(authorities: nobody))
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
