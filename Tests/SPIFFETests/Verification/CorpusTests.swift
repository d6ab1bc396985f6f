// SPDX-License-Identifier: Apache-2.0

import Crypto
import CryptoExtras
import FoundationEssentials
import SPIFFE
import SwiftASN1
import TestPKI
import TestSeeds
import Testing
import X509

/// What one reader of a leaf says about it.
enum LeafVerdict: Equatable {
    case accepted(SPIFFEID)
    /// The encoding is refused; the two parsers word that differently.
    case malformed
    case ruleBroken(X509SVIDError)

    /// The reading of `LeafCertificate`, as the proxy uses it.
    static func reader(_ der: [UInt8]) -> LeafVerdict {
        guard let leaf = try? LeafCertificate(der: der) else { return .malformed }
        do throws(X509SVIDError) {
            return .accepted(try leaf.checkSVIDRules())
        } catch {
            return .ruleBroken(error)
        }
    }

    /// The reading of swift-certificates with `SPIFFEPolicy`, as the control plane uses it.
    static func policy(_ der: [UInt8]) -> LeafVerdict {
        guard let leaf = try? Certificate(derEncoded: der) else { return .malformed }
        do throws(X509SVIDError) {
            return .accepted(try SPIFFEPolicy.check(leaf: leaf))
        } catch {
            return error == .extensionMalformed || error == .versionNot3
                ? .malformed : .ruleBroken(error)
        }
    }

    var isAccepted: Bool {
        if case .accepted = self { true } else { false }
    }
}

/// The corpus: one set of leaves that every verifier judges alike.
@Suite struct CorpusTests {
    private static let uri = "spiffe://example.org/web"

    @Test(arguments: TestDefect.allCases)
    func `both readings of a spoilt leaf agree`(_ defect: TestDefect) throws {
        let leaf = try TestAuthority.root("example.org").leaf(Self.uri, defect)
        let verdict = LeafVerdict.reader(leaf.der)
        if defect == .oversize {
            // swift-certificates has no limit of its own; PeerVerifier reads with both.
            #expect(verdict == .malformed)
            return
        }
        #expect(verdict == LeafVerdict.policy(leaf.der))
        let concernsOnlyThePath: Set<TestDefect> = [.expired, .notYetValid, .signatureWrong]
        #expect(verdict.isAccepted == concernsOnlyThePath.contains(defect))
    }

    @Test(arguments: TestDefect.allCases)
    func `the verifier refuses every spoilt leaf`(_ defect: TestDefect) async throws {
        let root = try TestAuthority.root("example.org")
        let leaf = try root.leaf(Self.uri, defect)
        guard case .refused = await Verdict.of(leaf.chain, trusting: [root]) else {
            Issue.record("accepted")
            return
        }
    }

    @Test func `both readings of a good leaf agree`() throws {
        let leaves = try goodLeaves()
        for leaf in leaves {
            #expect(LeafVerdict.reader(leaf.der) == .accepted(try SPIFFEID(leaf.uri)))
            #expect(LeafVerdict.policy(leaf.der) == .accepted(try SPIFFEID(leaf.uri)))
        }
    }

    private func goodLeaves() throws -> [TestLeaf] {
        let root = try TestAuthority.root("example.org")
        let rsa = try _RSA.Signing.PrivateKey(keySize: .bits2048)
        return [
            try root.leaf(Self.uri),
            try root.leaf("spiffe://10.0.0.1/x"),
            try root.leaf("spiffe://a_b/.../x"),
            try root.leaf(Self.uri) { $0.serial = [0x80] },
            try root.leaf(Self.uri) { $0.serial = [UInt8](repeating: 0xFF, count: 20) },
            try root.leaf(Self.uri) { $0.hasKeyIdentifiers = false },
            try root.leaf(Self.uri) { $0.publicKey = .init(P384.Signing.PrivateKey().publicKey) },
            try root.leaf(Self.uri) {
                $0.publicKey = .init(Curve25519.Signing.PrivateKey().publicKey)
            },
            try root.leaf(Self.uri) { $0.publicKey = .init(rsa.publicKey) },
            try root.leaf(Self.uri) { $0.signer = .init(rsa) },
            try root.leaf(Self.uri) { $0.signer = .init(P384.Signing.PrivateKey()) },
            try root.leaf(Self.uri) { $0.signer = .init(Curve25519.Signing.PrivateKey()) },
            try root.leaf(Self.uri) { $0.notAfter = Date(timeIntervalSince1970: 5e9) },
            try root.leaf(Self.uri) {
                $0.extraExtensions.append(
                    .init(oid: TestDefect.unknownExtension, critical: false, value: [0x00])
                )
            },
        ]
    }

