// SPDX-License-Identifier: Apache-2.0

import FoundationEssentials
import Issuance
import SPIFFE
import TestSeeds

/// What a ceremony makes, and an authority below it, with fixed keys at a fixed moment.
struct Hierarchy {
    let trustDomain: TrustDomain
    let root: [UInt8]
    let intermediate: [UInt8]
    /// The upstream authority.
    let certifier: AuthorityCertifier
    let authority: [UInt8]

    /// - Parameters:
    ///   - name: The trust domain.
    ///   - constrained: Whether the upstream authority has name constraints.
    /// - Throws: What making it throws.
    init(_ name: String = "example.org", constrained: Bool = false) throws {
        var generator = SeededGenerator(seed: 9)
        trustDomain = try TrustDomain(name)
        let rootSigner = try Workshop.signer(3)
        root = try Authority.selfSigned(
            trustDomain: trustDomain,
            serverID: "root",
            lifetimes: SVIDLifetimes(authority: CeremonyLifetime.root),
            profile: .upstreamRoot,
            signer: rootSigner,
            now: Workshop.now,
            using: &generator
        ).certificateDER
        intermediate = try AuthorityCertifier(
            certificate: root,
            signer: rootSigner,
            trustDomain: trustDomain
        ).certify(
            SubjectPublicKey(subjectPublicKeyInfo: Workshop.signer(4).subjectPublicKeyInfo),
            serverID: "upstream",
            profile: CertificateProfile.intermediate.narrowed(
                by: ProfileLimits(constrainsNames: constrained)
            ),
            lifetime: CeremonyLifetime.intermediate,
            backdate: .seconds(60),
            now: Workshop.now,
            using: &generator
        )
        certifier = try AuthorityCertifier(
            certificate: intermediate,
            signer: Workshop.signer(4),
            trustDomain: trustDomain
        )
        authority = try certifier.certify(
            SubjectPublicKey(subjectPublicKeyInfo: Workshop.signer(5).subjectPublicKeyInfo),
            serverID: "server-1",
            profile: .authority,
            lifetime: SVIDLifetimes.standard.authority,
            backdate: .seconds(60),
            now: Workshop.now,
            using: &generator
        )
    }

    /// The certificate of a kind, by its name in `pki/profiles`.
    func certificate(of role: String) -> [UInt8] {
        switch role {
        case "upstream-root": root
        case "intermediate": intermediate
        default: authority
        }
    }

    /// What a server holds the chain to.
    func expectation() throws -> UpstreamChain.Expectation {
        UpstreamChain.Expectation(
            trustDomain: trustDomain,
            lifetimes: .standard,
            spki: try Workshop.signer(5).subjectPublicKeyInfo
        )
    }

    /// The authority, active.
    func active() async throws -> Authority {
        let chain = try await UpstreamChain(
            checking: [authority, intermediate],
            below: [root],
            expecting: expectation(),
            now: Workshop.now
        )
        var authority = try Authority(chain, serverID: "server-1", tokenKeySPKI: nil)
        authority.state = .active
        return authority
    }
}
