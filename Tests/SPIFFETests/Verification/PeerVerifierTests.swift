// SPDX-License-Identifier: Apache-2.0

import CryptoExtras
import Crypto
import FoundationEssentials
import SPIFFE
import SwiftASN1
import TestPKI
import Testing
import X509

@Suite struct PeerVerifierTests {
    private static let uri = "spiffe://example.org/web"
    private let root: TestAuthority
    private let web: SPIFFEID

    init() throws {
        root = try TestAuthority.root("example.org")
        web = try SPIFFEID(Self.uri)
    }

    @Test func `a verified peer says what was verified`() async throws {
        let intermediate = try root.intermediate { $0.notAfter = testNow.addingTimeInterval(100) }
        let leaf = try intermediate.leaf(Self.uri) { $0.serial = [0x9A, 0x01] }
        let verifier = PeerVerifier(bundles: [root.trustDomain: root.bundle])
        let peer = try await verifier.verify(chain: leaf.chain, now: testNow)
        #expect(peer.id == web)
        #expect(peer.serial == [0x9A, 0x01])
        #expect(peer.notBefore == testNow.addingTimeInterval(-60))
        #expect(peer.notAfter == testNow.addingTimeInterval(3600))
        #expect(peer.pathNotAfter == testNow.addingTimeInterval(100))
        #expect(peer.spkiSHA256 == Array(SHA256.hash(data: leaf.key.publicKey.derRepresentation)))
        #expect(peer.path == [intermediate, root].map(keyID))
        #expect(verifier.unusableAuthorities.isEmpty)
    }

    /// Computed from the key alone, by neither of the readings.
    private func keyID(_ authority: TestAuthority) -> [UInt8] {
        Array(SHA256.hash(data: authority.key.publicKey.x963Representation).prefix(20))
    }

    @Test func `both readings find the same ID of an authority's key, of whatever kind`()
        async throws
    {
        let rsa = try _RSA.Signing.PrivateKey(keySize: .bits2048)
        let (p384, ed25519) = (P384.Signing.PrivateKey(), Curve25519.Signing.PrivateKey())
        let kinds: [(Certificate.PublicKey, Certificate.PrivateKey)] = [
            (.init(rsa.publicKey), .init(rsa)), (.init(p384.publicKey), .init(p384)),
            (.init(ed25519.publicKey), .init(ed25519)),
        ]
        for (publicKey, key) in kinds {
            let authority = try TestAuthority.root("example.org") {
                ($0.publicKey, $0.signer) = (publicKey, key)
            }
            let leaf = try authority.leaf(Self.uri) { $0.signer = key }
            let verifier = PeerVerifier(bundles: [authority.trustDomain: authority.bundle])
            let peer = try await verifier.verify(chain: leaf.chain, now: testNow)
            #expect(peer.path == [try LeafCertificate(der: authority.der).keyIdentifier.bytes])
        }
    }

    @Test func `X-17 a peer's path names each authority by its key, whatever a thief writes`()
        async throws
    {
        let stolen = try root.intermediate()
        let lie = try Certificate.Extension(
            SubjectKeyIdentifier(keyIdentifier: keyID(root)[...]),
            critical: false
        )
        // Below the stolen one, with the root's name for a key, and none at all.
        let lying = try stolen.intermediate {
            $0.hasKeyIdentifiers = false
            $0.extraExtensions.append(lie)
        }
        let silent = try stolen.intermediate { $0.hasKeyIdentifiers = false }
        let verifier = PeerVerifier(bundles: [root.trustDomain: root.bundle])
        for thief in [lying, silent] {
            let leaf = try thief.leaf(Self.uri)
            let peer = try await verifier.verify(chain: leaf.chain, now: testNow)
            #expect(peer.path == [thief, stolen, root].map(keyID))
        }
    }

    @Test func `X-17 another certificate of the same key has the same place in the path`()
        async throws
    {
        let one = try root.intermediate()
        let other = try root.intermediate { $0.publicKey = .init(one.key.publicKey) }
        let leaf = try other.leaf(Self.uri) { $0.signer = .init(one.key) }
        let verifier = PeerVerifier(bundles: [root.trustDomain: root.bundle])
        let peer = try await verifier.verify(chain: leaf.chain, now: testNow)
        #expect(peer.path == [one, root].map(keyID))
    }

