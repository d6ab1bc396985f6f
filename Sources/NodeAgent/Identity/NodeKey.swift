// SPDX-License-Identifier: Apache-2.0

internal import Crypto
internal import SwiftASN1
internal import X509

/// A P-256 key made on this node: the agent's own, or one workload SVID's.
///
/// Its descriptions leave the key out.
package struct NodeKey: Sendable, CustomStringConvertible {
    private let key: P256.Signing.PrivateKey

    /// Makes a new key.
    package init() {
        key = P256.Signing.PrivateKey()
    }

    /// Reads unencrypted PKCS#8 DER; nil if it is no P-256 key.
    package init?(pkcs8: [UInt8]) {
        guard let key = try? P256.Signing.PrivateKey(derRepresentation: pkcs8) else { return nil }
        self.key = key
    }

    /// The key as unencrypted PKCS#8 DER.
    package var pkcs8: [UInt8] { Array(key.derRepresentation) }

    /// SHA-256 of the public half's SubjectPublicKeyInfo.
    package var spkiSHA256: [UInt8] {
        Array(SHA256.hash(data: key.publicKey.derRepresentation))
    }

    package var description: String { "NodeKey" }

    /// A PKCS#10 request that proves possession of the key and asks for nothing more: the server
    /// decides what the certificate says.
    package func certificateRequest() throws -> [UInt8] {
        let request = try CertificateSigningRequest(
            version: .v1,
            subject: DistinguishedName(),
            privateKey: Certificate.PrivateKey(key),
            attributes: CertificateSigningRequest.Attributes(),
            signatureAlgorithm: .ecdsaWithSHA256
        )
        var serializer = DER.Serializer()
        try serializer.serialize(request)
        return serializer.serializedBytes
    }
}
