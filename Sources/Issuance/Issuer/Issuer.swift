// SPDX-License-Identifier: Apache-2.0

internal import FoundationEssentials
package import SPIFFE

/// What one server issues from: its trust domain, its lifetimes and its active authority.
///
/// A new value is made whenever one of the three changes; it is cheap to copy and holds no key.
package struct Issuer: Sendable {
    /// Longest agent name or server ID in bytes: a fully qualified host name fits.
    package static let nodeNameBytesMax = 253
    /// Most DNS names in one certificate: it must stay small enough for one TLS record and one
    /// screen.
    package static let dnsNamesMax = 32

    package let trustDomain: TrustDomain
    package let lifetimes: SVIDLifetimes
    package let profiles: CertificateProfiles
    package let authority: Authority
    let authorityKey: SubjectPublicKey
    let authorityKeyIdentifier: KeyIdentifier
    /// DER of the authority's subject, copied into every certificate as issuer.
    let authorityName: [UInt8]
    let authorityNotBefore: CertificateTime
    let authorityNotAfter: CertificateTime

    /// Reads the authority's certificate: self-signed, or held to `UpstreamChain` before it was
    /// published.
    ///
    /// - Throws: `AuthorityError`: `.notActive`, `.certificateUnreadable`, `.keyUnsupported`,
    ///   `.recordDiffers` or `.trustDomainDiffers`.
    package init(
        trustDomain: TrustDomain,
        lifetimes: SVIDLifetimes,
        profiles: CertificateProfiles = .standard,
        authority: Authority
    ) throws(AuthorityError) {
        guard authority.state == .active else { throw .notActive }
        let certificate = try AuthorityCertificate(of: authority)
        guard certificate.uris == [trustDomain.id.description] else {
            throw .trustDomainDiffers
        }
        authorityKey = certificate.key
        authorityKeyIdentifier = certificate.keyIdentifier
        authorityName = certificate.name
        authorityNotBefore = certificate.notBefore
        authorityNotAfter = certificate.notAfter
        self.trustDomain = trustDomain
        self.lifetimes = lifetimes
        self.profiles = profiles
        self.authority = authority
    }
}
