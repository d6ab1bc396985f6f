// SPDX-License-Identifier: Apache-2.0

internal import Crypto
internal import CryptoExtras
internal import SwiftASN1

/// A subject's public key in the form that verifies signatures.
enum VerificationKey {
    case p256(P256.Signing.PublicKey)
    case p384(P384.Signing.PublicKey)
    case rsa(_RSA.Signing.PublicKey)

    /// The hash functions of accepted signatures; SHA-1 is none of them.
    enum Hash {
        case sha256
        case sha384
        case sha512
    }

    /// Verifies ECDSA, or RSASSA-PKCS1-v1_5 for an RSA key.
    func verifies(
        _ signature: ArraySlice<UInt8>,
        of bytes: ArraySlice<UInt8>,
        hashedBy hash: Hash
    ) -> Bool {
        switch hash {
        case .sha256: verifies(signature, of: SHA256.hash(data: bytes))
        case .sha384: verifies(signature, of: SHA384.hash(data: bytes))
        case .sha512: verifies(signature, of: SHA512.hash(data: bytes))
        }
    }

    private func verifies(_ signature: ArraySlice<UInt8>, of digest: some Digest) -> Bool {
        switch self {
        case .p256(let key):
            guard let parsed = try? P256.Signing.ECDSASignature(derRepresentation: signature)
            else { return false }
            return key.isValidSignature(parsed, for: digest)
        case .p384(let key):
            guard let parsed = try? P384.Signing.ECDSASignature(derRepresentation: signature)
            else { return false }
            return key.isValidSignature(parsed, for: digest)
        case .rsa(let key):
            // "Insecure" is its use for encryption; as a signature it is what RFC 4055 names.
            return key.isValidSignature(
                _RSA.Signing.RSASignature(rawRepresentation: signature),
                for: digest,
                padding: .insecurePKCS1v1_5
            )
        }
    }
}
