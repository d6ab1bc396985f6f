// SPDX-License-Identifier: Apache-2.0

internal import SwiftASN1

/// A PKCS #10 request (RFC 2986) whose sender proved possession of the private key.
///
/// Only the public key is taken from a request. Subject and attributes must be well-formed and are
/// then ignored: who the subject is comes from the registration entry and the verified peer, never
/// from what the requester wrote.
package struct CertificateRequest: Hashable, Sendable {
    /// An RSA-4096 request is below 2 KiB; the rest is room for attributes that we ignore.
    package static let derBytesMax = 8 * 1024

    package let publicKey: SubjectPublicKey

    /// Parses a request and verifies its signature with the key inside it.
    ///
    /// - Throws: `CertificateRequestError` naming the rule that the request breaks.
    package init(der: [UInt8]) throws(CertificateRequestError) {
        guard der.count <= Self.derBytesMax else { throw .tooLong }
        let parts: Parts
        do {
            parts = try Parts(DER.parse(der))
        } catch let error as CertificateRequestError { throw error } catch { throw .notDER }
        let publicKey: SubjectPublicKey
        let verifier: VerificationKey
        do {
            (publicKey, verifier) = try SubjectPublicKey.read(parts.publicKey)
        } catch { throw .key(error) }
        try parts.proof.verify(signed: parts.info, by: verifier)
        self.publicKey = publicKey
    }

    private struct Parts {
        /// The encoded CertificationRequestInfo, which is what was signed.
        let info: ArraySlice<UInt8>
        let publicKey: ASN1Node
        let proof: PossessionProof

        init(_ root: ASN1Node) throws {
            self = try DER.sequence(root, identifier: .sequence) { nodes in
                guard let info = nodes.next() else { throw CertificateRequestError.notDER }
                let publicKey = try Self.publicKey(in: info)
                return Self(
                    info: info.encodedBytes,
                    publicKey: publicKey,
                    proof: try PossessionProof(&nodes)
                )
            }
        }

        private init(info: ArraySlice<UInt8>, publicKey: ASN1Node, proof: PossessionProof) {
            self.info = info
            self.publicKey = publicKey
            self.proof = proof
        }

        private static func publicKey(in info: ASN1Node) throws -> ASN1Node {
            try DER.sequence(info, identifier: .sequence) { nodes in
                guard try Int(derEncoded: &nodes) == 0 else {
                    throw CertificateRequestError.version
                }
                guard let subject = nodes.next(), subject.identifier == .sequence,
                    let publicKey = nodes.next()
                else { throw CertificateRequestError.notDER }
                let attributes = ASN1Identifier(tagWithNumber: 0, tagClass: .contextSpecific)
                if let last = nodes.next(), last.identifier != attributes {
                    throw CertificateRequestError.notDER
                }
                return publicKey
            }
        }
    }
}

/// Why a certificate request is not taken.
package enum CertificateRequestError: Error, Hashable, Sendable, CustomStringConvertible {
    case key(SubjectPublicKeyError)
    case notDER
    case possessionNotProven
    /// The signature algorithm does not belong to the kind of key in the request.
    case signatureAlgorithmForOtherKey(String)
    case signatureAlgorithmUnsupported(String)
    case tooLong
    case version

    package var description: String {
        switch self {
        case .key(let error): error.description
        case .notDER: "the request is not a CertificationRequest in DER (RFC 2986 section 4)"
        case .possessionNotProven:
            "the request's signature does not verify with the key inside it"
        case .signatureAlgorithmForOtherKey(let oid):
            "signature algorithm \(oid) does not belong to the kind of key in the request"
        case .signatureAlgorithmUnsupported(let oid):
            "signature algorithm \(oid) is not accepted; use ECDSA or RSA with SHA-2"
        case .tooLong: "a request has at most \(CertificateRequest.derBytesMax) bytes"
        case .version: "the request's version is not 0 (RFC 2986 section 4.1)"
        }
    }
}
