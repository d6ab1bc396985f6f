// SPDX-License-Identifier: Apache-2.0

internal import Crypto
internal import CryptoExtras
internal import FoundationEssentials

/// A key in this process's memory.
package struct MemorySigner: Signer {
    private enum Key {
        case p256(P256.Signing.PrivateKey)
        case p384(P384.Signing.PrivateKey)
        case rsa(_RSA.Signing.PrivateKey)
    }

    private let key: Key
    package let keyType: AuthorityKeyType
    package let subjectPublicKeyInfo: [UInt8]

    /// Reads a private key of a kind that authorities have.
    ///
    /// - Parameter pkcs8DER: an unencrypted PrivateKeyInfo (RFC 5958).
    /// - Throws: `SignerError.keyUnreadable`; the reason never holds key bytes.
    package init(pkcs8DER: [UInt8]) throws(SignerError) {
        if let read = try? P256.Signing.PrivateKey(derRepresentation: pkcs8DER) {
            (key, keyType) = (.p256(read), .p256)
            subjectPublicKeyInfo = Array(read.publicKey.derRepresentation)
        } else if let read = try? P384.Signing.PrivateKey(derRepresentation: pkcs8DER) {
            (key, keyType) = (.p384(read), .p384)
            subjectPublicKeyInfo = Array(read.publicKey.derRepresentation)
        } else if let read = try? _RSA.Signing.PrivateKey(derRepresentation: pkcs8DER),
            let publicKey = try? SubjectPublicKey(
                subjectPublicKeyInfo: Array(read.publicKey.derRepresentation)
            ), let type = AuthorityKeyType(publicKey.algorithm)
        {
            (key, keyType) = (.rsa(read), type)
            subjectPublicKeyInfo = publicKey.subjectPublicKeyInfo
        } else {
            let types = AuthorityKeyType.allCases.map(\.rawValue).joined(separator: ", ")
            throw .keyUnreadable(reason: "not a private key in PKCS #8 of one of: \(types)")
        }
    }

    /// Makes a new key, with the system's random numbers.
    ///
    /// An RSA key takes up to seconds.
    ///
    /// - Throws: `SignerError` if the library fails.
    package static func new(_ keyType: AuthorityKeyType) throws(SignerError) -> Self {
        do {
            return switch keyType {
            case .p256:
                try Self(pkcs8DER: Array(P256.Signing.PrivateKey().derRepresentation))
            case .p384:
                try Self(pkcs8DER: Array(P384.Signing.PrivateKey().derRepresentation))
            case .rsa2048: try rsa(.bits2048)
            case .rsa4096: try rsa(.bits4096)
            }
        } catch let error as SignerError {
            throw error
        } catch {
            throw .unavailable(reason: "the cryptographic library makes no key")
        }
    }

    private static func rsa(_ size: _RSA.Signing.KeySize) throws -> Self {
        try Self(
            pkcs8DER: Array(_RSA.Signing.PrivateKey(keySize: size).pkcs8DERRepresentation)
        )
    }

    package var signatureAlgorithm: SignatureAlgorithm {
        switch key {
        case .p256: .ecdsaWithSHA256
        case .p384: .ecdsaWithSHA384
        case .rsa: .sha256WithRSAEncryption
        }
    }

    /// The unencrypted PrivateKeyInfo; whoever keeps it keeps it secret.
    package var pkcs8DER: [UInt8] {
        switch key {
        case .p256(let key): Array(key.derRepresentation)
        case .p384(let key): Array(key.derRepresentation)
        case .rsa(let key): Array(key.pkcs8DERRepresentation)
        }
    }

    package func signature(for bytes: [UInt8]) throws(SignerError) -> [UInt8] {
        do {
            switch key {
            case .p256(let key): return Array(try key.signature(for: bytes).derRepresentation)
            case .p384(let key): return Array(try key.signature(for: bytes).derRepresentation)
            case .rsa(let key):
                // "Insecure" is its use for encryption; as a signature it is what RFC 4055 names.
                let signature = try key.signature(
                    for: SHA256.hash(data: bytes),
                    padding: .insecurePKCS1v1_5
                )
                return Array(signature.rawRepresentation)
            }
        } catch {
            throw .unavailable(reason: "signing failed in the cryptographic library")
        }
    }
}

extension MemorySigner: CustomStringConvertible, CustomReflectable {
    /// Says what it is, never what it holds.
    package var description: String { "MemorySigner(\(keyType.rawValue))" }

    package var customMirror: Mirror { Mirror(self, children: [:]) }
}
