// SPDX-License-Identifier: Apache-2.0

import Crypto
import FoundationEssentials
import Reactor
import SPIFFE
import SwiftASN1
import TestPKI
import TestSeeds
import Testing
import X509

/// One corpus of chains through every verifier of the house; a difference fails.
///
/// `PeerVerifier` asks our reader and swift-certificates; the engine asks our reader and the TLS
/// library.
@Suite(.timeLimit(.minutes(2))) struct ChainCorpusTests {
    /// What one verifier says, in a form that all of them have.
    enum Verdict: Equatable {
        case accepted(SPIFFEID, path: [[UInt8]])
        case refused(PeerVerificationError)
        /// There is no path, or there is one that breaks a rule: who builds paths otherwise finds
        /// the one or the other.
        case pathRefused
        /// An authority of the path is.
        case revoked

        init(_ error: PeerVerificationError) {
            switch error {
            case .noPath, .pathRefused: self = .pathRefused
            default: self = .refused(error)
            }
        }

        static func ofControlPlane(_ chain: [[UInt8]], _ item: CorpusChain) async -> Self {
            let verifier = PeerVerifier(bundles: item.bundles)
            do throws(PeerVerificationError) {
                let peer = try await verifier.verify(chain: chain, now: item.now)
                guard item.revokedAuthorities.isDisjoint(with: peer.path) else { return .revoked }
                return .accepted(peer.id, path: peer.path)
            } catch {
                return Self(error)
            }
        }

        static func ofEngine(
            _ chain: [[UInt8]],
            _ item: CorpusChain,
            _ provider: TLSProvider
        ) -> Self {
            let requirements = item.requirements(provider)
            do throws(PeerRefusal) {
                let peer = try requirements.verify(chain: chain, now: item.now)
                return .accepted(peer.id, path: peer.path)
            } catch {
                switch error {
                case .revoked: return .revoked
                case .unexpected: return .pathRefused
                case .verification(let error): return Self(error)
                }
            }
        }
    }

    @Test(arguments: TLSProvider.allCases)
    func `every verifier says the same of every chain`(_ provider: TLSProvider) async throws {
        for item in try CorpusChain.all() {
            let controlPlane = await Verdict.ofControlPlane(item.chain, item)
            let engine = Verdict.ofEngine(item.chain, item, provider)
            var (isAccepted, isAcceptedByControlPlane) = (false, false)
            if case .accepted = engine { isAccepted = true }
            if case .accepted = controlPlane { isAcceptedByControlPlane = true }
            #expect(isAcceptedByControlPlane == item.isGood, "\(item.name): \(controlPlane)")
            if item.isRefusedByBoringSSL, provider == .boringSSL {
                #expect(engine == .pathRefused, "\(item.name)")
                continue
            }
            #expect(controlPlane == engine, "\(item.name)")
            #expect(isAccepted == item.isGood, "\(item.name): \(engine)")
        }
    }

    /// The same in a handshake, for what a library is willing to present.
    @Test(arguments: Providers.all)
    func `a handshake admits whom the verifiers accept`(_ providers: Providers) throws {
        let own = try TestAuthority.root("own.example")
        let server = try own.leaf("spiffe://own.example/server")
        var presented = 0
        for item in try CorpusChain.all() {
            guard let key = item.key,
                let client = try? TLSContext(
                    provider: providers.client,
                    role: .client,
                    identities: [.init(chain: item.chain, privateKeyPKCS8: key)]
                )
            else { continue }
            presented += 1
            let pair = try TLSPair(
                client: client,
                server: TLSContext(
                    provider: providers.server,
                    role: .server,
                    identities: [server.tlsIdentity()]
                ),
                clientRequires: PeerRequirements(
                    authorities: TLSAuthorities(
                        provider: providers.client,
                        bundles: [own.trustDomain: own.bundle]
                    ),
                    in: own.trustDomain
                ),
                serverRequires: item.requirements(providers.server)
            )
            pair.shakeHands(now: item.now)
            let isRefused = item.isRefusedByBoringSSL && providers.server == .boringSSL
            let isGood = item.isGood && !isRefused
            #expect(pair.serverIsOpen == isGood, "\(item.name)")
            #expect((pair.serverPeer != nil) == isGood, "\(item.name)")
            if !isGood { #expect(pair.serverFailure != nil, "\(item.name)") }
        }
        // Most of the corpus can be presented by either library.
        #expect(presented > 40)
    }

    @Test(arguments: TLSProvider.allCases, [UInt64(1), 2, 3])
    func `no change of bytes is accepted by the engine`(
        _ provider: TLSProvider,
        seed: UInt64
    ) throws {
        var random = SeededGenerator(seed: seed)
        let root = try TestAuthority.root("example.org")
        let chain = try root.intermediate().leaf("spiffe://example.org/web").chain
        let item = CorpusChain("", chain, trusting: [root], isGood: true)
        let requirements = item.requirements(provider)
        #expect(throws: Never.self) { try requirements.verify(chain: chain, now: testNow) }
        for _ in 0..<1000 {
            var changed = chain
            let index = Int.random(in: 0..<2, using: &random)
            let position = Int.random(in: changed[index].indices, using: &random)
            changed[index][position] ^= 1 << UInt8.random(in: 0..<8, using: &random)
            #expect(throws: PeerRefusal.self, "\(changed)") {
                try requirements.verify(chain: changed, now: testNow)
            }
        }
    }
}

