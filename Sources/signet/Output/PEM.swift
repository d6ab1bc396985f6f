// SPDX-License-Identifier: Apache-2.0

package import Foundation

/// Textual encoding of DER (RFC 7468).
package enum PEM {
    /// One certificate, without the last line feed.
    package static func certificate(_ der: Data) -> String { encode(der, label: "CERTIFICATE") }
    /// One certificate revocation list, without the last line feed.
    package static func revocationList(_ der: Data) -> String { encode(der, label: "X509 CRL") }
    /// A PKCS#8 key, without the last line feed.
    package static func privateKey(_ der: Data) -> String { encode(der, label: "PRIVATE KEY") }

    private static func encode(_ der: Data, label: String) -> String {
        let body = der.base64EncodedString(options: [.lineLength64Characters, .endLineWithLineFeed])
        return "-----BEGIN \(label)-----\n\(body)\n-----END \(label)-----"
    }
}
