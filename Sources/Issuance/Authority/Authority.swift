// SPDX-License-Identifier: Apache-2.0

package import FoundationEssentials
package import SPIFFE

/// One CA key of one server and its certificate, self-signed or of an upstream authority: what the
/// datastore keeps of it.
///
/// The private key is elsewhere; whoever holds the record can sign nothing.
package struct Authority: Hashable, Sendable, Codable, Identifiable {
    /// Where an authority stands in its rotation; each server has at most one `active`.
    package enum State: String, Hashable, Sendable, Codable, CaseIterable {
        /// Published in the bundle, has signed nothing yet.
        case prepared
        /// Signs.
        case active
        /// Signs revocation lists and nothing else; stays in the bundle until its last SVID has
        /// expired, below a root until its own end.
        case old
        /// As `old`, but not trusted to be its server's alone: what it signed is being replaced.
        case tainted
        /// In no bundle; kept so that its key never comes back and old connections end.
        case revoked

        /// Whether the bundle holds it.
        package var isPublished: Bool { self != .revoked }
    }

    /// The subject key identifier in lower-case hexadecimal.
    package let id: String
    /// The server that holds the private key.
    package let serverID: String
    package var state: State
    package let certificateDER: [UInt8]
    /// What certified it; nil if it is self-signed, and then its own certificate is in the bundle.
    package let ancestry: AuthorityAncestry?
    /// SubjectPublicKeyInfo of the second key, which signs JWT-SVIDs; nil of an authority that was
    /// made before there were such keys.
    package var tokenKeySPKI: [UInt8]?
    /// When the bundle with this authority was committed; nil before.
    package var publishedAt: Date?
    /// When it began to sign; nil before.
    package var activatedAt: Date?
    /// The latest notAfter of what it signed, set when the authority becomes `old`.
    ///
    /// Nil if that is not known, which counts as the authority's own `notAfter`.
    package var lastSVIDNotAfter: Date?
    package let notBefore: Date
    package let notAfter: Date

    package init(
        id: String,
        serverID: String,
        state: State,
        certificateDER: [UInt8],
        ancestry: AuthorityAncestry? = nil,
        tokenKeySPKI: [UInt8]? = nil,
        publishedAt: Date? = nil,
        activatedAt: Date? = nil,
        lastSVIDNotAfter: Date? = nil,
        notBefore: Date,
        notAfter: Date
    ) {
        self.id = id
        self.serverID = serverID
        self.state = state
        self.certificateDER = certificateDER
        self.ancestry = ancestry
        self.tokenKeySPKI = tokenKeySPKI
        self.publishedAt = publishedAt
        self.activatedAt = activatedAt
        self.lastSVIDNotAfter = lastSVIDNotAfter
        self.notBefore = notBefore
        self.notAfter = notAfter
    }
}

extension Authority {
    /// What is delivered above a certificate that it signed: itself and what is between it and its
    /// root, which verifiers have; nothing if it is self-signed.
    package var presentedChain: [[UInt8]] {
        ancestry.map { [certificateDER] + $0.chain } ?? []
    }

    /// Requires that its certificate has the key that its ID names, and its validity.
    ///
    /// - Throws: `AuthorityError`: `.certificateUnreadable`, `.keyUnsupported` or `.recordDiffers`.
    package func requireOwnCertificate() throws(AuthorityError) {
        _ = try AuthorityCertificate(of: self)
    }

    /// What the key in its certificate is.
    ///
    /// - Throws: `AuthorityError.certificateUnreadable` or `.keyUnsupported`.
    package func keyAlgorithm() throws(AuthorityError) -> SubjectPublicKey.Algorithm {
        guard let reading = try? CertificateReading(certificate: certificateDER) else {
            throw .certificateUnreadable
        }
        do throws(SubjectPublicKeyError) {
            return try SubjectPublicKey(
                subjectPublicKeyInfo: Array(reading.subjectPublicKeyInfo)
            ).algorithm
        } catch { throw .keyUnsupported(error) }
    }
}

extension Authority {
    /// Who signs the JWT-SVIDs of this authority; nil if it has no key for them.
    ///
    /// - Throws: `TokenError.keyUnsupported` or `.algorithmDoesNotFitKey`.
    package func tokenAuthority() throws(TokenError) -> TokenAuthority? {
        guard let tokenKeySPKI else { return nil }
        guard let key = try? SubjectPublicKey(subjectPublicKeyInfo: tokenKeySPKI) else {
            throw .algorithmDoesNotFitKey
        }
        return try TokenAuthority(
            subjectPublicKeyInfo: tokenKeySPKI,
            signatureAlgorithm: key.algorithm.signatureAlgorithm,
            authorityKeyID: Hexadecimal.bytes(id),
            notBefore: notBefore,
            notAfter: notAfter
        )
    }
}

/// Why an authority is not created or not used.
package enum AuthorityError: Error, Hashable, Sendable, CustomStringConvertible {
    case certificateUnreadable
    /// The wall clock is outside the years that certificates can express.
    case clockOutOfRange
    case keyUnsupported(SubjectPublicKeyError)
    /// The names of the lint rules that the certificate breaks.
    /// What would sign has ended, at that moment.
    case issuerEnded(Date)
    case lint([String])
    case notActive
    /// The record's ID or validity is not that of its certificate.
    case recordDiffers
    case serverIDMalformed
    /// The signature over the certificate does not verify with the key inside it.
    case signatureDoesNotVerify
    case signer(SignerError)
    case trustDomainDiffers

    package var description: String {
        switch self {
        case .certificateUnreadable: "the authority's certificate cannot be read"
        case .clockOutOfRange: "the wall clock is outside the years 1970 to 9999"
        case .keyUnsupported(let error): error.description
        case .issuerEnded(let end):
            "the certificate above ended at \(end): have another one made (pki/README.md)"
        case .lint(let rules): "the certificate breaks \(rules.joined(separator: ", "))"
        case .notActive: "only an active authority signs"
        case .recordDiffers: "the authority's record and its certificate differ"
        case .serverIDMalformed:
            "a server ID has 1 to \(RootSubject.serverIDBytesMax) letters, digits, \"-\" and \".\""
        case .signatureDoesNotVerify: "the certificate's signature does not verify with its own key"
        case .signer(let error): error.description
        case .trustDomainDiffers: "the authority belongs to another trust domain"
        }
    }
}