/// One chain with whom it is shown to.
struct CorpusChain {
    let name: String
    let chain: [[UInt8]]
    /// The leaf's, if it can be presented in a handshake.
    var key: [UInt8]?
    var bundles: [TrustDomain: TrustBundle]
    /// By the IDs of their keys.
    var revokedAuthorities: Set<[UInt8]> = []
    var now = testNow
    let isGood: Bool
    /// The one difference: BoringSSL takes a host with an underscore under a URI constraint for no
    /// host at all, which refuses more and admits nobody.
    var isRefusedByBoringSSL: Bool { name.contains("constrained to 'td_1'") }

    init(_ name: String, _ chain: [[UInt8]], trusting: [TestAuthority], isGood: Bool) {
        self.name = name
        self.chain = chain
        self.isGood = isGood
        bundles = Dictionary(grouping: trusting, by: \.trustDomain).mapValues { group in
            TrustBundle(
                trustDomain: group[0].trustDomain,
                x509Authorities: group.map(\.der),
                x509Intermediates: [],
                sequenceNumber: 1,
                refreshHintSeconds: 300
            )
        }
    }

    init(
        _ name: String,
        _ leaf: TestLeaf,
        _ trusting: [TestAuthority],
        isGood: Bool = false,
        adding extra: [[UInt8]] = []
    ) {
        self.init(name, leaf.chain + extra, trusting: trusting, isGood: isGood)
        key = Array(leaf.key.derRepresentation)
    }

    /// Of whoever is shown a chain.
    private static let trustDomain: TrustDomain = {
        guard let name = try? TrustDomain("example.org") else { preconditionFailure() }
        return name
    }()

    func requirements(_ provider: TLSProvider) -> PeerRequirements {
        PeerRequirements(
            authorities: TLSAuthorities(provider: provider, bundles: bundles),
            in: Self.trustDomain,
            federatingWith: Set(bundles.keys),
            revocations: PeerRevocations(authorities: revokedAuthorities)
        )
    }

    private static let uri = "spiffe://example.org/web"

    static func all() throws -> [CorpusChain] {
        let root = try TestAuthority.root("example.org")
        return try defects(root) + paths(root) + revoked(root) + constraints() + exclusions()
            + issuers(root) + limits(root) + times(root)
    }

    private static func defects(_ root: TestAuthority) throws -> [CorpusChain] {
        try TestDefect.allCases.map { defect in
            var item = CorpusChain(defect.rawValue, try root.leaf(uri, defect), [root])
            // Its size belongs to the reader; no library sends it in a message that small.
            if defect == .oversize { item.key = nil }
            return item
        }
    }

