// SPDX-License-Identifier: Apache-2.0

internal import Crypto
internal import SwiftASN1
internal import X509

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

    /// Verifies that the owner of `publicKey` signed `bytes`.
    func verify(
        signed bytes: ArraySlice<UInt8>,
        by publicKey: SubjectPublicKey,
        at node: ASN1Node
    ) throws(CertificateRequestError) {
        let isValid: Bool
        do {
            isValid = try verifies(bytes, publicKey, node)
        } catch let error as CertificateRequestError {
            throw error
        } catch {
            throw .possessionNotProven
        }
        guard isValid else { throw .possessionNotProven }
    }

    private func verifies(
        _ bytes: ArraySlice<UInt8>,
        _ publicKey: SubjectPublicKey,
        _ node: ASN1Node
    ) throws -> Bool {
        let scheme = try scheme()
        guard signature.paddingBits == 0 else { throw CertificateRequestError.notDER }
        switch (publicKey.algorithm, scheme.isRSA) {
        case (.p256, false), (.p384, false):
            // RFC 5758 section 3.2: ECDSA identifiers have no parameters, not even NULL.
            guard parameters == nil else { throw CertificateRequestError.notDER }
        case (.rsa, true):
            // RFC 4055 section 5: NULL, and absent parameters are accepted as NULL.
            if let parameters { _ = try ASN1Null(derEncoded: parameters) }
        default:
            throw CertificateRequestError.signatureAlgorithmForOtherKey("\(algorithm)")
        }
        return try Certificate.PublicKey(derEncoded: node).isValidSignature(
            signature.bytes,
            for: bytes,
            signatureAlgorithm: scheme.algorithm
        )
    }

    private func scheme() throws -> (algorithm: Certificate.SignatureAlgorithm, isRSA: Bool) {
        switch algorithm {
        case .ecdsaWithSHA256: (.ecdsaWithSHA256, false)
        case .ecdsaWithSHA384: (.ecdsaWithSHA384, false)
        case .ecdsaWithSHA512: (.ecdsaWithSHA512, false)
        case .AlgorithmIdentifier.sha256WithRSAEncryption: (.sha256WithRSAEncryption, true)
        case .AlgorithmIdentifier.sha384WithRSAEncryption: (.sha384WithRSAEncryption, true)
        case .AlgorithmIdentifier.sha512WithRSAEncryption: (.sha512WithRSAEncryption, true)
        default: throw CertificateRequestError.signatureAlgorithmUnsupported("\(algorithm)")
        }
    }
}

extension ASN1ObjectIdentifier {
    static let ecdsaWithSHA256: Self = [1, 2, 840, 10_045, 4, 3, 2]
    static let ecdsaWithSHA384: Self = [1, 2, 840, 10_045, 4, 3, 3]
    static let ecdsaWithSHA512: Self = [1, 2, 840, 10_045, 4, 3, 4]
}
