// SPDX-License-Identifier: Apache-2.0

package import FoundationEssentials
package import SPIFFE

/// The public half of the key that one server signs JWT-SVIDs with, and how long it may.
///
/// The private key is elsewhere; whoever holds the value can sign nothing.
package struct TokenAuthority: Hashable, Sendable {
    /// The key as the bundle publishes it; its ID is the key's thumbprint.
    package let published: JWTAuthority
    package let algorithm: JWSAlgorithm
    package let subjectPublicKeyInfo: [UInt8]
    package let notBefore: Date
    /// No token outlives it: then the key may leave the bundle.
    package let notAfter: Date

    package var keyID: String { published.keyID }

    /// Takes the key that a `Signer` shows.
    ///
    /// - Parameters:
    ///   - subjectPublicKeyInfo: `Signer.subjectPublicKeyInfo`.
    ///   - signatureAlgorithm: `Signer.signatureAlgorithm`.
    ///   - authorityKeyID: The X.509 authority that it is made and distrusted together with.
    ///   - notBefore: When it may begin to sign.
    ///   - notAfter: The end of what it signs.
    /// - Throws: `TokenError.keyUnsupported` or `.algorithmDoesNotFitKey`.
    package init(
        subjectPublicKeyInfo: [UInt8],
        signatureAlgorithm: SignatureAlgorithm,
        authorityKeyID: [UInt8]? = nil,
        notBefore: Date,
        notAfter: Date
    ) throws(TokenError) {
        let key: JSONWebKey
        do throws(JSONWebKeyError) {
            key = try JSONWebKey(subjectPublicKeyInfo: subjectPublicKeyInfo)
        } catch {
            throw .keyUnsupported(error)
        }
        algorithm = signatureAlgorithm.jwsAlgorithm
        guard algorithm.fits(key.kind) else { throw .algorithmDoesNotFitKey }
        published = JWTAuthority(
            keyID: key.thumbprint,
            key: key,
            algorithm: algorithm,
            authorityKeyID: authorityKeyID
        )
        self.subjectPublicKeyInfo = subjectPublicKeyInfo
        self.notBefore = notBefore
        self.notAfter = notAfter
    }
}

extension SignatureAlgorithm {
    /// Its name in tokens (RFC 7518 section 3.1).
    var jwsAlgorithm: JWSAlgorithm {
        switch self {
        case .ecdsaWithSHA256: .es256
        case .ecdsaWithSHA384: .es384
        case .sha256WithRSAEncryption: .rs256
        }
    }
}