    private static func paths(_ root: TestAuthority) throws -> [CorpusChain] {
        let other = try TestAuthority.root("other.example") { $0.uris = [] }
        let forged = try other.leaf(uri)
        let deep = try root.intermediate().intermediate().leaf(uri)
        let shuffled = [deep.chain[0], deep.chain[2], deep.chain[1]]
        let twin = try TestAuthority.root("example.org") { $0.subject = root.certificate.subject }
        let below = try root.intermediate()
        let p384 = P384.Signing.PrivateKey()
        let large = try TestAuthority.root("example.org") {
            ($0.publicKey, $0.signer) = (.init(p384.publicKey), .init(p384))
        }
        let underLarge = try large.leaf(uri) { $0.signer = .init(p384) }
        var pinned = CorpusChain("the leaf itself trusted", try root.leaf(uri), [root])
        pinned.bundles = [
            root.trustDomain: TrustBundle(
                trustDomain: root.trustDomain,
                x509Authorities: [pinned.chain[0]],
                x509Intermediates: [],
                sequenceNumber: 1,
                refreshHintSeconds: 300
            )
        ]
        return [
            CorpusChain("direct", try root.leaf(uri), [root], isGood: true),
            CorpusChain("one of two roots", try root.leaf(uri), [other, twin, root], isGood: true),
            CorpusChain("two intermediates", deep, [root], isGood: true),
            CorpusChain("root sent along", deep, [root], isGood: true, adding: [root.der]),
            CorpusChain("other order", shuffled, trusting: [root], isGood: true),
            CorpusChain("twin", try twin.leaf(uri), [root]),
            CorpusChain("both twins", try twin.leaf(uri), [root, twin], isGood: true),
            CorpusChain("foreign domain, trusted root", forged, [root, other]),
            CorpusChain("foreign domain, only its root", forged, [other]),
            CorpusChain("foreign root sent along", forged, [root, other], adding: [other.der]),
            CorpusChain("intermediate missing", [deep.chain[0]], trusting: [root], isGood: false),
            CorpusChain("intermediate trusted", try below.leaf(uri), [below], isGood: true),
            CorpusChain("nobody trusted", try root.leaf(uri), []),
            CorpusChain("self-signed leaf", try selfSigned(), [root]),
            CorpusChain("root with a P-384 key", underLarge, [large], isGood: true),
            pinned,
        ]
    }

    /// Paths with a revoked authority somewhere, and one beside them.
    private static func revoked(_ root: TestAuthority) throws -> [CorpusChain] {
        let upper = try root.intermediate()
        let lower = try upper.intermediate()
        let again = try root.intermediate { $0.publicKey = .init(lower.key.publicKey) }
        let underAgain = try again.leaf(uri) { $0.signer = .init(lower.key) }
        func revoking(_ authority: TestAuthority, _ item: CorpusChain) throws -> CorpusChain {
            var item = item
            item.revokedAuthorities = [
                try LeafCertificate(der: authority.der).keyIdentifier.bytes
            ]
            return item
        }
        let deep = try lower.leaf(uri)
        return [
            try revoking(root, CorpusChain("revoked root", try root.leaf(uri), [root])),
            try revoking(root, CorpusChain("revoked root, far above", deep, [root])),
            try revoking(upper, CorpusChain("revoked in the middle", deep, [root])),
            try revoking(lower, CorpusChain("revoked signer", deep, [root])),
            try revoking(lower, CorpusChain("revoked key, certified again", underAgain, [root])),
            try revoking(
                lower,
                CorpusChain("not below the revoked one", try upper.leaf(uri), [root], isGood: true)
            ),
        ]
    }

    private static func selfSigned() throws -> TestLeaf {
        let key = P256.Signing.PrivateKey()
        return try TestAuthority.root("example.org").leaf(uri) {
            $0.publicKey = .init(key.publicKey)
            $0.signer = .init(key)
            $0.issuer = $0.subject
        }
    }

