// SPDX-License-Identifier: Apache-2.0

/// A key that signs the JWT-SVIDs of a trust domain, as its bundle publishes it.
package struct JWTAuthority: Hashable, Sendable {
    /// Longest key ID in bytes: thumbprints have 43 characters, certificate authorities of others
    /// use short random texts, and some use URLs.
    package static let keyIDBytesMax = 256

    /// The name by which tokens refer to the key (`kid`); never empty.
    package let keyID: String
    package let key: JSONWebKey
    /// The one algorithm that the bundle allows the key; nil for every one that fits.
    package let algorithm: JWSAlgorithm?
    /// The subject key identifier of the X.509 authority that is made and distrusted together with
    /// the key (docs/decisions/0017-jwt-keys-and-services.md); nil if the key's owner has no such
    /// pairs, or does not say.
    package let authorityKeyID: [UInt8]?

    package init(
        keyID: String,
        key: JSONWebKey,
        algorithm: JWSAlgorithm? = nil,
        authorityKeyID: [UInt8]? = nil
    ) {
        self.keyID = keyID
        self.key = key
        self.algorithm = algorithm
        self.authorityKeyID = authorityKeyID
    }

    /// Whether signatures of this algorithm may be the key's.
    package func allows(_ algorithm: JWSAlgorithm) -> Bool {
        algorithm.fits(key.kind) && (self.algorithm ?? algorithm) == algorithm
    }
}

extension JWTAuthority {
    /// Key IDs are compared byte by byte, as verifiers compare `kid` (RFC 7515 section 5.3): Swift
    /// takes two spellings of one character for the same.
    package static func == (one: Self, other: Self) -> Bool {
        one.keyID.utf8.elementsEqual(other.keyID.utf8) && one.key == other.key
            && one.algorithm == other.algorithm && one.authorityKeyID == other.authorityKeyID
    }

    package func hash(into hasher: inout Hasher) {
        hasher.combine(Array(keyID.utf8))
        hasher.combine(key)
        hasher.combine(algorithm)
        hasher.combine(authorityKeyID)
    }
}
