// SPDX-License-Identifier: Apache-2.0

package import SPIFFE
internal import SwiftASN1

/// The request of a server below this one for a key that shall be an authority's, whose sender proved
/// possession of it (docs/decisions/0020-authorities-under-another.md, "Nested").
///
/// It says what the server's own requests (`AuthorityRequest`) say and nothing else, as a bridge may
/// copy what it says into the certificate.
package struct DownstreamRequest: Hashable, Sendable {
    package let publicKey: SubjectPublicKey
    /// The server that holds the key, by its own word.
    package let serverID: String
    /// DER of the name in it, which ends in random digits: each authority has its own.
    package let subject: [UInt8]
    /// DER of the request.
    package let der: [UInt8]

    /// Parses a request, verifies its signature with the key inside it, and compares all that it says.
    ///
    /// - Parameters:
    ///   - der: PKCS #10, at most `CertificateRequest.derBytesMax`.
    ///   - trustDomain: Of this server, and so of the other.
    /// - Throws: `DownstreamRequestError` naming the rule that it breaks.
    package init(der: [UInt8], trustDomain: TrustDomain) throws(DownstreamRequestError) {
        do {
            publicKey = try CertificateRequest(der: der).publicKey
        } catch { throw .request(error) }
        guard AuthorityKeyType(publicKey.algorithm) != nil else {
            throw .keyNoAuthoritys(publicKey.algorithm)
        }
        guard let (info, name) = Self.parts(of: der) else { throw .request(.notDER) }
        guard let (subject, serverID) = RootSubject.read(name, of: trustDomain) else {
            throw .subjectDiffers
        }
        // Whatever else is in it, and however it is encoded.
        let expected = AuthorityRequest.info(
            subject.encoded(),
            publicKey,
            .authority,
            uri: trustDomain.id.description
        )
        guard info == expected else { throw .contentDiffers }
        self.serverID = serverID
        self.subject = name
        self.der = der
    }

    /// The CertificationRequestInfo, and the subject in it.
    private static func parts(of der: [UInt8]) -> (info: [UInt8], subject: [UInt8])? {
        guard let root = try? DER.parse(der), case .constructed(let parts) = root.content else {
            return nil
        }
        var nodes = parts.makeIterator()
        guard let info = nodes.next(), case .constructed(let members) = info.content else {
            return nil
        }
        var fields = members.makeIterator()
        guard fields.next() != nil, let subject = fields.next() else { return nil }
        return (Array(info.encodedBytes), Array(subject.encodedBytes))
    }
}

/// Why the request of a server below is not taken.
package enum DownstreamRequestError: Error, Hashable, Sendable, CustomStringConvertible {
    /// It says something else than such requests do.
    case contentDiffers
    /// Authorities have no such keys.
    case keyNoAuthoritys(SubjectPublicKey.Algorithm)
    case request(CertificateRequestError)
    /// Its name is no authority's of this trust domain.
    case subjectDiffers

    /// The rule's name.
    package var name: String {
        switch self {
        case .contentDiffers: "requestDiffers"
        case .keyNoAuthoritys: "keyNoAuthoritys"
        case .request: "certificateRequest"
        case .subjectDiffers: "subjectDiffers"
        }
    }

    package var description: String {
        switch self {
        case .contentDiffers:
            "the request has to ask for exactly what an authority's certificate says: keyUsage, "
                + "basicConstraints with pathLenConstraint 0, subject key identifier and the trust "
                + "domain's URI, as signet-server writes it"
        case .keyNoAuthoritys(let algorithm):
            "an authority's key is one of "
                + AuthorityKeyType.allCases.map(\.rawValue).joined(separator: ", ")
                + ", not \(algorithm)"
        case .request(let error): error.description
        case .subjectDiffers:
            "the request's subject has to be O=Signet, CN=<trust domain>, "
                + "serialNumber=<server ID>-<16 hexadecimal digits>, with this server's trust domain"
        }
    }
}