    private static func constraints() throws -> [CorpusChain] {
        let cases: [(String, String, Bool)] = [
            ("example.org", "example.org", true), (".example.org", "a.example.org", true),
            ("td_1", "td_1", true), ("Example.org", "example.org", true),
            ("other.example", "example.org", false), (".example.org", "example.org", false),
            ("example.org", "a.example.org", false), ("ample.org", "example.org", false),
            (".example.org", "badexample.org", false), ("", "example.org", false),
            ("10.0.0.1", "10.0.0.1", false),
        ]
        return try cases.flatMap { constraint, name, isGood in
            let authority = try TestAuthority.root(name) {
                $0.nameConstraints = NameConstraints(permittedURIDomains: [constraint])
            }
            let root = try TestAuthority.root(name)
            let below = try root.intermediate {
                $0.nameConstraints = NameConstraints(permittedURIDomains: [constraint])
            }
            let uri = "spiffe://\(name)/web"
            return [
                CorpusChain(
                    "root constrained to '\(constraint)' for \(name)",
                    try authority.leaf(uri),
                    [authority],
                    isGood: isGood
                ),
                CorpusChain(
                    "intermediate constrained to '\(constraint)' for \(name)",
                    try below.leaf(uri),
                    [root],
                    isGood: isGood
                ),
            ]
        }
    }

    private static func exclusions() throws -> [CorpusChain] {
        // A constraint excludes a host and what lies below it, dot or not: readers differ.
        let cases: [(String, String, Bool)] = [
            ("other.example", "example.org", true), ("ample.org", "example.org", true),
            (".example.org", "badexample.org", true), ("a.example.org", "example.org", true),
            ("example.org", "example.org", false), (".example.org", "a.example.org", false),
            (".example.org", "example.org", false), ("example.org", "a.example.org", false),
            ("Example.org", "example.org", false), ("", "example.org", false),
            ("10.0.0.2", "10.0.0.1", false),
        ]
        return try cases.flatMap { constraint, name, isGood in
            // What is permitted as well does not bring back what is excluded.
            try [[], [name]].map { permitted in
                let root = try TestAuthority.root(name)
                let below = try root.intermediate {
                    $0.nameConstraints = NameConstraints(
                        permittedURIDomains: permitted,
                        forbiddenURIDomains: [constraint]
                    )
                }
                return CorpusChain(
                    "'\(constraint)' excluded for \(name), permitted \(permitted)",
                    try below.leaf("spiffe://\(name)/web"),
                    [root],
                    isGood: isGood
                )
            }
        }
    }

    private static func issuers(_ root: TestAuthority) throws -> [CorpusChain] {
        let unknown = Certificate.Extension(
            oid: TestDefect.unknownExtension,
            critical: true,
            value: [5, 0]
        )
        let spoilt: [(String, Bool, (inout TestProfile) -> Void)] = [
            ("cA false", false, { $0.basicConstraints = .notCertificateAuthority }),
            ("no basicConstraints", false, { $0.basicConstraints = nil }),
            ("no keyCertSign", false, { $0.keyUsage = KeyUsage(digitalSignature: true) }),
            ("no key usage", false, { $0.keyUsage = nil }),
            ("key usage not critical", false, { $0.keyUsageIsCritical = false }),
            ("other usages", false, { $0.extendedKeyUsages = [.codeSigning, .serverAuth] }),
            ("any usage", true, { $0.extendedKeyUsages = [.any] }),
            ("unknown critical", false, { $0.extraExtensions.append(unknown) }),
            ("path in its ID", false, { $0.uris = ["spiffe://example.org/ca"] }),
            ("foreign ID", false, { $0.uris = ["spiffe://other.example"] }),
            ("two URIs", false, { $0.uris.append("https://a/") }),
            ("no ID", true, { $0.uris = [] }),
            ("another URI", true, { $0.uris = ["https://ca.example.org/"] }),
            ("no key identifiers", true, { $0.hasKeyIdentifiers = false }),
            ("expired", false, { $0.notAfter = testNow.addingTimeInterval(-1) }),
            ("not yet valid", false, { $0.notBefore = testNow.addingTimeInterval(1) }),
        ]
        return try spoilt.flatMap { name, isGood, change in
            let anchor = try TestAuthority.root("example.org", change)
            let below = try root.intermediate(change)
            return [
                CorpusChain("root: \(name)", try anchor.leaf(uri), [anchor], isGood: isGood),
                CorpusChain("intermediate: \(name)", try below.leaf(uri), [root], isGood: isGood),
            ]
        }
    }

