// SPDX-License-Identifier: Apache-2.0

import Crypto
import FoundationEssentials
import SPIFFE
import SwiftASN1
import TestPKI
import Testing
import X509

/// The rows of X509-SVID that are about the path from the leaf to an authority.
@Suite struct X509SVIDPathTests {
    private static let uri = "spiffe://example.org/web"
    private let root: TestAuthority
    private let web: SPIFFEID

    init() throws {
        root = try TestAuthority.root("example.org")
        web = try SPIFFEID(Self.uri)
    }

    @Test func `X-5 an authority may have the trust domain's ID or no ID`() async throws {
        for uris in [["spiffe://example.org"], [], ["https://ca.example.org/"]] {
            let authority = try TestAuthority.root("example.org") { $0.uris = uris }
            let leaf = try authority.leaf(Self.uri)
            #expect(await Verdict.of(leaf.chain, trusting: [authority]) == .accepted(web))
        }
    }

    @Test(arguments: [
        "spiffe://example.org/ca", "spiffe://example.org/", "spiffe://Example.org", "spiffe:",
        "spiffe://other.example",
    ])
    func `X-5 an authority whose ID has a path or is another domain's is refused`(
        _ uri: String
    ) async throws {
        let authority = try TestAuthority.root("example.org") { $0.uris = [uri] }
        let leaf = try authority.leaf(Self.uri)
        #expect(await Verdict.of(leaf.chain, trusting: [authority]).isPathRefused)
        let intermediate = try root.intermediate { $0.uris = [uri] }
        let below = try intermediate.leaf(Self.uri)
        #expect(await Verdict.of(below.chain, trusting: [root]).isPathRefused)
    }

    @Test func `X-5 an authority with two URIs is refused`() async throws {
        let authority = try TestAuthority.root("example.org") { $0.uris.append("https://a/") }
        let leaf = try authority.leaf(Self.uri)
        #expect(await Verdict.of(leaf.chain, trusting: [authority]).isPathRefused)
    }

    @Test func `X-7 an issuer without cA is refused`() async throws {
        for constraints in [BasicConstraints.notCertificateAuthority, nil] {
            let intermediate = try root.intermediate { $0.basicConstraints = constraints }
            let leaf = try intermediate.leaf(Self.uri)
            #expect(await Verdict.of(leaf.chain, trusting: [root]).isPathRefused)
            let anchor = try TestAuthority.root("example.org") {
                $0.basicConstraints = constraints
            }
            let below = try anchor.leaf(Self.uri)
            #expect(await Verdict.of(below.chain, trusting: [anchor]).isPathRefused)
        }
    }

    @Test func `X-7 a leaf cannot issue`() async throws {
        let intermediate = try root.intermediate {
            $0.basicConstraints = .notCertificateAuthority
            $0.keyUsage = KeyUsage(digitalSignature: true)
            $0.uris = ["spiffe://example.org/attacker"]
        }
        let leaf = try intermediate.leaf(Self.uri)
        #expect(await Verdict.of(leaf.chain, trusting: [root]).isPathRefused)
    }

