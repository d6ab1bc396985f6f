// SPDX-License-Identifier: Apache-2.0

import Crypto
import FoundationEssentials
import SwiftASN1
import TestSeeds
import X509

/// A P-256 key drawn from a seed, so that a run can be repeated.
struct SimulatedKey {
    private let key: P256.Signing.PrivateKey

    init(using random: inout SeededGenerator) throws {
        // Every value below the order of the curve except 0 is a key; others are drawn again.
        while true {
            if let key = try? P256.Signing.PrivateKey(rawRepresentation: random.bytes(32)) {
                self.key = key
                return
            }
        }
    }

    var pkcs8: [UInt8] { Array(key.derRepresentation) }

    func certificateRequest() throws -> [UInt8] {
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