    private static func limits(_ root: TestAuthority) throws -> [CorpusChain] {
        func length(_ maximum: Int) throws -> TestAuthority {
            try TestAuthority.root("example.org") {
                $0.basicConstraints = .isCertificateAuthority(maxPathLength: maximum)
            }
        }
        let (none, one) = (try length(0), try length(1))
        let four = try root.intermediate().intermediate().intermediate()
        let five = try four.intermediate()
        let big = [UInt8](repeating: 0x41, count: 12_000)
        let heavy = try root.intermediate {
            $0.extraExtensions.append(
                .init(oid: TestDefect.unknownExtension, critical: false, value: big[...])
            )
        }
        func heavyLeaf(_ authority: TestAuthority) throws -> TestLeaf {
            try authority.leaf(uri) {
                $0.extraExtensions.append(
                    .init(oid: TestDefect.unknownExtension, critical: false, value: big[...])
                )
            }
        }
        return [
            CorpusChain("pathLen 0, leaf", try none.leaf(uri), [none], isGood: true),
            CorpusChain("pathLen 0, CA", try none.intermediate().leaf(uri), [none]),
            CorpusChain("pathLen 1, CA", try one.intermediate().leaf(uri), [one], isGood: true),
            CorpusChain("pathLen 1, CAs", try one.intermediate().intermediate().leaf(uri), [one]),
            CorpusChain("four certificates", try four.leaf(uri), [root], isGood: true),
            CorpusChain("five certificates", try five.leaf(uri), [root]),
            CorpusChain("24 KB", try heavyLeaf(heavy), [root], isGood: true),
            CorpusChain("36 KB", try heavyLeaf(heavy), [root], adding: [heavy.der]),
            CorpusChain("no certificate", [], trusting: [root], isGood: false),
            CorpusChain(
                "rubbish behind the leaf",
                [try root.leaf(uri).der, [1, 2, 3]],
                trusting: [root],
                isGood: false
            ),
        ]
    }

    private static func times(_ root: TestAuthority) throws -> [CorpusChain] {
        let leaf = try root.leaf(uri)
        let (first, last) = (leaf.certificate.notValidBefore, leaf.certificate.notValidAfter)
        let below = try root.intermediate { $0.notAfter = testNow.addingTimeInterval(50) }
        let old = try TestAuthority.root("example.org") {
            $0.notAfter = testNow.addingTimeInterval(50)
        }
        func at(_ now: Date, _ item: CorpusChain) -> CorpusChain {
            var item = item
            item.now = now
            return item
        }
        let end = testNow.addingTimeInterval(50)
        return try [
            at(first, CorpusChain("first instant", leaf, [root], isGood: true)),
            at(last, CorpusChain("last instant", leaf, [root], isGood: true)),
            at(first - 0.1, CorpusChain("before", leaf, [root])),
            at(last + 0.1, CorpusChain("after", leaf, [root])),
            at(end, CorpusChain("last of intermediate", below.leaf(uri), [root], isGood: true)),
            at(end + 1, CorpusChain("after intermediate", below.leaf(uri), [root])),
            at(end, CorpusChain("last of root", old.leaf(uri), [old], isGood: true)),
            at(end + 1, CorpusChain("after root", old.leaf(uri), [old])),
            at(
                Date(timeIntervalSince1970: .nan),
                CorpusChain("no time", leaf.chain, trusting: [root], isGood: false)
            ),
        ]
    }
}
