// SPDX-License-Identifier: Apache-2.0

internal import Crypto
internal import SwiftASN1

/// A TBSCertificate with its signature.
struct SignedCertificate {
    let tbs: [UInt8]
    let algorithm: SignatureAlgorithm
    let signature: [UInt8]

    /// DER of the Certificate (RFC 5280 section 4.1).
    func encoded() -> [UInt8] {
        var der = DER.Serializer()
        der.appendConstructedNode(identifier: .sequence) { der in
            der.serializeRawBytes(tbs)
            der.serializeRawBytes(algorithm.identifierDER)
            der.appendPrimitiveNode(identifier: .bitString) {
                $0.append(0)
                $0.append(contentsOf: signature)
            }
        }
        return der.serializedBytes
    }

    func verifies(with publicKey: SubjectPublicKey) -> Bool {
        switch algorithm {
        case .ecdsaWithSHA256:
            guard
                let key = try? P256.Signing.PublicKey(
                    derRepresentation: publicKey.subjectPublicKeyInfo
                ), let parsed = try? P256.Signing.ECDSASignature(derRepresentation: signature)
            else { return false }
            return key.isValidSignature(parsed, for: tbs)
        }
    }
}
