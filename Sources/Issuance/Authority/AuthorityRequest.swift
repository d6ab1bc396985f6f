// SPDX-License-Identifier: Apache-2.0

package import SPIFFE
internal import SwiftASN1

/// What a server asks for a key that shall be an authority's: a PKCS #10 request (RFC 2986) that says
/// all that the certificate shall say, for those who copy it.
package enum AuthorityRequest {
    /// Encodes and signs a request.
    ///
    /// - Parameters:
    ///   - trustDomain: The trust domain that the authority speaks for.
    ///   - serverID: The server that holds the key; part of the distinguished name, which random bytes
    ///     end: every authority has its own (RFC 5280 section 6.1.4).
    ///   - profile: `authority`, or `intermediate` for what certifies authorities.
    ///   - signer: The new key.
    ///   - generator: The system's random numbers in production.
    /// - Returns: DER.
    /// - Throws: `AuthorityError` naming what is wrong.
    package static func encoded(
        trustDomain: TrustDomain,
        serverID: String,
        profile: CertificateProfile = .authority,
        signer: some Signer,
        using generator: inout some RandomNumberGenerator
    ) throws(AuthorityError) -> [UInt8] {
        let publicKey: SubjectPublicKey
        do {
            publicKey = try SubjectPublicKey(subjectPublicKeyInfo: signer.subjectPublicKeyInfo)
        } catch { throw .keyUnsupported(error) }
        let subject = try RootSubject(
            trustDomain: trustDomain,
            serverID: serverID,
            serial: SerialNumber(using: &generator)
        ).encoded()
        let info = info(subject, publicKey, profile, uri: trustDomain.id.description)
        let signature: [UInt8]
        do { signature = try signer.signature(for: info) } catch { throw .signer(error) }
        let request = SignedCertificate(
            tbs: info,
            algorithm: publicKey.algorithm.signatureAlgorithm,
            signature: signature
        )
        guard request.verifies(with: publicKey) else { throw .signatureDoesNotVerify }
        return request.encoded()
    }

    /// The key ID of a signer's key, in lower-case hexadecimal.
    ///
    /// - Throws: `AuthorityError.keyUnsupported`.
    package static func keyID(of signer: any Signer) throws(AuthorityError) -> String {
        do {
            return try SubjectPublicKey(subjectPublicKeyInfo: signer.subjectPublicKeyInfo).keyID
        } catch { throw .keyUnsupported(error) }
    }

    /// The CertificationRequestInfo of a key with this subject.
    static func info(
        _ subject: [UInt8],
        _ publicKey: SubjectPublicKey,
        _ profile: CertificateProfile,
        uri: String
    ) -> [UInt8] {
        var der = DER.Serializer()
        der.appendConstructedNode(identifier: .sequence) { der in
            // version 0.
            der.serializeRawBytes([0x02, 0x01, 0x00])
            der.serializeRawBytes(subject)
            der.serializeRawBytes(publicKey.subjectPublicKeyInfo)
            der.appendConstructedNode(identifier: .attributesTag) { der in
                der.appendConstructedNode(identifier: .sequence) { der in
                    der.append(.extensionRequest)
                    der.appendConstructedNode(identifier: .set) { der in
                        der.appendConstructedNode(identifier: .sequence) { der in
                            der.serializeRawBytes(
                                CertificateTemplate.encodedExtensions(of: profile)
                            )
                            der.appendNames(of: publicKey, uri: uri)
                        }
                    }
                }
            }
        }
        return der.serializedBytes
    }
}

extension ASN1Identifier {
    /// CertificationRequestInfo attributes [0] (RFC 2986 section 4.1).
    fileprivate static let attributesTag = Self(tagWithNumber: 0, tagClass: .contextSpecific)
}

extension DER.Serializer {
    /// The extensions of an authority that say whose it is.
    fileprivate mutating func appendNames(of publicKey: SubjectPublicKey, uri: String) {
        appendExtension(.subjectKeyIdentifier, isCritical: false) { der in
            der.appendPrimitiveNode(identifier: .octetString) {
                $0.append(contentsOf: KeyIdentifier(of: publicKey).bytes)
            }
        }
        appendExtension(.subjectAltName, isCritical: false) { der in
            der.appendConstructedNode(identifier: .sequence) { der in
                der.appendPrimitiveNode(identifier: .uriNameTag) {
                    $0.append(contentsOf: uri.utf8)
                }
            }
        }
    }
}
