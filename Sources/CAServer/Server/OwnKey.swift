// SPDX-License-Identifier: Apache-2.0

internal import Crypto
internal import SwiftASN1
internal import X509

/// A key of the server's own, which lives in memory and is on no disk, with the request to certify
/// it.
struct OwnKey {
    /// PKCS #10.
    let csr: [UInt8]
    private let key = P256.Signing.PrivateKey()

    init() throws {
        let request = try CertificateSigningRequest(
            version: .v1,
            subject: DistinguishedName(),
            privateKey: Certificate.PrivateKey(key),
            attributes: CertificateSigningRequest.Attributes(),
            signatureAlgorithm: .ecdsaWithSHA256
        )
        var serializer = DER.Serializer()
        try serializer.serialize(request)
        csr = serializer.serializedBytes
    }

    /// The private key as PKCS #8.
    var pkcs8: [UInt8] { Array(key.derRepresentation) }
}
