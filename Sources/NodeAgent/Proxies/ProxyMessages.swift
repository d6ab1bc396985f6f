// SPDX-License-Identifier: Apache-2.0

internal import ControlAPI
internal import ControlAPIProtos
internal import FoundationEssentials
internal import NodeSync
internal import SPIFFE
internal import SwiftProtobuf

extension ProxyView.Trust {
    /// The wire form.
    ///
    /// - Parameters:
    ///   - trustDomain: The own one.
    ///   - capabilities: What the process understands: one that knows revocations of identities
    ///     alone would refuse the whole, and is told of no others (decisions 0014 and 0015); one
    ///     that does not know who federates with whom is told of the own bundle alone (0021).
    /// - Returns: The message.
    func message(
        _ trustDomain: TrustDomain,
        for capabilities: [String]
    ) -> Signet_Proxy_V1alpha1_Trust {
        let isFederating = capabilities.contains(SyncCapability.federation)
        return .with {
            $0.trustDomain = trustDomain.name
            $0.bundles = bundles.filter { isFederating || $0.trustDomain == trustDomain }
                .map(\.anchorsOnly.message)
            // The cache tells of none of nodes; all others have a form.
            $0.revocations = revocations.filter { $0.isKnown(to: capabilities) }
                .compactMap { try? $0.message }
            $0.granted = granted.map(\.description)
            guard isFederating else { return }
            $0.federations = granted.compactMap { id in
                guard let others = federations[id], !others.isEmpty else { return nil }
                return .with {
                    $0.spiffeID = id.description
                    $0.trustDomains = others.map(\.name)
                }
            }
        }
    }
}

extension Revocation {
    /// Whether a process with these capabilities takes it.
    fileprivate func isKnown(to capabilities: [String]) -> Bool {
        switch self {
        case .authority, .taintedAuthority:
            capabilities.contains(SyncCapability.distrustedAuthorities)
        case .identity: true
        case .leaf: capabilities.contains(SyncCapability.revokedCertificates)
        case .node: false
        }
    }
}

extension ProxyOffer {
    /// The wire form, without keys of what is not granted.
    func message(
        _ sequence: UInt64,
        granted: Set<SPIFFEID>
    ) -> Signet_Proxy_V1alpha1_State {
        .with {
            $0.sequence = sequence
            $0.revision = revision.message
            $0.proxy = Data(view.proxy?.payload ?? [])
            $0.identities = view.identities.map { identity in
                .with {
                    $0.spiffeID = identity.id.description
                    guard let svid = identity.svid, granted.contains(identity.id) else { return }
                    $0.certificateChain = svid.certificateChain.map { Data($0) }
                    $0.privateKeyPkcs8 = Data(svid.privateKeyPKCS8)
                }
            }
        }
    }
}
