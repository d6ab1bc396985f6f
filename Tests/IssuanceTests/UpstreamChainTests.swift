// SPDX-License-Identifier: Apache-2.0

import Crypto
import FoundationEssentials
import Issuance
import SPIFFE
import SwiftASN1
import TestPKI
import Testing
import X509

/// What a chain from an upstream has to keep (record 0020, "One check for all").
struct UpstreamChainTests {
    /// A chain of root, upper and authority; a case changes what it is about.
    struct Draft {
        var root: TestAuthority
        var upper: TestAuthority
        let key: P256.Signing.PrivateKey
        var chain: [[UInt8]] = []
        var roots: [[UInt8]]
        var expected: UpstreamChain.Expectation

        init(
            root changeRoot: (inout TestProfile) -> Void = { _ in },
            upper changeUpper: (inout TestProfile) -> Void = { _ in },
            authority change: (inout TestProfile) -> Void = { _ in }
        ) throws {
            root = try TestAuthority.root("example.org", changeRoot)
            upper = try root.intermediate(changeUpper)
            key = try Workshop.key(5)
            roots = [root.der]
            expected = UpstreamChain.Expectation(
                trustDomain: root.trustDomain,
                lifetimes: .standard,
                spki: Array(key.publicKey.derRepresentation)
            )
            chain = try Self.authority(below: upper, key, change).intermediates
        }

        static func authority(
            below upper: TestAuthority,
            _ key: P256.Signing.PrivateKey,
            _ change: (inout TestProfile) -> Void = { _ in }
        ) throws -> TestAuthority {
            let identifier = Array(SHA256.hash(data: key.publicKey.x963Representation).prefix(20))
            let above = try upper.certificate.extensions.subjectKeyIdentifier?.keyIdentifier
            let identifiers = [
                try Certificate.Extension(
                    SubjectKeyIdentifier(keyIdentifier: identifier[...]),
                    critical: false
                ),
                try Certificate.Extension(
                    AuthorityKeyIdentifier(keyIdentifier: above ?? []),
                    critical: false
                ),
            ]
            return try upper.intermediate { profile in
                profile.publicKey = Certificate.PublicKey(key.publicKey)
                profile.hasKeyIdentifiers = false
                profile.extraExtensions = identifiers
                change(&profile)
            }
        }

        func checked() async throws(UpstreamRefusal) -> UpstreamChain {
            try await UpstreamChain(
                checking: chain,
                below: roots,
                expecting: expected,
                now: testNow
            )
        }

        func refusal() async -> String? {
            do throws(UpstreamRefusal) {
                _ = try await checked()
                return nil
            } catch { return error.name }
        }

        func keyID(_ der: [UInt8]) throws -> String {
            try LeafCertificate(der: der).keyIdentifier.description
        }
    }

