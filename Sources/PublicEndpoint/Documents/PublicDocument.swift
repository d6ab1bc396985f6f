// SPDX-License-Identifier: Apache-2.0

/// A document that verifiers outside fetch.
package enum PublicDocument: Hashable, Sendable {
    /// The SPIFFE bundle of the trust domain.
    case bundle
    /// The discovery document of the issuer of tokens "A, through B".
    case delegatedDiscovery
    /// The OpenID Connect discovery document.
    case discovery
    /// The JSON Web Key Set.
    case keys
    /// The certificate revocation list of one authority.
    case list(authorityID: String)
    /// All lists in one file.
    case lists

    /// Where it is, below the path of the public URL.
    package var path: String {
        switch self {
        case .bundle: "/bundle"
        case .delegatedDiscovery: PublicURL.delegatedPath + Self.discovery.path
        // Appended to the issuer (Discovery 4.1), not put after the host (RFC 8414 section 3.1).
        case .discovery: "/.well-known/openid-configuration"
        case .keys: "/keys"
        case .list(let authorityID): "/crl/\(authorityID).crl"
        case .lists: "/crl.pem"
        }
    }

    /// The name in metrics and logs.
    package var label: String {
        switch self {
        case .bundle: "bundle"
        case .delegatedDiscovery: "delegatedDiscovery"
        case .discovery: "discovery"
        case .keys: "keys"
        case .list: "crl"
        case .lists: "crls"
        }
    }
}
