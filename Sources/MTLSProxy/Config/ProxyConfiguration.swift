// SPDX-License-Identifier: Apache-2.0

package import ControlAPI
package import FoundationEssentials
package import NodeSync
package import Reactor
package import Routing
package import SPIFFE

/// An identity that the proxy presents, with the proxy's own key for it.
///
/// Its descriptions leave the key out, so that no log line or failed test can show it.
package struct ProxyIdentity: Hashable, Sendable {
    package let id: SPIFFEID
    /// DER, leaf first.
    package let certificateChain: [[UInt8]]
    package let privateKeyPKCS8: [UInt8]
    /// Which authority the leaf says signed it; empty if it says none.
    package let authorityKeyID: [UInt8]
    /// Of the leaf, in the form of `LeafCertificate.serial`.
    package let serial: [UInt8]
    /// Of the leaf.
    package let notBefore: Date
    /// Of the leaf; the identity is not presented any more afterwards.
    package let notAfter: Date

    package init(
        id: SPIFFEID,
        certificateChain: [[UInt8]],
        privateKeyPKCS8: [UInt8],
        authorityKeyID: [UInt8] = [],
        serial: [UInt8] = [],
        notBefore: Date,
        notAfter: Date
    ) {
        self.id = id
        self.certificateChain = certificateChain
        self.privateKeyPKCS8 = privateKeyPKCS8
        self.authorityKeyID = authorityKeyID
        self.serial = serial
        self.notBefore = notBefore
        self.notAfter = notAfter
    }
}

extension ProxyIdentity: CustomStringConvertible, CustomReflectable {
    package var description: String { "ProxyIdentity(\(id), until \(notAfter))" }

    package var customMirror: Mirror { Mirror(self, children: ["id": id, "notAfter": notAfter]) }
}

/// What takes effect at once, whatever becomes of states; whole each time.
package struct ProxyTrust: Hashable, Sendable {
    package let trustDomain: TrustDomain
    package let bundles: [TrustDomain: TrustBundle]
    /// Until when what was issued for an identity is refused; see `revokes`.
    package let revocations: [SPIFFEID: Date]
    /// How authorities are distrusted, by their subject key identifiers.
    package let authorities: [[UInt8]: AuthorityStanding]
    /// Single certificates that are refused, and when each ends.
    package let leaves: [PeerRevocations.Leaf: Date]
    /// The IDs that the proxy may present; what is not here is erased.
    package let granted: Set<SPIFFEID>
    /// The other trust domains whose peers an ID believes; their bundles may be missing.
    package let federations: [SPIFFEID: Set<TrustDomain>]

    package init(
        trustDomain: TrustDomain,
        bundles: [TrustDomain: TrustBundle],
        revocations: [SPIFFEID: Date],
        authorities: [[UInt8]: AuthorityStanding] = [:],
        leaves: [PeerRevocations.Leaf: Date] = [:],
        granted: Set<SPIFFEID>,
        federations: [SPIFFEID: Set<TrustDomain>] = [:]
    ) {
        self.trustDomain = trustDomain
        self.bundles = bundles
        self.revocations = revocations
        self.authorities = authorities
        self.leaves = leaves
        self.granted = granted
        self.federations = federations
    }

    /// Whether a leaf of an identity is refused, whoever signed it.
    package func revokes(_ id: SPIFFEID, leafNotBefore: Date) -> Bool {
        revocations[id].map {
            Revocation.revokes(leafNotBefore: leafNotBefore, issuedBefore: $0)
        } ?? false
    }

    /// Whether a certificate of the proxy's own is refused.
    package func revokes(_ identity: ProxyIdentity) -> Bool {
        authorities[identity.authorityKeyID] == .revoked
            || leaves[
                .init(authorityKeyID: identity.authorityKeyID, serial: identity.serial)
            ] != nil
            || revokes(identity.id, leafNotBefore: identity.notBefore)
    }

    /// The authorities that stand so.
    func authorities(standing: AuthorityStanding) -> Set<[UInt8]> {
        Set(authorities.filter { $0.value == standing }.keys)
    }
}

/// A whole state of the agent, read and judged, ready to be brought into force as one.
package struct ProxyConfiguration: Hashable, Sendable {
    package let revision: Revision
    /// Counts the states of one stream.
    package let sequence: UInt64
    /// What was declared; its policies are in the encoding that Authorization reads.
    package let state: ProxyState
    /// What the proxy may present, of what `state` names: granted, not revoked, with a key.
    package let identities: [SPIFFEID: ProxyIdentity]

    package init(
        revision: Revision,
        sequence: UInt64,
        state: ProxyState,
        identities: [SPIFFEID: ProxyIdentity]
    ) {
        self.revision = revision
        self.sequence = sequence
        self.state = state
        self.identities = identities
    }
}

/// Where the observed endpoints of Services are; of ports that are missing nothing is known.
package typealias ProxyEndpoints = [ObservedPort: [Routing.SocketAddress]]

/// What somebody asks a proxy through its agent.
package enum ProxyQuestion: Hashable, Sendable {
    case connections
    case counters
    /// Why a request or connection was allowed or denied, by the ID of the decision.
    case decision(id: String)
}
