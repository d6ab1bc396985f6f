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

    /// The key identifiers of the X.509 authorities that can be read.
    package var authorityKeyIDs: Set<[UInt8]> {
        Set(x509Authorities.compactMap { (try? LeafCertificate(der: $0))?.subjectKeyID })
    }

    /// This bundle with the keys for JWT-SVIDs that another one has of the same authorities.
    ///
    /// Only Sync brings such keys: a newer bundle that came otherwise neither loses all of them nor
    /// keeps one whose authority has left (docs/decisions/0017-jwt-keys-and-services.md).
    package func keepingJWTAuthorities(of other: TrustBundle) -> TrustBundle {
        let known = authorityKeyIDs
        return TrustBundle(
            trustDomain: trustDomain,
            x509Authorities: x509Authorities,
            jwtAuthorities: other.trustDomain != trustDomain
                ? []
                : other.jwtAuthorities.filter { key in
                    key.authorityKeyID.map(known.contains) ?? false
                },
            sequenceNumber: sequenceNumber,
            refreshHintSeconds: refreshHintSeconds
        )
    }

    /// The bundle for those who verify certificates only.
    package var withoutJWTAuthorities: TrustBundle {
        TrustBundle(
            trustDomain: trustDomain,
            x509Authorities: x509Authorities,
            sequenceNumber: sequenceNumber,
            refreshHintSeconds: refreshHintSeconds
        )
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
