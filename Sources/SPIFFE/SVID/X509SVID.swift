// SPDX-License-Identifier: Apache-2.0

package import FoundationEssentials

/// One X509-SVID with its private key, as a workload receives it (Workload API section 5.2.1).
///
/// Its descriptions leave the key out, so that no log line or failed test can show it.
package struct X509SVID: Hashable, Sendable {
    /// How long before its signature a leaf begins to be valid, exactly: notBefore therefore tells
    /// when it was issued (docs/decisions/0009-data-path.md).
    package static let backdatingSeconds = 60.0

    package let id: SPIFFEID
    /// DER of each certificate, leaf first, without the trusted authority.
    package let certificateChain: [[UInt8]]
    /// The private key as unencrypted PKCS#8 DER.
    package let privateKeyPKCS8: [UInt8]
    /// When the authority signed it; notBefore lies some seconds before.
    package let issuedAt: Date
    package let notAfter: Date
    /// Tells several SVIDs of one workload apart (Workload API section 4.4); may be empty.
    package let hint: String
    /// The registration entry that granted it.
    package let entryID: String
    /// The serial number in the form of `LeafCertificate.serial`.
    package let serial: [UInt8]

    package init(
        id: SPIFFEID,
        certificateChain: [[UInt8]],
        privateKeyPKCS8: [UInt8],
        issuedAt: Date,
        notAfter: Date,
        hint: String,
        entryID: String,
        serial: [UInt8]
    ) {
        self.id = id
        self.certificateChain = certificateChain
        self.privateKeyPKCS8 = privateKeyPKCS8
        self.issuedAt = issuedAt
        self.notAfter = notAfter
        self.hint = hint
        self.entryID = entryID
        self.serial = serial
    }
}

extension X509SVID: CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
    package var description: String { "X509SVID(\(id), entry \(entryID), until \(notAfter))" }

    package var debugDescription: String { description }

    package var customMirror: Mirror {
        Mirror(self, children: ["id": id, "entryID": entryID, "notAfter": notAfter])
    }
}
