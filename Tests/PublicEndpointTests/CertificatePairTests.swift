// SPDX-License-Identifier: Apache-2.0

import Crypto
import FoundationEssentials
import PublicEndpoint
import TestPKI
import Testing
import X509

@Suite struct CertificatePairTests {
    private let now = WebCertificate.now
    private let web: WebCertificate
    private let other: WebCertificate

    init() throws {
        web = try WebCertificate()
        other = try WebCertificate()
    }

    private func error(
        _ certificates: String,
        _ key: String,
        now: Date = WebCertificate.now
    ) -> CertificatePairError? {
        do throws(CertificatePairError) {
            let bytes = Array(certificates.utf8)
            _ = try CertificatePair(certificates: bytes, key: Array(key.utf8), now: now)
            return nil
        } catch { return error }
    }

    @Test func `a chain with its key is taken, also from one file`() {
        #expect(error(web.leaf + "\n" + web.intermediate, web.key) == nil)
        let file = web.leaf + "\n" + web.intermediate + "\n" + web.key
        #expect(error(file, file) == nil)
    }

    @Test func `a pair that does not fit is refused by name`() {
        let chain = web.leaf + "\n" + web.intermediate
        #expect(error(chain, other.key) == .otherKey)
        #expect(error(web.leaf + "\n" + other.intermediate, web.key) == .chainBroken)
        #expect(error(web.intermediate + "\n" + web.leaf, web.key) == .otherKey)
        #expect(error("", web.key) == .noCertificate)
        #expect(error(web.key, web.key) == .noCertificate)
        #expect(error(chain, chain) == .noKey)
        #expect(error(chain, web.key + "\n" + other.key) == .severalKeys)
        #expect(error("-----BEGIN CERTIFICATE-----\nx", web.key) == .certificateUnreadable)
        #expect(
            error("-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----", web.key)
                == .certificateUnreadable
        )
        let noKey = "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n"
        #expect(error(chain, noKey) == .keyUnreadable)
        #expect(
            error(Array(repeating: web.leaf, count: 11).joined(separator: "\n"), web.key)
                == .tooManyCertificates
        )
    }

    @Test func `an SVID is taken with its key, and with no other`() throws {
        let authority = try TestAuthority.root("example.org", now: now)
        let leaf = try authority.leaf("spiffe://example.org/signet/bundle")
        let key = Array(leaf.key.derRepresentation)
        let pair = try CertificatePair(svid: [leaf.der], privateKey: key)
        #expect(pair.notAfter == leaf.certificate.notValidAfter)
        let stranger = try authority.leaf("spiffe://example.org/signet/bundle")
        for (chain, key) in [
            ([stranger.der], key), ([], key), ([[0x30, 0x00]], key), ([leaf.der], [0x30, 0x00]),
        ] {
            #expect(throws: CertificatePairError.self) {
                try CertificatePair(svid: chain, privateKey: key)
            }
        }
    }

    @Test func `a pair is taken from its beginning to its end`() throws {
        let chain = web.leaf + "\n" + web.intermediate
        let pair = try web.pair()
        #expect(error(chain, web.key, now: pair.notBefore) == nil)
        let early = pair.notBefore.addingTimeInterval(-1)
        #expect(error(chain, web.key, now: early) == .notYet(pair.notBefore))
        #expect(error(chain, web.key, now: pair.notAfter) == .ended(pair.notAfter))
    }

    @Test func `what an operator should know is noted`() throws {
        let pair = try web.pair()
        #expect(pair.notes(host: "id.example.org", now: now) == [])
        #expect(pair.notes(host: "x.example.org", now: now) == [.otherName("x.example.org")])
        let late = pair.notAfter.addingTimeInterval(-WebCertificate.life / 10 + 1)
        #expect(pair.notes(host: "id.example.org", now: late) == [.endsSoon(pair.notAfter)])
        #expect(pair.notes(host: "id.example.org", now: pair.notAfter) == [.ended(pair.notAfter)])
        let alone = try CertificatePair(
            certificates: Array(web.leaf.utf8),
            key: web.keyBytes,
            now: now
        )
        #expect(alone.notes(host: "id.example.org", now: now) == [.noIntermediate])
    }

    @Test(arguments: [
        ("a.example.org", true), ("b.a.example.org", false), ("example.org", false),
        ("localhost", false),
    ])
    func `a star stands for one label`(host: String, isNamed: Bool) throws {
        let pair = try WebCertificate(["*.EXAMPLE.org"]).pair()
        #expect(pair.notes(host: host, now: now).isEmpty == isNamed)
    }

    @Test func `the last good pair stays until another one fits`() throws {
        var keeper = CertificateKeeper()
        #expect(keeper.looked(.success(web.files), now: now) == .taken)
        #expect(keeper.looked(.success(web.files), now: now) == .unchanged)
        // The certificate was renamed into its place, its key not yet.
        let half = CertificateKeeper.Files(certificates: other.chain, key: web.keyBytes)
        let why = CertificatePairError.otherKey.description
        #expect(keeper.looked(.success(half), now: now) == .refused(why))
        #expect(keeper.looked(.success(half), now: now) == .refused(why))
        #expect(keeper.pair != nil)
        #expect(keeper.looked(.success(other.files), now: now) == .taken)
    }

    @Test func `a pair whose time has not come is tried again`() throws {
        var keeper = CertificateKeeper()
        let begin = try web.pair().notBefore
        let early = begin.addingTimeInterval(-60)
        guard case .refused = keeper.looked(.success(web.files), now: early) else {
            Issue.record("taken before its time")
            return
        }
        #expect(keeper.pair == nil)
        #expect(keeper.looked(.success(web.files), now: begin) == .taken)
        // It is served on beyond its end: there is no better one.
        let late = begin.addingTimeInterval(2 * WebCertificate.life)
        #expect(keeper.looked(.success(web.files), now: late) == .unchanged)
    }
}
