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
            for other in federatedBundles {
                $0.federatedBundles[other.trustDomain.id.description] = other.concatenated
            }
        }
    }

    package var x509BundlesResponse: X509BundlesResponse {
        .with {
            for bundle in [bundle].compactMap({ $0 }) + federatedBundles {
                $0.bundles[bundle.trustDomain.id.description] = bundle.concatenated
            }
        }
    }
}

extension TrustBundle {
    fileprivate var concatenated: Data { Data(x509Authorities.joined()) }
}
