// SPDX-License-Identifier: Apache-2.0

import Crypto
import FoundationEssentials
import Reactor
import SPIFFE
import TestPKI
import Testing

@Suite(.timeLimit(.minutes(2))) struct TLSSessionTests {
    private let text = Array("a few bytes".utf8)

    @Test(arguments: Providers.all, [1, 7, 1000, Int.max])
    func `both ends know each other and exchange bytes`(_ providers: Providers, slice: Int) throws {
        let pair = try Fixture(providers).pair(serverName: "db.signet")
        pair.slice = slice
        pair.shakeHands()
        #expect(pair.clientIsOpen)
        #expect(pair.serverIsOpen)
        #expect(pair.clientPeer?.id.description == "spiffe://example.org/db")
        #expect(pair.serverPeer?.id.description == "spiffe://example.org/web")
        #expect(pair.requestedName == "db.signet")
        #expect(!pair.isResumed)
        let long = [UInt8](repeating: 0x5A, count: 40_000)
        pair.clientWrites(long)
        pair.serverWrites(text)
        #expect(pair.serverReads() == .wantsInput)
        #expect(pair.clientReads() == .wantsInput)
        #expect(pair.serverGot == long)
        #expect(pair.clientGot == text)
    }

    @Test(arguments: Providers.all)
    func `a verified peer says what was verified`(_ providers: Providers) throws {
        var fixture = try Fixture(providers)
        let intermediate = try fixture.root.intermediate {
            $0.notAfter = testNow.addingTimeInterval(100)
        }
        fixture.web = try intermediate.leaf("spiffe://example.org/web") { $0.serial = [0x9A, 1] }
        let pair = try fixture.pair()
        pair.shakeHands()
        let peer = try #require(pair.serverPeer)
        #expect(peer.serial == [0x9A, 1])
        #expect(peer.notBefore == testNow.addingTimeInterval(-60))
        #expect(peer.notAfter == testNow.addingTimeInterval(3600))
        #expect(peer.pathNotAfter == testNow.addingTimeInterval(100))
        #expect(peer.path == [intermediate, fixture.root].map(\.keyID))
        #expect(peer.leafSHA256.count == 32)
    }

    @Test(arguments: Providers.all)
    func `the best group that both libraries have is agreed upon`(_ providers: Providers) throws {
        let pair = try Fixture(providers).pair()
        pair.shakeHands()
        let both = TLSGroup.preferred.first {
            providers.client.supports($0) && providers.server.supports($0)
        }
        #expect(pair.clientGroup == both)
        #expect(pair.serverGroup == both)
        #expect(TLSProvider.boringSSL.supports(.x25519MLKEM768))
    }

    @Test(arguments: Providers.all)
    func `a group that only one end wants is not agreed upon`(_ providers: Providers) throws {
        let other = try Fixture(providers).pair(groups: ([.secp256r1], [.secp256r1]))
        other.shakeHands()
        #expect(other.clientGroup == .secp256r1)
        let none = try Fixture(providers).pair(groups: ([.x25519], [.secp256r1]))
        none.shakeHands()
        #expect(!none.serverIsOpen)
        #expect(none.serverFailure?.label == "protocol_error")
    }

    @Test(arguments: Providers.all)
    func `the protocol is agreed upon, or the handshake fails`(_ providers: Providers) throws {
        let pair = try Fixture(providers).pair(
            protocols: (["h2", "http/1.1"], ["http/1.1"])
        )
        pair.shakeHands()
        #expect(pair.clientProtocol == "http/1.1")
        #expect(pair.serverProtocol == "http/1.1")
        let none = try Fixture(providers).pair(protocols: (["h2"], ["http/1.1"]))
        none.shakeHands()
        #expect(!none.serverIsOpen)
        // no_application_protocol.
        #expect(none.clientFailure == .alertReceived(120))
    }

    @Test(arguments: Providers.all)
    func `the server presents the identity that is asked for`(_ providers: Providers) throws {
        let fixture = try Fixture(providers)
        let other = try fixture.root.leaf("spiffe://example.org/cache")
        func name(_ serverName: String?, refuses: Bool = false) throws -> TLSPair {
            let pair = try fixture.pair(
                serverName: serverName,
                otherServers: [other.tlsIdentity(["cache.signet", "second.signet"])],
                unknownNamesAreRefused: refuses
            )
            pair.shakeHands()
            return pair
        }
        for wanted in ["cache.signet", "second.signet", "CACHE.signet"] {
            #expect(try name(wanted).clientPeer?.id.path == "/cache")
        }
        for wanted in ["db.signet", "unknown.signet", nil] {
            #expect(try name(wanted).clientPeer?.id.path == "/db")
        }
        #expect(try name("cache.signet", refuses: true).clientPeer?.id.path == "/cache")
        // unrecognized_name.
        #expect(try name("unknown", refuses: true).clientFailure == .alertReceived(112))
        #expect(try name(nil, refuses: true).clientFailure == .alertReceived(112))
    }

    @Test(arguments: Providers.all)
    func `a server that is not who was to be reached is refused`(_ providers: Providers) throws {
        let fixture = try Fixture(providers)
        let cache = try SPIFFEID("spiffe://example.org/cache")
        let pair = try fixture.pair(
            clientRequires: fixture.requirements(providers.client, expected: [cache])
        )
        pair.shakeHands()
        #expect(!pair.clientIsOpen)
        let db = try SPIFFEID(fixture.db.uri)
        #expect(pair.clientFailure == .peerRefused(.unexpected(db)))
        #expect(!pair.serverIsOpen)
        // OpenSSL's client sends its alert in a form that BoringSSL cannot read by then.
        let isLegible = providers.client != .openSSL || providers.server != .boringSSL
        #expect(pair.serverFailure == .alertReceived(42) || !isLegible)
    }

    @Test(arguments: Providers.all)
    func `who is revoked is refused, and told so`(_ providers: Providers) throws {
        let fixture = try Fixture(providers)
        let web = try SPIFFEID(fixture.web.uri)
        let read = try LeafCertificate(der: fixture.web.der)
        let byIdentity = PeerRevocations(identities: [web: testNow])
        let byLeaf = PeerRevocations(leaves: [
            .init(authorityKeyID: fixture.root.keyID, serial: read.serial)
        ])
        for revocations in [byIdentity, byLeaf] {
            let pair = try fixture.pair(
                serverRequires: fixture.requirements(providers.server, revocations: revocations)
            )
            pair.shakeHands()
            #expect(pair.serverFailure == .peerRefused(.revoked(web)))
            #expect(pair.clientReads() == .failed)
            #expect(pair.clientFailure == .alertReceived(44))
        }
        let newer = PeerRevocations(identities: [web: testNow.addingTimeInterval(-60)])
        let pair = try fixture.pair(
            serverRequires: fixture.requirements(providers.server, revocations: newer)
        )
        pair.shakeHands()
        #expect(pair.serverIsOpen)
    }

    @Test(arguments: Providers.all)
    func `an expired peer is told so`(_ providers: Providers) throws {
        var fixture = try Fixture(providers)
        fixture.web = try fixture.root.leaf("spiffe://example.org/web", .expired)
        let pair = try fixture.pair()
        pair.shakeHands()
        #expect(pair.serverFailure == .peerRefused(.verification(.expired)))
        #expect(pair.clientReads() == .failed)
        #expect(pair.clientFailure == .alertReceived(45))
    }

    @Test(arguments: Providers.all)
    func `each side ends by itself`(_ providers: Providers) throws {
        let pair = try Fixture(providers).pair()
        pair.shakeHands()
        pair.clientWrites(text)
        pair.client.shutdown(output: &pair.toServer)
        #expect(pair.serverReads() == .end)
        #expect(pair.serverGot == text)
        // The other direction is open still.
        pair.serverWrites(text)
        #expect(pair.clientReads() == .wantsInput)
        #expect(pair.clientGot == text)
        pair.server.shutdown(output: &pair.toClient)
        #expect(pair.clientReads() == .end)
    }

    @Test(arguments: Providers.all)
    func `a changed byte ends the connection`(_ providers: Providers) throws {
        let pair = try Fixture(providers).pair()
        pair.shakeHands()
        pair.clientWrites(text)
        var changed = pair.toServer.copy()
        changed[changed.count - 1] ^= 1
        pair.toServer.clear()
        pair.toServer.append(changed.span)
        #expect(pair.serverReads() == .failed)
        #expect(pair.serverFailure?.label == "protocol_error")
        #expect(pair.serverGot.isEmpty)
    }

    @Test(arguments: Providers.all)
    func `keys are renewed after an hour, and both ends go on`(_ providers: Providers) throws {
        let pair = try Fixture(providers).pair()
        pair.shakeHands()
        pair.now += TLSSession.keyMillisecondsMax - 1
        pair.clientWrites(text)
        #expect(pair.clientKeyUpdates == 0)
        pair.now += 1
        pair.clientWrites(text)
        #expect(pair.clientKeyUpdates == 1)
        #expect(pair.serverReads() == .wantsInput)
        pair.serverWrites(text)
        #expect(pair.clientReads() == .wantsInput)
        #expect(pair.serverGot == text + text)
        #expect(pair.clientGot == text)
    }

    @Test(arguments: Providers.all)
    func `keys are renewed after so many records, and both ends go on`(
        _ providers: Providers
    ) throws {
        #expect(TLSSession.recordsPerKeyMax == 1 << 23)
        let pair = try Fixture(providers).pair(clientKeyLimits: KeyLimits(records: 3))
        pair.shakeHands()
        var updates: [UInt32] = []
        for _ in 0..<9 {
            pair.clientWrites(text)
            updates.append(pair.clientKeyUpdates)
        }
        // Counting begins anew with each key.
        #expect(updates == [0, 0, 0, 1, 1, 1, 2, 2, 2])
        // Three records in one piece.
        let long = [UInt8](repeating: 0x5A, count: 2 * TLSSession.recordBytesMax + 1)
        pair.clientWrites(long)
        #expect(pair.clientKeyUpdates == 3)
        pair.clientWrites(text)
        #expect(pair.clientKeyUpdates == 4)
        #expect(pair.serverReads() == .wantsInput)
        pair.serverWrites(text)
        #expect(pair.clientReads() == .wantsInput)
        #expect(pair.serverGot == Array(repeating: text, count: 9).flatMap { $0 } + long + text)
        #expect(pair.clientGot == text)
    }

    @Test(arguments: Providers.all)
    func `keys are renewed after so many bytes, and both ends go on`(
        _ providers: Providers
    ) throws {
        #expect(TLSSession.bytesPerKeyMax == 1 << 36)
        let pair = try Fixture(providers).pair(clientKeyLimits: KeyLimits(bytes: 1_000))
        pair.shakeHands()
        let (most, last) = ([UInt8](repeating: 1, count: 999), [UInt8](repeating: 2, count: 1))
        var updates: [UInt32] = []
        for part in [most, last, most, last, most] {
            pair.clientWrites(part)
            updates.append(pair.clientKeyUpdates)
        }
        #expect(updates == [0, 0, 1, 1, 2])
        #expect(pair.serverReads() == .wantsInput)
        pair.serverWrites(text)
        #expect(pair.clientReads() == .wantsInput)
        #expect(pair.serverGot == most + last + most + last + most)
        #expect(pair.clientGot == text)
    }

    @Test(arguments: Providers.all)
    func `a new key is one for the peer as well, who counts them`(_ providers: Providers) throws {
        let pair = try Fixture(providers).pair(clientKeyLimits: KeyLimits(records: 1))
        pair.shakeHands()
        // The first needs none.
        for _ in 0...TLSSession.postHandshakePerMinuteMax { pair.clientWrites(text) }
        #expect(pair.serverReads() == .wantsInput)
        pair.clientWrites(text)
        #expect(pair.serverReads() == .failed)
        #expect(pair.serverFailure == .postHandshakeFlood)
    }

    @Test(arguments: Providers.all)
    func `a flood of new keys ends the connection`(_ providers: Providers) throws {
        let pair = try Fixture(providers).pair()
        pair.shakeHands()
        for _ in 0..<TLSSession.postHandshakePerMinuteMax {
            pair.client.updateKeys(now: pair.now)
            pair.clientWrites(text)
        }
        #expect(pair.serverReads() == .wantsInput)
        // A minute later the same is welcome again.
        pair.now += 60_000
        for _ in 0..<TLSSession.postHandshakePerMinuteMax {
            pair.client.updateKeys(now: pair.now)
            pair.clientWrites(text)
        }
        #expect(pair.serverReads() == .wantsInput)
        pair.client.updateKeys(now: pair.now)
        pair.clientWrites(text)
        #expect(pair.serverReads() == .failed)
        #expect(pair.serverFailure == .postHandshakeFlood)
    }

    @Test(arguments: TLSProvider.allCases)
    func `an identity that does not fit together is refused`(_ provider: TLSProvider) throws {
        let root = try TestAuthority.root("example.org")
        let (one, two) = (try root.leaf("spiffe://a/b"), try root.leaf("spiffe://a/c"))
        func context(_ chain: [[UInt8]], _ key: [UInt8]) throws(TLSContextError) -> TLSContext {
            try TLSContext(
                provider: provider,
                role: .server,
                identities: [.init(chain: chain, privateKeyPKCS8: key)]
            )
        }
        let key = Array(one.key.derRepresentation)
        #expect(throws: TLSContextError.keyDiffers(index: 0)) { try context(two.chain, key) }
        #expect(throws: TLSContextError.keyUnreadable(index: 0)) {
            try context(one.chain, key + [0])
        }
        #expect(throws: TLSContextError.certificateUnreadable(index: 0)) {
            try context([[0x30, 0]], key)
        }
        #expect(throws: TLSContextError.certificateUnreadable(index: 0)) { try context([], key) }
        #expect(throws: TLSContextError.identityMissing) {
            try TLSContext(provider: provider, role: .client, identities: [])
        }
    }
}