    @Test func `both readings refuse a SHA-1 signature`() throws {
        let rsa = try _RSA.Signing.PrivateKey(keySize: .bits2048)
        let leaf = try TestAuthority.root("example.org").leaf(Self.uri) {
            $0.signer = .init(rsa)
            $0.signatureAlgorithm = .sha1WithRSAEncryption
        }
        #expect(LeafVerdict.reader(leaf.der) == .ruleBroken(.signatureAlgorithmRefused))
        #expect(LeafVerdict.policy(leaf.der) == .ruleBroken(.signatureAlgorithmRefused))
    }

    /// Encodings that only the reader refuses; PeerVerifier asks both, so it refuses them too.
    ///
    /// The list is complete: an update of swift-certificates that changes it fails here.
    @Test func `where the readings differ the reader is the stricter one`() throws {
        var onlyByReader: Set<String> = []
        for refused in RefusedEncoding.all {
            var certificate = HandmadeCertificate()
            refused.spoil(&certificate)
            #expect(LeafVerdict.reader(certificate.der) == .malformed)
            if LeafVerdict.policy(certificate.der).isAccepted { onlyByReader.insert(refused.what) }
        }
        #expect(
            onlyByReader == [
                "different algorithms", "empty relative name", "tag of two bytes",
                "key identifier not an octet string", "authority key identifier out of order",
            ]
        )
    }

    @Test(arguments: [UInt64(1), 2, 3, 4, 5, 6])
    func `no change of bytes makes the readings differ or the reader trap`(seed: UInt64) throws {
        var random = SeededGenerator(seed: seed)
        let leaf = try TestAuthority.root("example.org").leaf(Self.uri) {
            $0.dnsNames = ["web.example.org"]
        }
        var judged = 0
        for _ in 0..<3000 {
            let der = mutated(leaf.der, by: &random)
            let reader = LeafVerdict.reader(der)
            let policy = LeafVerdict.policy(der)
            guard reader != .malformed, policy != .malformed else {
                // What only one of them can parse is refused by PeerVerifier, which asks both.
                continue
            }
            judged += 1
            #expect(reader == policy, "\(der)")
        }
        #expect(judged > 100)
    }

    @Test(arguments: [UInt64(7), 8, 9])
    func `random bytes are refused`(seed: UInt64) {
        var random = SeededGenerator(seed: seed)
        for _ in 0..<3000 {
            let count = Int.random(in: 0...300, using: &random)
            var bytes = (0..<count).map { _ in UInt8.random(in: 0...255, using: &random) }
            // Plausible headers lead deeper into the reader.
            if count > 8 {
                bytes.replaceSubrange(0..<4, with: [0x30, 0x82, 0x01, UInt8(count & 31)])
            }
            #expect(LeafVerdict.reader(bytes) == .malformed)
        }
    }

    @Test(arguments: [UInt64(10), 11])
    func `no change of bytes in any certificate is accepted by the verifier`(
        seed: UInt64
    ) async throws {
        var random = SeededGenerator(seed: seed)
        let root = try TestAuthority.root("example.org")
        let chain = try root.intermediate().leaf(Self.uri).chain
        let verifier = PeerVerifier(bundles: [root.trustDomain: root.bundle])
        for _ in 0..<400 {
            var changed = chain
            let index = Int.random(in: 0..<2, using: &random)
            changed[index] = mutated(chain[index], by: &random)
            guard changed != chain else { continue }
            let verdict = await Verdict.of(changed, by: verifier)
            guard case .accepted = verdict else { continue }
            Issue.record("accepted \(changed)")
        }
    }

    /// Changes, cuts, doubles or moves some bytes.
    private func mutated(_ bytes: [UInt8], by random: inout SeededGenerator) -> [UInt8] {
        var bytes = bytes
        for _ in 0..<Int.random(in: 1...3, using: &random) {
            guard !bytes.isEmpty else { return bytes }
            let position = Int.random(in: bytes.indices, using: &random)
            switch UInt8.random(in: 0..<8, using: &random) {
            case 0: bytes.remove(at: position)
            case 1: bytes.insert(UInt8.random(in: 0...255, using: &random), at: position)
            case 2: bytes.removeLast(min(bytes.count, position % 16))
            case 3:
                let end = min(bytes.count, position + 24)
                bytes.insert(contentsOf: Array(bytes[position..<end]), at: position)
            case 4: bytes[position] = [0x00, 0x30, 0x7F, 0x80, 0x82, 0x84, 0xFF][position % 7]
            default: bytes[position] ^= 1 << UInt8.random(in: 0..<8, using: &random)
            }
        }
        return bytes
    }
}