    @Test func `X-7 a version 1 certificate cannot issue`() async throws {
        let intermediate = try root.intermediate {
            $0.version = .v1
            $0.uris = []
            $0.basicConstraints = nil
            $0.keyUsage = nil
            $0.hasKeyIdentifiers = false
        }
        let leaf = try intermediate.leaf(Self.uri)
        #expect(
            await Verdict.of(leaf.chain, trusting: [root])
                == .refused(.certificateMalformed(index: 1))
        )
    }

    @Test(arguments: [
        ("example.org", "example.org"), (".example.org", "a.example.org"), ("td_1", "td_1"),
        (".example.org", "b.a.example.org"), ("Example.org", "example.org"),
    ])
    func `X-8 a URI name constraint admits the trust domain it names`(
        _ constraint: String,
        _ trustDomain: String
    ) async throws {
        #expect(try await constrained(constraint, trustDomain) == .accepted(web(trustDomain)))
    }

    @Test(arguments: [
        ("other.example", "example.org"), (".example.org", "example.org"),
        ("example.org", "a.example.org"), ("ample.org", "example.org"),
        (".example.org", "badexample.org"), ("", "example.org"),
        // RFC 5280 section 4.2.1.10 leaves no constraint under which a host that looks like an
        // address is accepted, so ID-4 ends where constraints begin.
        ("10.0.0.1", "10.0.0.1"),
    ])
    func `X-8 a URI name constraint refuses every other trust domain`(
        _ constraint: String,
        _ trustDomain: String
    ) async throws {
        #expect(try await constrained(constraint, trustDomain).isPathRefused)
    }

    private func web(_ trustDomain: String) throws -> SPIFFEID {
        try SPIFFEID("spiffe://\(trustDomain)/web")
    }

    private func constrained(
        _ constraint: String,
        _ trustDomain: String
    ) async throws -> Verdict {
        let authority = try TestAuthority.root(trustDomain) {
            $0.nameConstraints = NameConstraints(permittedURIDomains: [constraint])
        }
        let leaf = try authority.leaf("spiffe://\(trustDomain)/web")
        return await Verdict.of(leaf.chain, trusting: [authority])
    }

    @Test func `X-9 an authority with a SPIFFE ID has critical key usage`() async throws {
        let authority = try TestAuthority.root("example.org") { $0.keyUsageIsCritical = false }
        let leaf = try authority.leaf(Self.uri)
        #expect(await Verdict.of(leaf.chain, trusting: [authority]).isPathRefused)
        let plain = try TestAuthority.root("example.org") {
            $0.keyUsageIsCritical = false
            $0.uris = []
        }
        let below = try plain.leaf(Self.uri)
        #expect(await Verdict.of(below.chain, trusting: [plain]) == .accepted(web))
    }

    @Test func `X-10 an issuer without keyCertSign is refused`() async throws {
        for usage in [KeyUsage(digitalSignature: true), KeyUsage(cRLSign: true), nil] {
            let authority = try TestAuthority.root("example.org") { $0.keyUsage = usage }
            let leaf = try authority.leaf(Self.uri)
            #expect(await Verdict.of(leaf.chain, trusting: [authority]).isPathRefused)
        }
    }

    @Test func `X-11 an issuer restricted to other uses is refused`() async throws {
        let narrow = try root.intermediate { $0.extendedKeyUsages = [.codeSigning, .serverAuth] }
        #expect(
            await Verdict.of(try narrow.leaf(Self.uri).chain, trusting: [root]).isPathRefused
        )
        let wide = try root.intermediate { $0.extendedKeyUsages = [.any] }
        #expect(
            await Verdict.of(try wide.leaf(Self.uri).chain, trusting: [root]) == .accepted(web)
        )
    }

    @Test func `X-14 a path leads only to the bundle of the leaf's own trust domain`() async throws
    {
        let other = try TestAuthority.root("other.example") { $0.uris = [] }
        let forged = try other.leaf(Self.uri)
        #expect(await Verdict.of(forged.chain, trusting: [root, other]) == .refused(.noPath))
        #expect(
            await Verdict.of(forged.chain, trusting: [other])
                == .refused(.trustDomainUnknown(try TrustDomain("example.org")))
        )
        let honest = try other.leaf("spiffe://other.example/web")
        #expect(
            await Verdict.of(honest.chain, trusting: [root, other])
                == .accepted(try SPIFFEID("spiffe://other.example/web"))
        )
    }

    @Test func `X-14 F-3 an authority that signed for another domain's bundle is not borrowed`()
        async throws
    {
        let other = try TestAuthority.root("other.example") { $0.uris = [] }
        // The peer sends the foreign root along as if it were an intermediate.
        let forged = try other.leaf(Self.uri)
        #expect(
            await Verdict.of(forged.chain + [other.der], trusting: [root, other])
                == .refused(.noPath)
        )
    }
}
