// SPDX-License-Identifier: Apache-2.0

internal import Crypto
internal import FoundationEssentials
package import Issuance

/// The Ed25519 key of the audit log (RFC 8032), separate from every authority.
package struct AuditKey: Sendable {
    private let key: Curve25519.Signing.PrivateKey

    init() {
        key = Curve25519.Signing.PrivateKey()
    }

    init(rawRepresentation: [UInt8]) throws(SignerError) {
        do {
            key = try Curve25519.Signing.PrivateKey(rawRepresentation: rawRepresentation)
        } catch {
            throw .keyUnreadable(reason: "not an Ed25519 private key")
        }
    }

    var rawRepresentation: [UInt8] { Array(key.rawRepresentation) }

    /// The 32 bytes of the public key.
    package var publicKey: [UInt8] { Array(key.publicKey.rawRepresentation) }

    /// Signs a note (RFC 8032 section 5.1.6).
    package func signature(for bytes: [UInt8]) throws(SignerError) -> [UInt8] {
        do {
            return Array(try key.signature(for: bytes))
        } catch {
            throw .unavailable(reason: "Ed25519 failed in the cryptographic library")
        }
    }
}
