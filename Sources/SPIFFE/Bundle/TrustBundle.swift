// SPDX-License-Identifier: Apache-2.0

package import FoundationEssentials

/// The authorities of one trust domain (SPIFFE Trust Domain and Bundle section 4).
///
/// Bundles of different trust domains are never merged (SPIFFE Federation section 5.1).
package struct TrustBundle: Hashable, Sendable {
    /// Most authorities of either kind in one bundle; a bundle beyond it is refused whole.
    package static let authoritiesMax = 64

    package let trustDomain: TrustDomain
    /// DER of each self-signed authority certificate, in the order published.
    package let x509Authorities: [[UInt8]]
    /// The keys that sign JWT-SVIDs, in the order published.
    package let jwtAuthorities: [JWTAuthority]
    /// Grows with every change of the content (section 4.1.1); 0 before the first publication.
    package let sequenceNumber: UInt64
    /// How often a foreign consumer should look for a new version, in seconds.
    package let refreshHintSeconds: Int

    /// When the last of the X.509 authorities ends, after which no certificate verifies with this
    /// bundle; nil if none can be read.
    package var notAfter: Date? {
        x509Authorities.compactMap { (try? LeafCertificate(der: $0))?.notAfter }.max()
    }

    package init(
        trustDomain: TrustDomain,
        x509Authorities: [[UInt8]],
        jwtAuthorities: [JWTAuthority] = [],
        sequenceNumber: UInt64,
        refreshHintSeconds: Int
    ) {
        self.trustDomain = trustDomain
        self.x509Authorities = x509Authorities
        self.jwtAuthorities = jwtAuthorities
        self.sequenceNumber = sequenceNumber
        self.refreshHintSeconds = refreshHintSeconds
    }
}
