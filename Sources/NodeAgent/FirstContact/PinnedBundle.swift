// SPDX-License-Identifier: Apache-2.0

package import NodeAttestation
package import SPIFFE

/// The part of an unauthenticated bundle that a join token vouches for; nothing else can make one.
package struct PinnedBundle: Hashable, Sendable {
    package let bundle: TrustBundle

    /// Keeps the authorities whose public key is pinned in the token, and makes anchors of them,
    /// whoever certified them.
    ///
    /// A root above them is not pinned: whoever has the key of a revoked authority below it could be
    /// the server to a new machine, which knows no revocations.
    ///
    /// - Throws: `PinnedBundleError` if the bundle is another trust domain's or none is pinned.
    package init(
        keeping offered: TrustBundle,
        pinnedBy token: JoinToken
    ) throws(PinnedBundleError) {
        guard offered.trustDomain == token.trustDomain else {
            throw .trustDomainDiffers(offered: offered.trustDomain, token: token.trustDomain)
        }
        let pins = Set(token.authorityPins)
        let kept = offered.allAuthorities.filter { der in
            guard let hash = try? authoritySPKISHA256(der) else { return false }
            return pins.contains(hash)
        }
        guard !kept.isEmpty else { throw .noneIsPinned }
        bundle = TrustBundle(
            trustDomain: offered.trustDomain,
            x509Authorities: kept,
            x509Intermediates: [],
            sequenceNumber: offered.sequenceNumber,
            refreshHintSeconds: offered.refreshHintSeconds
        )
    }
}

/// Why nothing of an offered bundle is believed.
package enum PinnedBundleError: Error, Hashable, Sendable, CustomStringConvertible {
    case noneIsPinned
    case trustDomainDiffers(offered: TrustDomain, token: TrustDomain)

    package var description: String {
        switch self {
        case .noneIsPinned:
            "the server shows no authority that the join token pins: it is another server, or the "
                + "token is older than its authorities; make a new token with signet token create"
        case .trustDomainDiffers(let offered, let token):
            "the server speaks for trust domain \(offered), the join token is for \(token); check "
                + "the server address"
        }
    }
}
