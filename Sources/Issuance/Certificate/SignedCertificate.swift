// SPDX-License-Identifier: Apache-2.0

internal import SwiftASN1

/// A TBSCertificate with its signature.
struct SignedCertificate {
    let tbs: [UInt8]
    let algorithm: SignatureAlgorithm
    let signature: [UInt8]

    /// DER of the Certificate (RFC 5280 section 4.1).
    func encoded() -> [UInt8] {
        var der = DER.Serializer()
        der.appendSigned(tbs, algorithm, signature)
        return der.serializedBytes
    }

    /// Whether the signature is the owner's of `publicKey`, made in the way of its kind of key.
    func verifies(with publicKey: SubjectPublicKey) -> Bool {
        guard algorithm == publicKey.algorithm.signatureAlgorithm,
            let node = try? DER.parse(publicKey.subjectPublicKeyInfo),
            let key = try? SubjectPublicKey.read(node).verifier
        else { return false }
        return key.verifies(signature[...], of: tbs[...], hashedBy: algorithm.hash)
    }
}

extension DER.Serializer {
    /// What is signed, how, and the signature: the form of certificates and of revocation lists
    /// (RFC 5280 sections 4.1 and 5.1).
    mutating func appendSigned(
        _ tbs: [UInt8],
        _ algorithm: SignatureAlgorithm,
        _ signature: [UInt8]
    ) {
        appendConstructedNode(identifier: .sequence) { der in
            der.serializeRawBytes(tbs)
            der.serializeRawBytes(algorithm.identifierDER)
            der.appendPrimitiveNode(identifier: .bitString) {
                $0.append(0)
                $0.append(contentsOf: signature)
            }
        }
    }
}
