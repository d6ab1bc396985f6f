// SPDX-License-Identifier: Apache-2.0

/// What certified an authority (docs/decisions/0020-authorities-under-another.md).
package struct AuthorityAncestry: Hashable, Sendable, Codable {
    /// DER of the certificates between the authority and its root, from the issuer upwards; empty if
    /// the root is the issuer.
    package let chain: [[UInt8]]
    /// The computed IDs of the keys above (`KeyIdentifier`, in hexadecimal), from the issuer's to the
    /// root's; never empty.
    package let keyIDs: [String]

    /// Names what is in the chain.
    ///
    /// - Parameters:
    ///   - chain: As in the property; nothing but that each can be read is checked.
    ///   - rootID: The key ID of the root.
    /// - Throws: `LeafCertificateError` if one of the chain cannot be read.
    package init(chain: [[UInt8]], rootID: String) throws(LeafCertificateError) {
        var keyIDs: [String] = []
        for der in chain { keyIDs.append(try LeafCertificate(der: der).keyIdentifier.description) }
        self.chain = chain
        self.keyIDs = keyIDs + [rootID]
    }

    /// The key ID of what signed the authority's certificate.
    package var issuerID: String { keyIDs.first ?? "" }

    /// The key ID of the self-signed root, which the bundle holds.
    package var rootID: String { keyIDs.last ?? "" }
}
