// SPDX-License-Identifier: Apache-2.0

package import ControlAPIProtos
internal import FoundationEssentials
package import NodeSync
internal import SPIFFE
internal import SwiftProtobuf

/// The messages of the Workload API: each a full snapshot (Workload API section 4.2.2).
extension WorkloadView {
    package var x509SVIDResponse: X509SVIDResponse {
        let ownBundle = bundle?.concatenated ?? Data()
        return .with {
            $0.svids = svids.map { svid in
                .with {
                    $0.spiffeID = svid.id.description
                    $0.x509Svid = Data(svid.certificateChain.joined())
                    $0.x509SvidKey = Data(svid.privateKeyPKCS8)
                    $0.bundle = ownBundle
                    $0.hint = svid.hint
                }
            }
            for other in federatedBundles.havingX509 {
                $0.federatedBundles[other.trustDomain.id.description] = other.concatenated
            }
        }
    }

    package var x509BundlesResponse: X509BundlesResponse {
        .with {
            for bundle in [bundle].compactMap({ $0 }) + federatedBundles.havingX509 {
                $0.bundles[bundle.trustDomain.id.description] = bundle.concatenated
            }
        }
    }

    package var jwtBundlesResponse: JWTBundlesResponse {
        .with {
            let others = federatedBundles.filter { !$0.jwtAuthorities.isEmpty }
            for bundle in [bundle].compactMap(\.self) + others {
                $0.bundles[bundle.trustDomain.id.description] = Data(bundle.jwtKeySet())
            }
        }
    }
}

extension [TrustBundle] {
    /// Those with an X.509 authority: what is left out of a message, clients drop (row A-4), and some
    /// refuse a message with an empty bundle.
    fileprivate var havingX509: Self { filter { !$0.x509Authorities.isEmpty } }
}

extension TrustBundle {
    fileprivate var concatenated: Data { Data(x509Authorities.joined()) }
}
