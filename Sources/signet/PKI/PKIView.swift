// SPDX-License-Identifier: Apache-2.0

internal import Foundation
internal import Issuance
internal import SPIFFE

/// A certificate or request of a ceremony, as `signet pki show` prints it.
package struct PKIView: Encodable, Sendable {
    var file: String
    /// `certificate` or `request`.
    var kind: String
    /// Computed from the key.
    var keyID: String
    var keyType: String
    /// Empty: a request says nothing that is believed.
    var uri: String
    var notBefore: String
    var notAfter: String

    /// Reads a certificate in DER.
    ///
    /// - Throws: What is wrong with it.
    package init(certificate der: [UInt8], _ file: String) throws {
        let read = try LeafCertificate(der: der)
        self.file = file
        kind = "certificate"
        keyID = read.keyIdentifier.description
        keyType = try SubjectPublicKey(subjectPublicKeyInfo: read.spkiBytes).algorithm.description
        uri = read.uriNames.joined(separator: " ")
        notBefore = Terminal.time(unixSeconds: Int64(read.notBefore.timeIntervalSince1970))
        notAfter = Terminal.time(unixSeconds: Int64(read.notAfter.timeIntervalSince1970))
    }

    /// Reads a request in DER.
    ///
    /// - Throws: What is wrong with it.
    package init(request der: [UInt8], file: String) throws {
        let key = try CertificateRequest(der: der).publicKey
        self.file = file
        kind = "request"
        keyID = key.keyID
        keyType = key.algorithm.description
        (uri, notBefore, notAfter) = ("", "", "")
    }

    static func table(_ views: [Self]) -> Table {
        Table(
            headings: ["FILE", "KIND", "KEY ID", "KEY", "URI", "NOT AFTER"],
            rows: views.map {
                [$0.file, $0.kind, $0.keyID, $0.keyType, $0.uri, $0.notAfter].map {
                    $0.isEmpty ? "-" : $0
                }
            }
        )
    }
}
