// SPDX-License-Identifier: Apache-2.0

import FoundationEssentials
import Issuance
import SPIFFE
import SwiftASN1
import TestSeeds
import Testing
import X509

/// Authorities below a key of this process (record 0020).
struct AuthorityCertifierTests {
    @Test func `a leaf below such an authority verifies with the root alone`() async throws {
        let hierarchy = try Hierarchy()
        let authority = try await hierarchy.active()
        let rootID = try LeafCertificate(der: hierarchy.root).keyIdentifier.description
        #expect(authority.ancestry?.rootID == rootID)
        #expect(authority.presentedChain == [hierarchy.authority, hierarchy.intermediate])
        let issuer = try Issuer(
            trustDomain: hierarchy.trustDomain,
            lifetimes: .standard,
            authority: authority
        )
        var generator = SeededGenerator(seed: 2)
        var batch = IssuanceBatch(issuer: issuer)
        try batch.prepare(
            issuer.approveAgent(Workshop.request(), name: "web-1", now: Workshop.now),
            using: &generator
        )
        let leaf = try batch.sign(with: Workshop.signer(5))[0].der
        let chain = [leaf] + authority.presentedChain
        let peer = try await verifier(hierarchy, [hierarchy.root]).verify(
            chain: chain,
            now: Workshop.now
        )
        #expect(peer.path.count == 3 && peer.id.path == "/signet/agent/web-1")
        // The authority as an anchor, as the server's own port and join tokens have it.
        let near = try await verifier(hierarchy, [hierarchy.authority]).verify(
            chain: chain,
            now: Workshop.now
        )
        #expect(near.path.count == 1)
        let presented = try PresentedChain(chain, now: Workshop.now)
        _ = try presented.checkPath(
            through: [1, 2],
            to: LeafCertificate(der: hierarchy.root)
        )
        await #expect(throws: PeerVerificationError.self) {
            try await verifier(hierarchy, [hierarchy.root]).verify(
                chain: [leaf],
                now: Workshop.now
            )
        }
    }

    private func verifier(_ hierarchy: Hierarchy, _ anchors: [[UInt8]]) -> PeerVerifier {
        PeerVerifier(bundles: [
            hierarchy.trustDomain: TrustBundle(
                trustDomain: hierarchy.trustDomain,
                x509Authorities: anchors,
                x509Intermediates: [],
                sequenceNumber: 1,
                refreshHintSeconds: 300
            )
        ])
    }

    @Test func `a self-signed authority presents nothing above its leaves`() throws {
        #expect(try Workshop().authority.presentedChain.isEmpty)
    }

    @Test func `what is certified ends with its issuer and begins not before it`() throws {
        let hierarchy = try Hierarchy()
        var generator = SeededGenerator(seed: 3)
        let late = hierarchy.certifier.notAfter.addingTimeInterval(-3600)
        for now in [late, Workshop.now] {
            let der = try hierarchy.certifier.certify(
                SubjectPublicKey(subjectPublicKeyInfo: Workshop.signer(6).subjectPublicKeyInfo),
                serverID: "server-1",
                profile: .authority,
                lifetime: .seconds(86_400),
                backdate: .seconds(300),
                now: now,
                using: &generator
            )
            let read = try LeafCertificate(der: der)
            #expect(
                read.notAfter
                    == min(now.addingTimeInterval(86_400), hierarchy.certifier.notAfter)
            )
            #expect(
                read.notBefore
                    == max(now.addingTimeInterval(-300), Workshop.now.addingTimeInterval(-60))
            )
        }
    }

    @Test func `one that has ended certifies nothing, and says that`() throws {
        let hierarchy = try Hierarchy()
        let end = hierarchy.certifier.notAfter
        #expect(throws: AuthorityError.issuerEnded(end)) {
            var generator = SeededGenerator(seed: 3)
            return try hierarchy.certifier.certify(
                SubjectPublicKey(subjectPublicKeyInfo: Workshop.signer(6).subjectPublicKeyInfo),
                serverID: "server-1",
                profile: .authority,
                lifetime: .seconds(86_400),
                backdate: .seconds(60),
                now: end,
                using: &generator
            )
        }
    }

    @Test func `a root whose signature is not its key's is none`() throws {
        let hierarchy = try Hierarchy()
        let domain = hierarchy.trustDomain
        #expect(UpstreamChain.problem(ofRoot: hierarchy.root, trustDomain: domain) == nil)
        var damaged = hierarchy.root
        damaged[damaged.count - 1] ^= 1
        #expect(UpstreamChain.problem(ofRoot: damaged, trustDomain: domain) == .signatureDiffers)
    }

    @Test func `only the key in the certificate certifies, and only for its trust domain`() throws {
        let hierarchy = try Hierarchy()
        #expect(throws: AuthorityError.recordDiffers) {
            try AuthorityCertifier(
                certificate: hierarchy.intermediate,
                signer: Workshop.signer(9),
                trustDomain: hierarchy.trustDomain
            )
        }
        #expect(throws: AuthorityError.trustDomainDiffers) {
            try AuthorityCertifier(
                certificate: hierarchy.intermediate,
                signer: Workshop.signer(4),
                trustDomain: TrustDomain("other.example")
            )
        }
    }

    @Test func `name constraints are critical and permit the trust domain alone`() throws {
        let constrained = try Certificate(
            derEncoded: Hierarchy(constrained: true).intermediate
        )
        let constraints = try #require(try constrained.extensions.nameConstraints)
        #expect(Array(constraints.permittedURIDomains) == ["example.org"])
        #expect(constraints.permittedDNSDomains.isEmpty)
        #expect(constrained.extensions[oid: .X509ExtensionID.nameConstraints]?.critical == true)
        let without = try Certificate(derEncoded: Hierarchy().intermediate)
        #expect(try without.extensions.nameConstraints == nil)
    }

    @Test(arguments: [
        ("example.org", true), ("a.b", true), ("localhost", false), ("10.0.0.1", false),
        ("under_score.org", false), ("10.0.0", false),
        (String(repeating: "a.", count: 61) + "b", false),
    ])
    func `name constraints stand for DNS names with a dot alone`(
        name: String,
        isFit: Bool
    ) throws {
        #expect(try TrustDomain(name).fitsNameConstraints == isFit)
    }

    @Test func `a request says what the certificate shall say`() throws {
        var generator = SeededGenerator(seed: 4)
        let signer = try Workshop.signer(5)
        for profile in [CertificateProfile.authority, .intermediate] {
            let der = try AuthorityRequest.encoded(
                trustDomain: TrustDomain("example.org"),
                serverID: "server-1",
                profile: profile,
                signer: signer,
                using: &generator
            )
            // By our reader, and by another one.
            let read = try CertificateRequest(der: der)
            #expect(read.publicKey.subjectPublicKeyInfo == signer.subjectPublicKeyInfo)
            let request = try CertificateSigningRequest(derEncoded: der)
            #expect("\(request.subject)".contains("server-1-"))
            let extensions = try #require(
                try request.attributes.extensionRequest?.extensions
            )
            #expect(
                try extensions.basicConstraints
                    == .isCertificateAuthority(maxPathLength: profile.pathLength)
            )
            #expect(try extensions.keyUsage == KeyUsage(keyCertSign: true, cRLSign: true))
            #expect(
                try extensions.subjectAlternativeNames.map { Array($0) }
                    == [.uniformResourceIdentifier("spiffe://example.org")]
            )
            #expect(try extensions.subjectKeyIdentifier?.keyIdentifier.count == 20)
        }
    }
}
