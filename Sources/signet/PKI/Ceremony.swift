// SPDX-License-Identifier: Apache-2.0

package import Foundation
package import Issuance
package import SPIFFE

/// What is made away from every server: an offline root, and upstream authorities below it
/// (pki/README.md; docs/decisions/0020-authorities-under-another.md).
package enum Ceremony {
    /// What a root's key file of the form before `EncryptedKeyFile` is bound to.
    package static let rootPurpose = "pki-root"
    /// How far certificates are backdated, for servers whose clock is late.
    static let backdate: Duration = .seconds(60)

    /// A root and its key.
    package struct Root {
        /// DER.
        package let certificate: [UInt8]
        /// PKCS #8 in DER, unencrypted.
        package let key: [UInt8]
    }

    /// Makes a root as `pki/profiles/upstream-root.json` says.
    ///
    /// - Parameters:
    ///   - trustDomain: The trust domain that it is, for ten years.
    ///   - keyType: What its key is.
    ///   - now: The wall clock.
    /// - Returns: Both halves.
    /// - Throws: `SignerError`, `AuthorityError`, `LifetimeError`.
    package static func root(
        of trustDomain: TrustDomain,
        keyType: AuthorityKeyType,
        now: Date
    ) throws -> Root {
        let signer = try MemorySigner.new(keyType)
        var generator = SystemRandomNumberGenerator()
        let authority = try Authority.selfSigned(
            trustDomain: trustDomain,
            serverID: "root",
            lifetimes: SVIDLifetimes(authority: CeremonyLifetime.root, backdate: backdate),
            profile: .upstreamRoot,
            signer: signer,
            now: now,
            using: &generator
        )
        return Root(certificate: authority.certificateDER, key: signer.pkcs8DER)
    }

    /// Certifies the key of a request as `pki/profiles/intermediate.json` says, whatever else the
    /// request says.
    ///
    /// - Parameters:
    ///   - request: DER.
    ///   - keyID: What the server printed with it, compared with the key.
    ///   - root: The root and its key.
    ///   - constrainsNames: Whether it may certify for the root's trust domain alone.
    ///   - now: The wall clock.
    /// - Returns: DER of the certificate.
    /// - Throws: `CommandFailure` in words for who does the ceremony; `AuthorityError`.
    package static func intermediate(
        for request: [UInt8],
        keyID: String,
        below root: Root,
        constrainsNames: Bool,
        now: Date
    ) throws -> [UInt8] {
        let key = try CertificateRequest(der: request).publicKey
        guard key.keyID == keyID.lowercased() else {
            throw CommandFailure(
                "the request is for key \(key.keyID), not for \(keyID)",
                remedy: "It was exchanged on its way, or is another one: compare with what "
                    + "signet-server --request-upstream prints."
            )
        }
        guard let uri = try LeafCertificate(der: root.certificate).uriNames.first,
            let id = try? SPIFFEID(uri), id.path.isEmpty
        else { throw CommandFailure("the root's URI is no trust domain") }
        let trustDomain = id.trustDomain
        if constrainsNames, !trustDomain.fitsNameConstraints {
            throw CommandFailure(
                "no name constraint can stand for \(trustDomain)",
                remedy: "It takes a DNS name with a dot, of at most 121 bytes, and no address (RFC "
                    + "5280 section 4.2.1.10)."
            )
        }
        var generator = SystemRandomNumberGenerator()
        return try AuthorityCertifier(
            certificate: root.certificate,
            signer: MemorySigner(pkcs8DER: root.key),
            trustDomain: trustDomain
        ).certify(
            key,
            serverID: "upstream",
            profile: CertificateProfile.intermediate.narrowed(
                by: ProfileLimits(constrainsNames: constrainsNames)
            ),
            lifetime: CeremonyLifetime.intermediate,
            backdate: backdate,
            now: now,
            using: &generator
        )
    }
}
