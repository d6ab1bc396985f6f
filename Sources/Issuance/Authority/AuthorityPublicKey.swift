// SPDX-License-Identifier: Apache-2.0

internal import Crypto
internal import CryptoExtras
internal import FoundationEssentials
internal import SPIFFE
internal import SwiftASN1

/// A public key of a kind that authorities are made with, in the form that verifies many signatures.
package struct AuthorityPublicKey: Sendable {
    private let verifier: VerificationKey
    package let keyType: AuthorityKeyType
    package let subjectPublicKeyInfo: [UInt8]
    package let signatureAlgorithm: SignatureAlgorithm
    /// What the ID of an authority with this key is.
    package let authorityID: String

    /// Reads a SubjectPublicKeyInfo.
    ///
    /// - Returns: nil for a key that authorities are not made with.
    package init?(subjectPublicKeyInfo der: [UInt8]) {
        guard let node = try? DER.parse(der),
            let (key, verifier) = try? SubjectPublicKey.read(node),
            let keyType = AuthorityKeyType(key.algorithm)
        else { return nil }
        self.verifier = verifier
        self.keyType = keyType
        subjectPublicKeyInfo = key.subjectPublicKeyInfo
        signatureAlgorithm = key.algorithm.signatureAlgorithm
        authorityID = KeyIdentifier(of: key).description
    }

    /// The SHA-256 of the SubjectPublicKeyInfo.
    package var spkiSHA256: [UInt8] { Array(SHA256.hash(data: subjectPublicKeyInfo)) }

    /// Verifies a signature that something else than this process made.
    ///
    /// - Returns: The signature as it is encoded here, so that none but its one DER goes on; nil if
    ///   it is not the key's over these bytes.
    package func verified(_ signature: [UInt8], of bytes: [UInt8]) -> [UInt8]? {
        let hash = signatureAlgorithm.hash
        guard verifier.verifies(signature[...], of: bytes[...], hashedBy: hash) else { return nil }
        switch verifier {
        case .p256:
            return (try? P256.Signing.ECDSASignature(derRepresentation: signature))
                .map { Array($0.derRepresentation) }
        case .p384:
            return (try? P384.Signing.ECDSASignature(derRepresentation: signature))
                .map { Array($0.derRepresentation) }
        case .rsa: return signature
        }
    }
}
