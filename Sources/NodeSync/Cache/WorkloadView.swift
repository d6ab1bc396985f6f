// SPDX-License-Identifier: Apache-2.0

package import SPIFFE

/// What one workload may have now; each message to it is made from a whole view.
package struct WorkloadView: Hashable, Sendable {
    /// What to answer.
    package enum State: Hashable, Sendable {
        /// No entry means the workload: permission denied.
        case denied
        /// Entitled, but nothing can be shown yet: send nothing, a wake follows.
        case awaitingSVIDs
        /// `svids` is not empty.
        case ready
    }

    package let state: State
    /// The oldest entry first, with unique hints.
    ///
    /// The order does not change while the identities stay, so that the first one stays the
    /// workload's default identity.
    package let svids: [X509SVID]
    /// The bundle of the own trust domain.
    package let bundle: TrustBundle?
    /// The bundles its entries federate with, sorted by trust domain.
    package let federatedBundles: [TrustBundle]
    /// The revocation lists of authorities in `bundle`, in the order of the authorities' IDs.
    package let lists: [ShownRevocationList]

    package init(
        state: State,
        svids: [X509SVID],
        bundle: TrustBundle?,
        federatedBundles: [TrustBundle],
        lists: [ShownRevocationList] = []
    ) {
        self.state = state
        self.svids = svids
        self.bundle = bundle
        self.federatedBundles = federatedBundles
        self.lists = lists
    }

    /// The same without lists.
    package var withoutLists: Self {
        Self(state: state, svids: svids, bundle: bundle, federatedBundles: federatedBundles)
    }

    /// The view of whom no entry means.
    static let denied = WorkloadView(
        state: .denied,
        svids: [],
        bundle: nil,
        federatedBundles: []
    )

    /// Takes the hint from every SVID whose hint an earlier one has: the oldest entry keeps it.
    static func uniqueHints(_ svids: [X509SVID]) -> [X509SVID] {
        var hints: Set<String> = []
        return svids.map { svid in
            if svid.hint.isEmpty || hints.insert(svid.hint).inserted { return svid }
            return svid.with(hint: "")
        }
    }
}

extension X509SVID {
    func with(hint: String) -> X509SVID {
        X509SVID(
            id: id,
            certificateChain: certificateChain,
            privateKeyPKCS8: privateKeyPKCS8,
            issuedAt: issuedAt,
            notAfter: notAfter,
            hint: hint,
            entryID: entryID,
            serial: serial
        )
    }
}
