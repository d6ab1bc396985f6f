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
            self = .identity(
                id,
                issuedBefore: try Self.time(
                    identity.issuedBeforeUnixSeconds,
                    "revocation.identity.issued_before_unix_seconds"
                )
            )
        case .authority(let authority):
            self = .authority(keyID: try Self.keyID(authority, "revocation.authority"))
        case .leaf(let leaf):
            try StrictFields.known(leaf, "revocation.leaf")
            let serial = Array(leaf.serial)
            guard !serial.isEmpty, serial.count <= LeafCertificate.serialBytesMax, serial[0] != 0
            else { throw .field("revocation.leaf.serial", "it is no serial number") }
            self = .leaf(
                authorityKeyID: try Self.keyID(
                    leaf.authorityKeyID,
                    "revocation.leaf.authority_key_id"
                ),
                serial: serial,
                notAfter: try Self.time(
                    leaf.notAfterUnixSeconds,
                    "revocation.leaf.not_after_unix_seconds"
                )
            )
        case .taintedAuthority(let authority):
            self = .taintedAuthority(
                keyID: try Self.keyID(authority, "revocation.tainted_authority")
            )
        case nil: throw .missing("revocation.target")
        }
    }

    /// Longest subject key identifier: SHA-512 over a key; ours have 20 bytes.
    private static let keyIDBytesMax = 64

    /// The end of the year 9999, the last that a certificate can name (RFC 5280 section 4.1.2.5).
    private static let timeMax: Int64 = 253_402_300_799

    private static func time(_ seconds: Int64, _ field: String) throws(WireError) -> Date {
        guard seconds > 0 else { throw .missing(field) }
        guard seconds <= timeMax else { throw .field(field, "it is after the year 9999") }
        return Date(timeIntervalSince1970: Double(seconds))
    }

    private static func keyID(
        _ message: Signet_Node_V1alpha1_DistrustedAuthority,
        _ field: String
    ) throws(WireError) -> [UInt8] {
        try StrictFields.known(message, field)
        return try keyID(message.keyID, field + ".key_id")
    }

    private static func keyID(_ bytes: Data, _ field: String) throws(WireError) -> [UInt8] {
        guard !bytes.isEmpty else { throw .missing(field) }
        guard bytes.count <= keyIDBytesMax else {
            throw .field(field, "it has more than \(keyIDBytesMax) bytes")
        }
        return Array(bytes)
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
            case .authority(let keyID):
                return .with { $0.authority = .with { $0.keyID = Data(keyID) } }
            case .taintedAuthority(let keyID):
                return .with { $0.taintedAuthority = .with { $0.keyID = Data(keyID) } }
            case .leaf(let authorityKeyID, let serial, let notAfter):
                return .with {
                    $0.leaf = .with {
                        $0.authorityKeyID = Data(authorityKeyID)
                        $0.serial = Data(serial)
                        $0.notAfterUnixSeconds =
                            Int64(notAfter.timeIntervalSince1970.rounded(.up))
                    }
                }
            case .node:
                throw .field("revocation.target", "it has no form on the wire")
            }
        }
    }
}
