// SPDX-License-Identifier: Apache-2.0

package import FoundationEssentials
package import SPIFFE

extension Authority {
    /// Creates a self-signed root for the key of `signer`, in state `prepared`.
    ///
    /// The certificate says: URI `spiffe://<trust domain>`, cA with pathLenConstraint 0,
    /// keyCertSign and cRLSign (X509-SVID section 3.2); it is linted before and verified after the
    /// signature.
    ///
    /// - Parameters:
    ///   - trustDomain: The trust domain that the root speaks for.
    ///   - serverID: The server that holds the key; part of the distinguished name.
    ///   - lifetimes: How long the root lives and how far it is backdated.
    ///   - profile: A root's, which a file may have narrowed.
    ///   - signer: The new key, used by no other authority.
    ///   - now: The wall clock.
    ///   - generator: The system's random numbers in production; they make the serial.
    /// - Returns: The record, not yet published.
    /// - Throws: `AuthorityError` naming what is wrong.
    package static func selfSigned(
        trustDomain: TrustDomain,
        serverID: String,
        lifetimes: SVIDLifetimes,
        profile: CertificateProfile = .root,
        signer: some Signer,
        now: Date,
        using generator: inout some RandomNumberGenerator
    ) throws(AuthorityError) -> Authority {
        let publicKey: SubjectPublicKey
        do {
            publicKey = try SubjectPublicKey(subjectPublicKeyInfo: signer.subjectPublicKeyInfo)
        } catch { throw .keyUnsupported(error) }
        guard let instant = CertificateTime(now), let notAfter = instant.adding(lifetimes.authority)
        else { throw .clockOutOfRange }
        let notBefore = instant.adding(.zero - lifetimes.backdate) ?? instant
        let serial = SerialNumber(using: &generator)
        let subject = try RootSubject(
            trustDomain: trustDomain,
            serverID: serverID,
            serial: serial
        ).encoded()
        let template = CertificateTemplate(
            serial: serial,
            signatureAlgorithm: publicKey.algorithm.signatureAlgorithm,
            issuer: subject,
            notBefore: notBefore,
            notAfter: notAfter,
            subject: subject,
            publicKey: publicKey,
            profile: profile,
            authorityKeyIdentifier: KeyIdentifier(of: publicKey),
            uri: trustDomain.id.description,
            dnsNames: []
        )
        let lifetime = lifetimes.authority
        let der = try template.signed(
            by: signer,
            verifying: publicKey,
            validityMax: min(lifetime, profile.limits.lifetimeMax ?? lifetime)
                + lifetimes.backdate,
            within: (notBefore, notAfter)
        )
        return Authority(
            id: KeyIdentifier(of: publicKey).description,
            serverID: serverID,
            state: .prepared,
            certificateDER: der,
            notBefore: notBefore.date,
            notAfter: notAfter.date
        )
    }
}