    @Test func `a leaf that the bundle itself holds has no path`() async throws {
        let leaf = try root.leaf(Self.uri)
        let bundle = TrustBundle(
            trustDomain: root.trustDomain,
            x509Authorities: [leaf.der],
            x509Intermediates: [],
            sequenceNumber: 1,
            refreshHintSeconds: 300
        )
        let verifier = PeerVerifier(bundles: [root.trustDomain: bundle])
        let verdict = await Verdict.of(leaf.chain, by: verifier)
        #expect(verdict == .refused(.noPath) || verdict.isPathRefused, "\(verdict)")
    }

    @Test(arguments: ["127.0.0.1", "example.org", "a_b", "1td", "localhost"])
    func `ID-4 a peer of any trust domain is verified alike`(_ name: String) async throws {
        let authority = try TestAuthority.root(name)
        let leaf = try authority.leaf("spiffe://\(name)/x")
        #expect(
            await Verdict.of(leaf.chain, trusting: [authority])
                == .accepted(try SPIFFEID("spiffe://\(name)/x"))
        )
    }

    @Test func `X-12 an expired certificate anywhere in the path is refused`() async throws {
        let leaf = try root.leaf(Self.uri, .expired)
        #expect(await Verdict.of(leaf.chain, trusting: [root]) == .refused(.expired))
        let intermediate = try root.intermediate { $0.notAfter = testNow.addingTimeInterval(-1) }
        let below = try intermediate.leaf(Self.uri)
        #expect(await Verdict.of(below.chain, trusting: [root]).isPathRefused)
        let old = try TestAuthority.root("example.org") {
            $0.notAfter = testNow.addingTimeInterval(-1)
        }
        #expect(
            await Verdict.of(try old.leaf(Self.uri).chain, trusting: [old]).isPathRefused
        )
    }

    @Test func `X-12 a certificate that is not yet valid is refused`() async throws {
        let leaf = try root.leaf(Self.uri, .notYetValid)
        #expect(await Verdict.of(leaf.chain, trusting: [root]) == .refused(.notYetValid))
        let intermediate = try root.intermediate { $0.notBefore = testNow.addingTimeInterval(1) }
        let below = try intermediate.leaf(Self.uri)
        #expect(await Verdict.of(below.chain, trusting: [root]).isPathRefused)
    }

    @Test func `X-12 the given time decides, to the fraction of a second`() async throws {
        let leaf = try root.leaf(Self.uri)
        let (first, last) = (leaf.certificate.notValidBefore, leaf.certificate.notValidAfter)
        func verdict(_ now: Date) async -> Verdict {
            await Verdict.of(leaf.chain, trusting: [root], now: now)
        }
        #expect(await verdict(first) == .accepted(web))
        #expect(await verdict(last) == .accepted(web))
        #expect(await verdict(first.addingTimeInterval(-0.1)) == .refused(.notYetValid))
        #expect(await verdict(last.addingTimeInterval(0.1)) == .refused(.expired))
    }

    @Test(arguments: [
        -Double.infinity, -1e18, -62_167_219_201, 0, 253_402_300_800, 1e18, .infinity, .nan,
    ])
    func `no clock makes the verifier trap`(_ seconds: Double) async throws {
        let leaf = try root.leaf(Self.uri) {
            $0.notBefore = Date(timeIntervalSince1970: -62_167_219_200)
            $0.notAfter = Date(timeIntervalSince1970: 253_402_300_799)
        }
        let now = Date(timeIntervalSince1970: seconds)
        guard case .refused = await Verdict.of(leaf.chain, trusting: [root], now: now) else {
            Issue.record("accepted")
            return
        }
    }

    @Test func `X-12 a wrong signature or issuer is refused`() async throws {
        let forged = try root.leaf(Self.uri, .signatureWrong)
        #expect(await Verdict.of(forged.chain, trusting: [root]) == .refused(.noPath))
        let other = try DistinguishedName { CommonName("someone else") }
        let renamed = try root.leaf(Self.uri) { $0.issuer = other }
        #expect(await Verdict.of(renamed.chain, trusting: [root]) == .refused(.noPath))
        let twin = try TestAuthority.root("example.org") {
            $0.subject = root.certificate.subject
        }
        let impostor = try twin.leaf(Self.uri)
        #expect(await Verdict.of(impostor.chain, trusting: [root]) == .refused(.noPath))
        #expect(await Verdict.of(impostor.chain, trusting: [root, twin]) == .accepted(web))
    }

    @Test func `X-12 a chain without its intermediate is refused`() async throws {
        let leaf = try root.intermediate().leaf(Self.uri)
        #expect(await Verdict.of([leaf.der], trusting: [root]) == .refused(.noPath))
    }

    @Test func `X-12 an unknown critical extension is refused anywhere in the path`() async throws {
        let leaf = try root.leaf(Self.uri, .unknownCriticalExtension)
        #expect(
            await Verdict.of(leaf.chain, trusting: [root])
                == .refused(.ruleBroken(.criticalExtensionUnknown))
        )
        let unknown = Certificate.Extension(
            oid: TestDefect.unknownExtension,
            critical: true,
            value: [5, 0]
        )
        let intermediate = try root.intermediate { $0.extraExtensions.append(unknown) }
        let below = try intermediate.leaf(Self.uri)
        #expect(await Verdict.of(below.chain, trusting: [root]) == .refused(.noPath))
        let anchor = try TestAuthority.root("example.org") { $0.extraExtensions.append(unknown) }
        let under = try anchor.leaf(Self.uri)
        #expect(await Verdict.of(under.chain, trusting: [anchor]) == .refused(.noPath))
    }

    @Test func `X-12 a path longer than its constraint is refused`() async throws {
        let short = try TestAuthority.root("example.org") {
            $0.basicConstraints = .isCertificateAuthority(maxPathLength: 0)
        }
        #expect(
            await Verdict.of(try short.leaf(Self.uri).chain, trusting: [short]) == .accepted(web)
        )
        let below = try short.intermediate().leaf(Self.uri)
        #expect(await Verdict.of(below.chain, trusting: [short]).isPathRefused)
        let one = try TestAuthority.root("example.org") {
            $0.basicConstraints = .isCertificateAuthority(maxPathLength: 1)
        }
        let allowed = try one.intermediate().leaf(Self.uri)
        #expect(await Verdict.of(allowed.chain, trusting: [one]) == .accepted(web))
        let refused = try one.intermediate().intermediate().leaf(Self.uri)
        #expect(await Verdict.of(refused.chain, trusting: [one]).isPathRefused)
    }

    @Test func `X-12 an algorithm that does not fit the key is refused`() async throws {
        let rsa = try _RSA.Signing.PrivateKey(keySize: .bits2048)
        let leaf = try root.leaf(Self.uri) { $0.signer = .init(rsa) }
        #expect(await Verdict.of(leaf.chain, trusting: [root]) == .refused(.noPath))
    }

    @Test func `X-12 a SHA-1 signature below an authority is refused`() async throws {
        let rsa = try _RSA.Signing.PrivateKey(keySize: .bits2048)
        let authority = try TestAuthority.root("example.org") {
            $0.publicKey = .init(rsa.publicKey)
            $0.signer = .init(rsa)
        }
        let good = try authority.leaf(Self.uri) { $0.signer = .init(rsa) }
        #expect(await Verdict.of(good.chain, trusting: [authority]) == .accepted(web))
        let weak = try authority.intermediate {
            $0.signer = .init(rsa)
            $0.signatureAlgorithm = .sha1WithRSAEncryption
        }
        let below = try weak.leaf(Self.uri)
        #expect(await Verdict.of(below.chain, trusting: [authority]).isPathRefused)
    }

    @Test func `the order of intermediates and a root sent along do not matter`() async throws {
        let leaf = try root.intermediate().intermediate().leaf(Self.uri)
        #expect(await Verdict.of(leaf.chain, trusting: [root]) == .accepted(web))
        #expect(await Verdict.of(leaf.chain + [root.der], trusting: [root]) == .accepted(web))
        let shuffled = [leaf.chain[0], leaf.chain[2], leaf.chain[1]]
        #expect(await Verdict.of(shuffled, trusting: [root]) == .accepted(web))
    }

    @Test func `a chain of more certificates or bytes than the limit is refused`() async throws {
        let leaf = try root.leaf(Self.uri)
        #expect(await Verdict.of([], trusting: [root]) == .refused(.chainEmpty))
        let long = [[UInt8]](repeating: leaf.der, count: PeerVerifier.chainCountMax + 1)
        #expect(await Verdict.of(long, trusting: [root]) == .refused(.chainTooLong))
        let filler = [UInt8](repeating: 0, count: PeerVerifier.chainBytesMax)
        #expect(await Verdict.of([leaf.der, filler], trusting: [root]) == .refused(.chainTooLarge))
        let oversize = try root.leaf(Self.uri, .oversize)
        #expect(
            await Verdict.of(oversize.chain, trusting: [root])
                == .refused(.leafMalformed(.tooLong))
        )
        #expect(
            await Verdict.of([leaf.der, [1, 2, 3]], trusting: [root])
                == .refused(.certificateMalformed(index: 1))
        )
    }

    @Test func `an empty bundle trusts nobody`() async throws {
        let empty = TrustBundle(
            trustDomain: root.trustDomain,
            x509Authorities: [],
            x509Intermediates: [],
            sequenceNumber: 2,
            refreshHintSeconds: 300
        )
        let verifier = PeerVerifier(bundles: [root.trustDomain: empty])
        let leaf = try root.leaf(Self.uri)
        #expect(await Verdict.of(leaf.chain, by: verifier) == .refused(.noPath))
    }

    @Test func `nobody trusts an authority for being among the intermediates of a bundle`()
        async throws
    {
        let (intermediate, other) = (
            try root.intermediate(), try TestAuthority.root("example.org")
        )
        let bundle = TrustBundle(
            trustDomain: root.trustDomain,
            x509Authorities: [other.der],
            x509Intermediates: [intermediate.der],
            sequenceNumber: 2,
            refreshHintSeconds: 300
        )
        let verifier = PeerVerifier(bundles: [root.trustDomain: bundle])
        let leaf = try intermediate.leaf(Self.uri)
        #expect(await Verdict.of(leaf.chain, by: verifier) == .refused(.noPath))
    }

    @Test func `an authority that does not parse is left out and reported`() async throws {
        let bundle = TrustBundle(
            trustDomain: root.trustDomain,
            x509Authorities: [[0x30, 0x00], root.der],
            x509Intermediates: [],
            sequenceNumber: 2,
            refreshHintSeconds: 300
        )
        let verifier = PeerVerifier(bundles: [root.trustDomain: bundle])
        #expect(verifier.unusableAuthorities.map(\.index) == [0])
        #expect(verifier.unusableAuthorities.map(\.trustDomain) == [root.trustDomain])
        let leaf = try root.leaf(Self.uri)
        #expect(await Verdict.of(leaf.chain, by: verifier) == .accepted(web))
    }

    @Test func `a bundle under another name or with too many authorities is left out`() async throws
    {
        let leaf = try root.leaf(Self.uri)
        let other = try TrustDomain("other.example")
        let misfiled = TrustBundle(
            trustDomain: other,
            x509Authorities: [root.der],
            x509Intermediates: [],
            sequenceNumber: 1,
            refreshHintSeconds: 300
        )
        let crowded = TrustBundle(
            trustDomain: root.trustDomain,
            x509Authorities: .init(repeating: root.der, count: TrustBundle.authoritiesMax + 1),
            x509Intermediates: [],
            sequenceNumber: 1,
            refreshHintSeconds: 300
        )
        for bundle in [misfiled, crowded] {
            let verifier = PeerVerifier(bundles: [root.trustDomain: bundle])
            #expect(verifier.unusableAuthorities.count == bundle.x509Authorities.count)
            #expect(
                await Verdict.of(leaf.chain, by: verifier)
                    == .refused(.trustDomainUnknown(root.trustDomain))
            )
        }
    }

    @Test func `a refusal quotes the peer's certificate shortened and on one line`() async throws {
        let loud = try DistinguishedName {
            CommonName("x\n\u{1B}[31mFORGED LOG LINE" + String(repeating: "A", count: 3000))
        }
        let intermediate = try root.intermediate {
            $0.subject = loud
            $0.notAfter = testNow.addingTimeInterval(-1)
        }
        let leaf = try intermediate.leaf(Self.uri)
        let verdict = await Verdict.of(leaf.chain, trusting: [root])
        guard case .refused(let error) = verdict else {
            Issue.record("accepted")
            return
        }
        #expect(verdict.isPathRefused)
        #expect(error.description.utf8.count < 300)
        #expect(error.description.utf8.allSatisfy { (0x20..<0x7F).contains($0) })
    }
}
