// SPDX-License-Identifier: Apache-2.0

/// The kinds of key that authorities are made with; every SPIFFE peer verifies what they sign.
package enum AuthorityKeyType: String, Hashable, Sendable, CaseIterable {
    case p256 = "ec-p256"
    case p384 = "ec-p384"
    case rsa2048 = "rsa-2048"
    case rsa4096 = "rsa-4096"

    /// The kind of a key; nil for an RSA key of another size.
    package init?(_ algorithm: SubjectPublicKey.Algorithm) {
        self.init(rawValue: algorithm.description)
    }
}
