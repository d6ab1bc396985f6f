// SPDX-License-Identifier: Apache-2.0

internal import SwiftASN1

/// The signature that ends a certificate request, and its algorithm.
struct PossessionProof {
    private let algorithm: ASN1ObjectIdentifier
    private let parameters: ASN1Node?
    private let signature: ASN1BitString

    /// Reads signatureAlgorithm and signature (RFC 2986 section 4.2).
    init(_ nodes: inout ASN1NodeCollection.Iterator) throws {
        guard let identifier = nodes.next() else { throw CertificateRequestError.notDER }
        (algorithm, parameters) = try DER.sequence(identifier, identifier: .sequence) {
            (try ASN1ObjectIdentifier(derEncoded: &$0), $0.next())
        }
        signature = try ASN1BitString(derEncoded: &nodes)
    }

    /// Verifies that the owner of `key` signed `bytes`.
    func verify(
        signed bytes: ArraySlice<UInt8>,
        by key: VerificationKey
    ) throws(CertificateRequestError) {
        let (hash, isRSA) = try scheme()
        guard signature.paddingBits == 0 else { throw .notDER }
        switch (key, isRSA) {
        case (.p256, false), (.p384, false):
            // RFC 5758 section 3.2: ECDSA identifiers have no parameters, not even NULL.
            guard parameters == nil else { throw .notDER }
        case (.rsa, true):
            // RFC 4055 section 5: NULL; absent parameters are accepted as NULL.
            if let parameters, (try? ASN1Null(derEncoded: parameters)) == nil { throw .notDER }
        default:
            throw .signatureAlgorithmForOtherKey("\(algorithm)")
        }
        guard key.verifies(signature.bytes, of: bytes, hashedBy: hash) else {
            throw .possessionNotProven
        }
    }

    private func scheme() throws(CertificateRequestError) -> (VerificationKey.Hash, isRSA: Bool) {
        switch algorithm {
        case .ecdsaWithSHA256: (.sha256, false)
        case .ecdsaWithSHA384: (.sha384, false)
        case .ecdsaWithSHA512: (.sha512, false)
        case .AlgorithmIdentifier.sha256WithRSAEncryption: (.sha256, true)
        case .AlgorithmIdentifier.sha384WithRSAEncryption: (.sha384, true)
        case .AlgorithmIdentifier.sha512WithRSAEncryption: (.sha512, true)
        default: throw .signatureAlgorithmUnsupported("\(algorithm)")
        }
    }
}

extension ASN1ObjectIdentifier {
    static let ecdsaWithSHA256: Self = [1, 2, 840, 10_045, 4, 3, 2]
    static let ecdsaWithSHA384: Self = [1, 2, 840, 10_045, 4, 3, 3]
    static let ecdsaWithSHA512: Self = [1, 2, 840, 10_045, 4, 3, 4]
}
