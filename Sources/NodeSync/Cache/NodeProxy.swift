// SPDX-License-Identifier: Apache-2.0

package import SPIFFE

/// A Proxy that is in force on this node, as far as the cache decides by it.
package struct NodeProxy: Hashable, Sendable {
    /// `namespace/name`.
    package let reference: String
    /// Only entries of it are good for the proxy's identities.
    package let namespace: String
    /// What the node must show, all of it.
    package let nodeSelectors: [Selector]
    /// What its process must attest to, all of it.
    package let selectors: [Selector]
    /// The SPIFFE IDs it may present.
    package let identities: [SPIFFEID]
    /// Ports that its outbound listeners name and whose endpoints are observed, sorted.
    package let observed: [ObservedPort]
    /// Everything declared of it, as it came: the cache reads none of it.
    package let payload: [UInt8]

    package init(
        reference: String,
        namespace: String,
        nodeSelectors: [Selector],
        selectors: [Selector],
        identities: [SPIFFEID],
        observed: [ObservedPort] = [],
        payload: [UInt8]
    ) {
        self.reference = reference
        self.namespace = namespace
        self.nodeSelectors = nodeSelectors
        self.selectors = selectors
        self.identities = identities
        self.observed = observed
        self.payload = payload
    }

    /// Whether it is for a node that shows `selectors`.
    package func matches(node selectors: Set<Selector>) -> Bool {
        !nodeSelectors.isEmpty && nodeSelectors.allSatisfy(selectors.contains)
    }

    /// Whether a process that shows `selectors` is meant.
    package func matches(_ selectors: Set<Selector>) -> Bool {
        !self.selectors.isEmpty && self.selectors.allSatisfy(selectors.contains)
    }
}

/// What one proxy process is told; each message to it is made from a whole view.
package struct ProxyView: Hashable, Sendable {
    /// An identity that is granted to the proxy.
    package struct Identity: Hashable, Sendable {
        package let id: SPIFFEID
        /// Nil while there is none at hand: the proxy keeps its own, if it has one.
        package let svid: X509SVID?

        package init(id: SPIFFEID, svid: X509SVID?) {
            self.id = id
            self.svid = svid
        }
    }

    /// What takes effect at once and waits for nothing.
    package struct Trust: Hashable, Sendable {
        /// The own trust domain's first, then those that the entries federate with, sorted.
        package let bundles: [TrustBundle]
        /// Of identities and authorities, sorted.
        package let revocations: [Revocation]
        /// The IDs that the proxy may present, in the order in which its document names them.
        package let granted: [SPIFFEID]
        /// With which other trust domains' peers a granted ID has to do, sorted; without those that
        /// federate with nobody.
        package let federations: [SPIFFEID: [TrustDomain]]

        package init(
            bundles: [TrustBundle],
            revocations: [Revocation],
            granted: [SPIFFEID],
            federations: [SPIFFEID: [TrustDomain]] = [:]
        ) {
            self.bundles = bundles
            self.revocations = revocations
            self.granted = granted
            self.federations = federations
        }
    }

    /// The document behind it; nil once it has left the node's scope: then there is nothing else.
    package let proxy: NodeProxy?
    package let trust: Trust
    /// As `trust.granted`.
    package let identities: [Identity]
    /// Whether an SVID is on its way that the first state should not be sent without.
    package let isAwaiting: Bool

    package init(
        proxy: NodeProxy?,
        trust: Trust,
        identities: [Identity],
        isAwaiting: Bool
    ) {
        self.proxy = proxy
        self.trust = trust
        self.identities = identities
        self.isAwaiting = isAwaiting
    }

    /// The view of a proxy that is not in force here.
    static let gone = ProxyView(
        proxy: nil,
        trust: Trust(bundles: [], revocations: [], granted: []),
        identities: [],
        isAwaiting: false
    )
}
