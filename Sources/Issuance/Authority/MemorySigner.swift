// SPDX-License-Identifier: Apache-2.0

internal import Crypto
internal import FoundationEssentials

/// A P-256 key in this process's memory.
package struct MemorySigner: Signer {
    private let key: P256.Signing.PrivateKey
    package let subjectPublicKeyInfo: [UInt8]

    /// Reads a P-256 private key.
    ///
    /// - Parameter pkcs8DER: an unencrypted PrivateKeyInfo (RFC 5958).
    /// - Throws: `SignerError.keyUnreadable`; the reason never holds key bytes.
    package init(pkcs8DER: [UInt8]) throws(SignerError) {
        do {
            key = try P256.Signing.PrivateKey(derRepresentation: pkcs8DER)
        } catch {
            throw .keyUnreadable(reason: "not a P-256 private key in PKCS #8")
        }
        subjectPublicKeyInfo = Array(key.publicKey.derRepresentation)
    }

    package var signatureAlgorithm: SignatureAlgorithm { .ecdsaWithSHA256 }

    /// The unencrypted PrivateKeyInfo; whoever keeps it keeps it secret.
    package var pkcs8DER: [UInt8] { Array(key.derRepresentation) }

    package func signature(for bytes: [UInt8]) throws(SignerError) -> [UInt8] {
        do {
            return Array(try key.signature(for: bytes).derRepresentation)
        } catch {
            throw .unavailable(reason: "ECDSA failed in the cryptographic library")
        }
    }
}

extension MemorySigner: CustomStringConvertible, CustomReflectable {
    /// Says what it is, never what it holds.
    package var description: String { "MemorySigner(P-256)" }

    package var customMirror: Mirror { Mirror(self, children: [:]) }
}
