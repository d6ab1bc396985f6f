// SPDX-License-Identifier: Apache-2.0

package import NodeSync
package import Routing

/// Everything declared that one proxy needs, as the server composed it from documents of one
/// revision: the payload of resource type `proxy` (docs/decisions/0009-data-path.md).
package struct ProxyState: Hashable, Sendable {
    /// Most policies of one proxy: those of two namespaces that a person can still oversee.
    package static let policiesMax = 4_096
    /// Most bytes of all policies: 384 KiB each for its namespace and for `signet-system`.
    package static let policiesBytesMax = 2 * 384 * 1024
    /// Most Services: one for each outbound listener.
    package static let servicesMax = Proxy.listenersMax

    package let proxy: Proxy
    /// The Services that its outbound listeners name, all of its namespace.
    package let services: [Service]
    /// Policies in the encoding that Authorization reads; whoever passes them on reads nothing.
    package let policies: [[UInt8]]
    /// For each inbound listener of `proxy`, in its order: the places of its policies, ascending.
    package let inboundPolicies: [[Int]]

    /// Joins the parts; `init(parsing:)` checks that they fit each other.
    package init(
        proxy: Proxy,
        services: [Service] = [],
        policies: [[UInt8]] = [],
        inboundPolicies: [[Int]]
    ) {
        self.proxy = proxy
        self.services = services
        self.policies = policies
        self.inboundPolicies = inboundPolicies
    }

    /// The Service of the proxy's namespace with this name.
    package func service(named name: String) -> Service? {
        services.first { $0.name == name }
    }

    /// The ports that its outbound listeners name and whose endpoints are observed, sorted.
    package var observedPorts: [ObservedPort] {
        let ports = proxy.outbound.compactMap { listener -> ObservedPort? in
            guard service(named: listener.service)?.isObserved == true else { return nil }
            return ObservedPort(
                namespace: proxy.namespace,
                service: listener.service,
                name: listener.port
            )
        }
        return Set(ports).sorted()
    }
}

/// What agent and server tell each other that they understand beyond the first version of sync.
package enum SyncCapability {
    /// Resource types `proxy` and `revocation`, and reports of proxies.
    package static let proxy = "proxy"
    /// Lists of observed endpoints (docs/decisions/0010-observed-endpoints.md).
    package static let observedEndpoints = "observedEndpoints"
    /// Revocations of authorities, and that they are tainted
    /// (docs/decisions/0014-life-of-an-authority.md).
    package static let distrustedAuthorities = "distrustedAuthorities"
    /// Revocations of single certificates (docs/decisions/0015-revocation-of-certificates.md).
    package static let revokedCertificates = "revokedCertificates"
    /// Resource type `revocationList` (docs/decisions/0018-certificate-revocation-lists.md).
    package static let revocationLists = "revocationLists"
    /// Of an agent the resource type `federatedBundle`, of a proxy `federations` of its trust
    /// (docs/decisions/0021-federation.md).
    package static let federation = "federation"
    /// Of an agent authorities of a bundle that another one certified, and their keys for JWT-SVIDs; of
    /// a proxy that it looks for revocations along the whole path
    /// (docs/decisions/0020-authorities-under-another.md).
    package static let intermediates = "intermediates"
}
