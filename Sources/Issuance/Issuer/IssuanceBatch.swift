// SPDX-License-Identifier: Apache-2.0

internal import Crypto
internal import SwiftASN1

/// Certificates of one authority on their way: prepared one by one, committed together as intent,
/// then signed together, once.
///
/// The batch cannot be copied and signing uses it up, so nothing prepared is signed twice.
package struct IssuanceBatch: ~Copyable, Sendable {
    /// Most certificates in one batch: one transaction, one audit leaf and about 50 ms of signing.
    package static let certificatesMax = 500

    private let issuer: Issuer
    /// What has been prepared so far, in order: the content of intent and audit leaf.
    package private(set) var certificates: [PreparedCertificate] = []

    package init(issuer: Issuer) {
        self.issuer = issuer
    }

    /// Builds, lints and appends the certificate of a warrant.
    ///
    /// - Parameters:
    ///   - warrant: Used up even if preparing fails.
    ///   - generator: The system's random numbers in production; they make the serial.
    /// - Returns: The certificate as appended.
    /// - Throws: `IssuanceError.batchFull`, `.authorityChanged` or `.lint`.
    @discardableResult
    package mutating func prepare(
        _ warrant: consuming IssuanceWarrant,
        using generator: inout some RandomNumberGenerator
    ) throws(IssuanceError) -> PreparedCertificate {
        guard certificates.count < Self.certificatesMax else { throw .batchFull }
        let certificate = try PreparedCertificate(
            warrant,
            issuer: issuer,
            serial: SerialNumber(using: &generator)
        )
        certificates.append(certificate)
        return certificate
    }

    /// Signs all certificates and compares what was signed with what was prepared.
    ///
    /// The first signature is also verified with the authority's key: a signer that went wrong
    /// shows before anything leaves the server.
    ///
    /// - Parameter signer: The authority's key.
    /// - Returns: The certificates in the order of `certificates`.
    /// - Throws: `IssuanceError`; then nothing of the batch may be used.
    package consuming func sign(
        with signer: some Signer
    ) throws(IssuanceError) -> [IssuedCertificate] {
        guard signer.subjectPublicKeyInfo == issuer.authorityKey.subjectPublicKeyInfo,
            signer.signatureAlgorithm == issuer.authorityKey.algorithm.signatureAlgorithm
        else { throw .signerIsNotAuthority }
        var issued: [IssuedCertificate] = []
        issued.reserveCapacity(certificates.count)
        let signatures: [[UInt8]]
        do { signatures = try signer.signatures(for: certificates.map(\.tbs)) } catch {
            throw .signer(error)
        }
        guard signatures.count == certificates.count else { throw .signatureDoesNotVerify }
        for (prepared, signature) in zip(certificates, signatures) {
            let signed = SignedCertificate(
                tbs: prepared.tbs,
                algorithm: signer.signatureAlgorithm,
                signature: signature
            )
            if issued.isEmpty, !signed.verifies(with: issuer.authorityKey) {
                throw .signatureDoesNotVerify
            }
            issued.append(try IssuedCertificate(der: signed.encoded(), prepared: prepared))
        }
        return issued
    }
}

/// A signed certificate whose signed bytes are those that were prepared.
package struct IssuedCertificate: Hashable, Sendable {
    /// DER of the Certificate; with a self-signed authority also the whole chain.
    package let der: [UInt8]
    package let prepared: PreparedCertificate

    /// Reads the certificate again and compares.
    ///
    /// - Throws: `IssuanceError.signedBytesDiffer`.
    package init(der: [UInt8], prepared: PreparedCertificate) throws(IssuanceError) {
        guard let reading = try? SignedReading(der),
            SHA256.hash(data: reading.tbs.encodedBytes) == prepared.tbsSHA256,
            reading.signatureAlgorithm.elementsEqual(prepared.signatureAlgorithm.identifierDER)
        else { throw .signedBytesDiffer }
        self.der = der
        self.prepared = prepared
    }
}

/// Why an approved certificate was not issued, by no fault of the requester.
package enum IssuanceError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The warrant was granted for another authority than the batch's; approve again.
    case authorityChanged
    case batchFull
    /// The names of the lint rules that the prepared certificate breaks.
    case lint([String])
    case signatureDoesNotVerify
    /// What was signed is not what was prepared.
    case signedBytesDiffer
    case signer(SignerError)
    /// The signer holds another key than the authority's.
    case signerIsNotAuthority

    package var description: String {
        switch self {
        case .authorityChanged: "the authority has changed since the approval"
        case .batchFull: "a batch has at most \(IssuanceBatch.certificatesMax) certificates"
        case .lint(let rules): "the certificate breaks \(rules.joined(separator: ", "))"
        case .signatureDoesNotVerify: "the signer's signature does not verify"
        case .signedBytesDiffer: "the signed bytes are not the prepared ones"
        case .signer(let error): error.description
        case .signerIsNotAuthority: "the signer does not hold the authority's key"
        }
    }
}
