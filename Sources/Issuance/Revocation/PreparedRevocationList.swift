// SPDX-License-Identifier: Apache-2.0

internal import Crypto
internal import FoundationEssentials
package import SPIFFE
internal import SwiftASN1

/// A certificate revocation list that is complete but not signed.
///
/// It is made from what a list says and from nothing else: it cannot hold a TBSCertificate, so that
/// the key of an authority that signs lists alone signs no certificate by way of it.
package struct PreparedRevocationList: Hashable, Sendable {
    package let content: RevocationListContent
    /// The list's number: `content.thisUpdate` in seconds since 1970.
    package let number: Int64
    /// SHA-256 of the TBSCertList that will be signed.
    package let tbsSHA256: [UInt8]
    private let tbs: [UInt8]
    fileprivate let authority: Authority
    private let key: SubjectPublicKey

    /// Encodes a list.
    ///
    /// - Parameters:
    ///   - content: What it says, as `RevocationListPlan` decided.
    ///   - authority: The authority that it belongs to, in any state but `revoked`.
    /// - Throws: `RevocationListIssuanceError`: `.authority`, `.authorityChanged`,
    ///   `.authorityRevoked` or `.timesRefused`.
    package init(
        _ content: RevocationListContent,
        authority: Authority
    ) throws(RevocationListIssuanceError) {
        guard authority.state != .revoked else { throw .authorityRevoked }
        guard authority.id == content.authorityID else { throw .authorityChanged }
        let certificate: AuthorityCertificate
        do throws(AuthorityError) {
            certificate = try AuthorityCertificate(of: authority)
        } catch {
            throw .authority(error)
        }
        guard let thisUpdate = CertificateTime(content.thisUpdate),
            let nextUpdate = CertificateTime(content.nextUpdate),
            certificate.notBefore <= thisUpdate, thisUpdate < nextUpdate,
            nextUpdate <= certificate.notAfter
        else { throw .timesRefused }
        var entries: [RevocationListTemplate.Entry] = []
        entries.reserveCapacity(content.entries.count)
        for entry in content.entries {
            guard let revokedAt = CertificateTime(entry.revokedAt) else { throw .timesRefused }
            entries.append(.init(serial: entry.serial, revokedAt: revokedAt))
        }
        let template = RevocationListTemplate(
            signatureAlgorithm: certificate.key.algorithm.signatureAlgorithm,
            issuer: certificate.name,
            thisUpdate: thisUpdate,
            nextUpdate: nextUpdate,
            entries: entries,
            authorityKeyIdentifier: certificate.keyIdentifier
        )
        self.content = content
        self.authority = authority
        number = template.number
        key = certificate.key
        tbs = template.encoded()
        tbsSHA256 = Array(SHA256.hash(data: tbs))
    }

    /// Signs the list, reads it as agents do, and verifies it as they do.
    ///
    /// Every list is verified: with a bad one agents would keep the list before, and nobody would
    /// notice.
    ///
    /// - Parameter signer: The authority's key for certificates.
    /// - Returns: The list, which nobody may be given before it is committed: a newer list takes
    ///   back what it leaves out.
    /// - Throws: `RevocationListIssuanceError`: `.signerIsNotAuthority`, `.signer`,
    ///   `.listRefused`, `.signedBytesDiffer` or `.readsDifferently`.
    package func signed(
        with signer: some Signer
    ) throws(RevocationListIssuanceError) -> SignedRevocationList {
        let algorithm = key.algorithm.signatureAlgorithm
        guard signer.subjectPublicKeyInfo == key.subjectPublicKeyInfo,
            signer.signatureAlgorithm == algorithm
        else { throw .signerIsNotAuthority }
        let signature: [UInt8]
        do throws(SignerError) {
            signature = try signer.signature(for: tbs)
        } catch {
            throw .signer(error)
        }
        var der = DER.Serializer()
        der.appendSigned(tbs, algorithm, signature)
        return try SignedRevocationList(der: der.serializedBytes, prepared: self)
    }

    /// Whether a list that was read says what was meant.
    fileprivate func agrees(with list: CertificateRevocationList) -> Bool {
        list.thisUpdate == content.thisUpdate && list.nextUpdate == content.nextUpdate
            && list.number.count <= 8
            && list.number.reduce(0) { $0 << 8 | Int64($1) } == number
            && list.entries
                == content.entries.map { .init(serial: $0.serial, revokedAt: $0.revokedAt) }
    }
}

/// A signed list whose bytes are those that were prepared, which reads as it was meant, and whose
/// signature verifies with the authority's certificate.
package struct SignedRevocationList: Hashable, Sendable {
    /// DER of the CertificateList.
    package let der: [UInt8]
    /// SHA-256 of the whole list, by which the audit log names it.
    package let sha256: [UInt8]
    package let prepared: PreparedRevocationList

    /// Reads the list again, compares and verifies.
    ///
    /// - Throws: `RevocationListIssuanceError.listRefused`, `.signedBytesDiffer` or
    ///   `.readsDifferently`.
    package init(
        der: [UInt8],
        prepared: PreparedRevocationList
    ) throws(RevocationListIssuanceError) {
        let list: CertificateRevocationList
        do throws(RevocationListError) {
            list = try CertificateRevocationList(der: der)
            try list.verify(signedBy: prepared.authority.certificateDER)
        } catch {
            throw .listRefused(error)
        }
        guard SHA256.hash(data: list.tbsBytes) == prepared.tbsSHA256 else {
            throw .signedBytesDiffer
        }
        guard prepared.agrees(with: list) else { throw .readsDifferently }
        self.der = der
        self.prepared = prepared
        sha256 = Array(SHA256.hash(data: der))
    }
}

/// Why a revocation list was not signed.
package enum RevocationListIssuanceError: Error, Hashable, Sendable, CustomStringConvertible {
    case authority(AuthorityError)
    /// The content was planned for another authority.
    case authorityChanged
    case authorityRevoked
    /// The strict reader, or the verification with the authority's certificate, refuses the list.
    case listRefused(RevocationListError)
    /// What was written reads as something else.
    case readsDifferently
    /// What was signed is not what was prepared.
    case signedBytesDiffer
    case signer(SignerError)
    /// The signer holds another key than the authority's.
    case signerIsNotAuthority
    /// A time cannot be written, or the list does not lie in the authority's validity.
    case timesRefused

    package var description: String {
        switch self {
        case .authority(let error): error.description
        case .authorityChanged: "the list was planned for another authority"
        case .authorityRevoked: "a revoked authority signs no lists"
        case .listRefused(let error): "the signed list is refused: \(error)"
        case .readsDifferently: "the signed list does not read as it was written"
        case .signedBytesDiffer: "the signed bytes are not the prepared ones"
        case .signer(let error): error.description
        case .signerIsNotAuthority: "the signer does not hold the authority's key"
        case .timesRefused: "the list's times are outside the authority's validity"
        }
    }
}
