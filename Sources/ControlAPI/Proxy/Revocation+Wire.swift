// SPDX-License-Identifier: Apache-2.0

package import ControlAPIProtos
internal import FoundationEssentials
package import NodeSync
internal import SPIFFE
internal import SwiftProtobuf

extension Revocation {
    /// Reads the wire form.
    ///
    /// - Throws: `WireError`: a target that this version does not know is never taken for none.
    package init(parsing message: Signet_Node_V1alpha1_Revocation) throws(WireError) {
        try StrictFields.known(message, "revocation")
        switch message.target {
        case .identity(let identity):
            try StrictFields.known(identity, "revocation.identity")
            let id: SPIFFEID
            do { id = try SPIFFEID(identity.spiffeID) } catch {
                throw .field("revocation.identity.spiffe_id", error.description)
            }
            guard identity.issuedBeforeUnixSeconds > 0 else {
                throw .missing("revocation.identity.issued_before_unix_seconds")
            }
            self = .identity(
                id,
                issuedBefore: Date(
                    timeIntervalSince1970: Double(identity.issuedBeforeUnixSeconds)
                )
            )
        case nil: throw .missing("revocation.target")
        }
    }

    /// The wire form.
    ///
    /// - Throws: `WireError` for targets that are not sent yet.
    package var message: Signet_Node_V1alpha1_Revocation {
        get throws(WireError) {
            switch self {
            case .identity(let id, let issuedBefore):
                return .with {
                    $0.identity = .with {
                        $0.spiffeID = id.description
                        $0.issuedBeforeUnixSeconds =
                            Int64(issuedBefore.timeIntervalSince1970.rounded(.up))
                    }
                }
            case .authority, .leaf, .node:
                throw .field("revocation.target", "it has no form on the wire")
            }
        }
    }
}
