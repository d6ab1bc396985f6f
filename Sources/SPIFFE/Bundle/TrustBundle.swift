// SPDX-License-Identifier: Apache-2.0

package import FoundationEssentials

/// The authorities of one trust domain (SPIFFE Trust Domain and Bundle section 4).
///
/// Bundles of different trust domains are never merged (SPIFFE Federation section 5.1).
package struct TrustBundle: Hashable, Sendable {
    /// Most authorities of each kind in one bundle; a bundle beyond it is refused whole.
    package static let authoritiesMax = 64

    package let trustDomain: TrustDomain
    /// DER of each self-signed authority certificate, in the order published.
    package let x509Authorities: [[UInt8]]
    /// DER of each authority that another one certified, in the order published.
    ///
    /// Nobody trusts them for being here: a path has to end at one of `x509Authorities`. Keys for
    /// JWT-SVIDs and revocation lists need their authority beside them
    /// (docs/decisions/0020-authorities-under-another.md).
    package let x509Intermediates: [[UInt8]]
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

    /// The X.509 authorities of both kinds, those that another one certified last.
    package var allAuthorities: [[UInt8]] { x509Authorities + x509Intermediates }

    /// The key identifiers of the X.509 authorities of both kinds that can be read.
    package var authorityKeyIDs: Set<[UInt8]> { Self.keyIDs(allAuthorities) }

    private static func keyIDs(_ certificates: [[UInt8]]) -> Set<[UInt8]> {
        Set(certificates.compactMap { (try? LeafCertificate(der: $0))?.subjectKeyID })
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
            x509Intermediates: x509Intermediates,
            jwtAuthorities: other.trustDomain != trustDomain
                ? []
                : other.jwtAuthorities.filter { key in
                    key.authorityKeyID.map(known.contains) ?? false
                },
            sequenceNumber: sequenceNumber,
            refreshHintSeconds: refreshHintSeconds
        )
    }

    /// The bundle without keys for JWT-SVIDs, which Sync alone brings.
    package var withoutJWTAuthorities: TrustBundle {
        TrustBundle(
            trustDomain: trustDomain,
            x509Authorities: x509Authorities,
            x509Intermediates: x509Intermediates,
            sequenceNumber: sequenceNumber,
            refreshHintSeconds: refreshHintSeconds
        )
    }

    /// The bundle for those who verify certificates only, and build paths from what peers present.
    package var anchorsOnly: TrustBundle {
        TrustBundle(
            trustDomain: trustDomain,
            x509Authorities: x509Authorities,
            x509Intermediates: [],
            sequenceNumber: sequenceNumber,
            refreshHintSeconds: refreshHintSeconds
        )
    }

    /// The bundle for readers who refuse a key for JWT-SVIDs whose authority is not among
    /// `x509Authorities`: without the others and without their keys.
    package var withoutIntermediates: TrustBundle {
        let anchors = x509Intermediates.isEmpty ? [] : Self.keyIDs(x509Authorities)
        return TrustBundle(
            trustDomain: trustDomain,
            x509Authorities: x509Authorities,
            x509Intermediates: [],
            jwtAuthorities: x509Intermediates.isEmpty
                ? jwtAuthorities
                : jwtAuthorities.filter { $0.authorityKeyID.map(anchors.contains) ?? true },
            sequenceNumber: sequenceNumber,
            refreshHintSeconds: refreshHintSeconds
        )
    }

    package init(
        trustDomain: TrustDomain,
        x509Authorities: [[UInt8]],
        x509Intermediates: [[UInt8]],
        jwtAuthorities: [JWTAuthority] = [],
        sequenceNumber: UInt64,
        refreshHintSeconds: Int
    ) {
        self.trustDomain = trustDomain
        self.x509Authorities = x509Authorities
        self.x509Intermediates = x509Intermediates
        self.jwtAuthorities = jwtAuthorities
        self.sequenceNumber = sequenceNumber
        self.refreshHintSeconds = refreshHintSeconds
    }
}
