// SPDX-License-Identifier: Apache-2.0

internal import FoundationEssentials
internal import SPIFFE

/// What an authority's certificate says, and its record does too.
struct AuthorityCertificate: Hashable {
    let key: SubjectPublicKey
    let keyIdentifier: KeyIdentifier
    /// DER of the authority's subject, copied into everything that it signs as issuer.
    let name: [UInt8]
    /// The URIs of the alternative name; nil if there is none, or it cannot be read.
    let uris: [String]?
    let notBefore: CertificateTime
    let notAfter: CertificateTime

    /// Reads the certificate of a record and compares the two.
    ///
    /// - Throws: `AuthorityError`: `.certificateUnreadable`, `.keyUnsupported` or `.recordDiffers`.
    init(of authority: Authority) throws(AuthorityError) {
        let reading: CertificateReading
        do {
            reading = try CertificateReading(certificate: authority.certificateDER)
        } catch { throw .certificateUnreadable }
        do {
            key = try SubjectPublicKey(
                subjectPublicKeyInfo: Array(reading.subjectPublicKeyInfo)
            )
        } catch { throw .keyUnsupported(error) }
        keyIdentifier = KeyIdentifier(of: key)
        guard authority.id == keyIdentifier.description,
            authority.notBefore == reading.notBefore.date,
            authority.notAfter == reading.notAfter.date
        else { throw .recordDiffers }
        name = Array(reading.subject)
        uris = reading.subjectAltNames?.uris
        notBefore = reading.notBefore
        notAfter = reading.notAfter
    }
}
