// SPDX-License-Identifier: Apache-2.0

/// A private key of an authority, wherever it lies: memory, a file, a hardware module.
///
/// Calls are synchronous; a signer that waits for a device is called off the event loops.
package protocol Signer: Sendable {
    /// DER of the public key's SubjectPublicKeyInfo.
    var subjectPublicKeyInfo: [UInt8] { get }
    var signatureAlgorithm: SignatureAlgorithm { get }

    /// Signs `bytes`, hashing them as `signatureAlgorithm` says.
    ///
    /// - Returns: the content of the certificate's signature bit string; for ECDSA the DER of
    ///   ECDSA-Sig-Value (RFC 5480 appendix A).
    /// - Throws: `SignerError` if the key cannot be used now.
    func signature(for bytes: [UInt8]) throws(SignerError) -> [UInt8]

    /// Signs many messages: one by one, unless the key's place takes several at once.
    ///
    /// - Returns: A signature for each message, in the same order.
    /// - Throws: `SignerError` if one of them cannot be signed.
    func signatures(for messages: [[UInt8]]) throws(SignerError) -> [[UInt8]]
}

extension Signer {
    package func signatures(for messages: [[UInt8]]) throws(SignerError) -> [[UInt8]] {
        var signatures: [[UInt8]] = []
        signatures.reserveCapacity(messages.count)
        for message in messages { signatures.append(try signature(for: message)) }
        return signatures
    }
}

/// Why a key did not sign.
package enum SignerError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The key cannot be read; `reason` is for the server's log.
    case keyUnreadable(reason: String)
    /// The device or library that holds the key failed; `reason` is for the server's log.
    case unavailable(reason: String)

    package var description: String {
        switch self {
        case .keyUnreadable(let reason): "the signing key cannot be read: \(reason)"
        case .unavailable(let reason): "the signer is not available: \(reason)"
        }
    }
}