    @Test func `a chain that keeps all rules is taken, with what is above it`() async throws {
        let draft = try Draft()
        let chain = try await draft.checked()
        #expect(chain.certificate == draft.chain[0] && chain.root == draft.root.der)
        #expect(chain.ancestry.chain == [draft.upper.der])
        #expect(
            try chain.ancestry.keyIDs
                == [draft.keyID(draft.upper.der), draft.keyID(draft.root.der)]
        )
        // Directly below the root is as good.
        var direct = draft
        direct.chain = try Draft.authority(below: draft.root, draft.key).intermediates
        #expect(try await direct.checked().ancestry.chain.isEmpty)
        // Whichever of the roots it is.
        var among = draft
        among.roots = [try TestAuthority.root("example.org").der, draft.root.der]
        #expect(await among.refusal() == nil)
    }

    @Test func `chainEmpty, chainTooLong, chainTooLarge`() async throws {
        var draft = try Draft()
        let chain = draft.chain
        draft.chain = []
        #expect(await draft.refusal() == "chainEmpty")
        draft.chain = chain + [chain[1], chain[1]]
        #expect(await draft.refusal() == "chainTooLong")
        let large = try Draft(upper: { profile in
            profile.extraExtensions.append(
                .init(
                    oid: [1, 3, 6, 1, 4, 1, 99_999, 1],
                    critical: false,
                    value: [UInt8](repeating: 0, count: 4096)[...]
                )
            )
        })
        #expect(await large.refusal() == "chainTooLarge")
    }

    @Test func `keyDiffers, keyTaken, keyTwice`() async throws {
        var draft = try Draft()
        draft.expected.spki = Array(try Workshop.key(6).publicKey.derRepresentation)
        #expect(await draft.refusal() == "keyDiffers")
        draft = try Draft()
        draft.expected.keysTaken = [try draft.keyID(draft.chain[0])]
        #expect(await draft.refusal() == "keyTaken")
        let key = try Workshop.key(5)
        draft = try Draft(upper: { $0.publicKey = Certificate.PublicKey(key.publicKey) })
        #expect(await draft.refusal() == "keyTwice")
    }

    @Test func `mayNotSign: cA, keyCertSign and cRLSign`() async throws {
        for usage in [KeyUsage(keyCertSign: true), KeyUsage(cRLSign: true)] {
            #expect(await (try Draft(authority: { $0.keyUsage = usage })).refusal() == "mayNotSign")
        }
        let leaf = try Draft(authority: { $0.basicConstraints = .notCertificateAuthority })
        #expect(await leaf.refusal() == "mayNotSign")
    }

    @Test(arguments: [
        ["spiffe://other.example"], ["spiffe://example.org/a"], [],
        ["spiffe://example.org", "https://example.org"],
    ])
    func `trustDomainDiffers, rootOfAnother: the one URI is the trust domain's`(
        uris: [String]
    ) async throws {
        #expect(await (try Draft(authority: { $0.uris = uris })).refusal() == "trustDomainDiffers")
        #expect(await (try Draft(root: { $0.uris = uris })).refusal() == "rootOfAnother")
    }

    @Test func `subjectKeyIdentifierDiffers: leaves and lists name the key by it`() async throws {
        let draft = try Draft(authority: { profile in
            profile.extraExtensions = []
            profile.hasKeyIdentifiers = true
        })
        #expect(await draft.refusal() == "subjectKeyIdentifierDiffers")
    }

    @Test func `subjectKeyIdentifierLength, authorityKeyIdentifierDiffers`() async throws {
        let without = try Draft(upper: { $0.hasKeyIdentifiers = false })
        #expect(await without.refusal() == "rootUnknown")
        let long = try Certificate.Extension(
            SubjectKeyIdentifier(keyIdentifier: [UInt8](repeating: 7, count: 32)[...]),
            critical: false
        )
        let rootWithout = try Draft(root: { profile in
            profile.hasKeyIdentifiers = false
            profile.extraExtensions = [long]
        })
        #expect(await rootWithout.refusal() == "subjectKeyIdentifierLength")
        var other = try Draft(authority: { $0.extraExtensions.removeLast() })
        #expect(await other.refusal() == "authorityKeyIdentifierDiffers")
        // Another certificate of the same name in the place of the one that signed.
        other = try Draft()
        let beside = try other.root.intermediate()
        other.chain[1] = beside.der
        #expect(await other.refusal() == "authorityKeyIdentifierDiffers")
    }

    @Test func `subjectTaken: no two authorities have one name`() async throws {
        let named = try DistinguishedName { CommonName("taken") }
        var draft = try Draft(authority: { $0.subject = named })
        #expect(await draft.refusal() == nil)
        var serializer = DER.Serializer()
        try serializer.serialize(named)
        draft.expected.subjectsTaken = [serializer.serializedBytes]
        #expect(await draft.refusal() == "subjectTaken")
        let empty = try Draft(authority: { $0.subject = DistinguishedName() })
        #expect(await empty.refusal() == "subjectTaken")
    }

    @Test func `selfIssued: it would not count for pathLenConstraint`() async throws {
        let name = try DistinguishedName { CommonName("one") }
        let draft = try Draft(upper: { $0.subject = name }, authority: { $0.subject = name })
        #expect(await draft.refusal() == "selfIssued")
    }

    @Test func `notYetValid, lifetimeTooShort, lifetimeTooLong, outlivesIssuer`() async throws {
        let later = try Draft(authority: { $0.notBefore = testNow.addingTimeInterval(1) })
        #expect(await later.refusal() == "notYetValid")
        // Five times the longest SVID of four hours.
        let ends: [(Double, String?)] = [
            (20 * 3600 - 1, "lifetimeTooShort"), (20 * 3600, nil), (24 * 3600, nil),
        ]
        for (seconds, rule) in ends {
            let draft = try Draft(authority: { $0.notAfter = testNow.addingTimeInterval(seconds) })
            #expect(await draft.refusal() == rule)
        }
        let far = testNow.addingTimeInterval(30 * 86_400)
        for (seconds, rule) in [(86_460.0, nil), (86_461, "lifetimeTooLong")] {
            let draft = try Draft(
                root: { $0.notAfter = far },
                upper: { $0.notAfter = far },
                authority: { $0.notAfter = testNow.addingTimeInterval(seconds) }
            )
            #expect(await draft.refusal() == rule)
        }
        let end = testNow.addingTimeInterval(24 * 3600 - 1)
        #expect(await (try Draft(upper: { $0.notAfter = end })).refusal() == "outlivesIssuer")
        #expect(await (try Draft(root: { $0.notAfter = end })).refusal() == "outlivesIssuer")
    }

    @Test func `nameConstraints: of URIs alone, and of this trust domain`() async throws {
        let ours = try Draft(upper: {
            $0.nameConstraints = NameConstraints(permittedURIDomains: ["example.org"])
        })
        #expect(await ours.refusal() == nil)
        let other = try Draft(upper: {
            $0.nameConstraints = NameConstraints(permittedURIDomains: ["other.example"])
        })
        #expect(await other.refusal() == "pathRefused")
        let names = try Draft(upper: {
            $0.nameConstraints = NameConstraints(permittedDNSDomains: ["example.org"])
        })
        #expect(await names.refusal() == "nameConstraints")
    }

    @Test func `distrusted: nothing above is tainted or revoked`() async throws {
        var draft = try Draft()
        for der in [draft.upper.der, draft.root.der] {
            draft.expected.distrusted = [try draft.keyID(der)]
            #expect(await draft.refusal() == "distrusted")
        }
    }

    @Test func `rootUnknown: the root is one of ours`() async throws {
        var draft = try Draft()
        draft.roots = []
        #expect(await draft.refusal() == "rootUnknown")
        draft.roots = [try TestAuthority.root("example.org").der]
        #expect(await draft.refusal() == "rootUnknown")
    }

    @Test func `pathRefused: signatures and path lengths, as our verifiers see them`() async throws
    {
        let forged = Certificate.PrivateKey(try Workshop.key(8))
        #expect(await (try Draft(authority: { $0.signer = forged })).refusal() == "pathRefused")
        #expect(await (try Draft(upper: { $0.signer = forged })).refusal() == "pathRefused")
        // Below the upper there is the authority: nothing may stand between it and a leaf.
        for (length, rule) in [(0, "pathRefused"), (1, nil)] {
            let draft = try Draft(upper: {
                $0.basicConstraints = .isCertificateAuthority(maxPathLength: length)
            })
            #expect(await draft.refusal() == rule)
        }
        for (length, rule) in [(1, "pathRefused"), (2, nil)] {
            let draft = try Draft(root: {
                $0.basicConstraints = .isCertificateAuthority(maxPathLength: length)
            })
            #expect(await draft.refusal() == rule)
        }
        let old = try Draft(upper: { $0.notBefore = testNow.addingTimeInterval(60) })
        #expect(await old.refusal() == "pathRefused")
    }

    @Test func `certificateMalformed`() async throws {
        var draft = try Draft()
        draft.chain[1] = [0x30, 0x00]
        #expect(await draft.refusal() == "certificateMalformed")
    }
}
