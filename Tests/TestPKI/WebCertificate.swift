// SPDX-License-Identifier: Apache-2.0

internal import Crypto
package import FoundationEssentials
internal import SwiftASN1
internal import X509

/// A certificate for a web server, signed by an intermediate, as PEM.
package struct WebCertificate: Sendable {
    package static let now = Date(timeIntervalSince1970: 1_800_000_000)
    package static let life: TimeInterval = 100 * 86_400

    /// What verifiers trust.
    package let root: String
    /// What a server shows.
    package let leaf: String
    package let intermediate: String
    package let key: String

    /// PEM as a server is given it.
    package var chain: [UInt8] { Array((leaf + "\n" + intermediate).utf8) }
    package var keyBytes: [UInt8] { Array(key.utf8) }

    /// Made for `names`; begins a day before `now`.
    package init(_ names: [String] = ["id.example.org"], now: Date = Self.now) throws {
        let (rootKey, key) = (P256.Signing.PrivateKey(), P256.Signing.PrivateKey())
        let intermediateKey = P256.Signing.PrivateKey()
        let top = try DistinguishedName { CommonName("root") }
        let middle = try DistinguishedName { CommonName("intermediate") }
        let begin = now.addingTimeInterval(-86_400)
        let authority = try Certificate.Extensions {
            Critical(BasicConstraints.isCertificateAuthority(maxPathLength: nil))
        }
        root = try Self.pem(
            subject: top,
            issuer: top,
            key: rootKey,
            signer: rootKey,
            authority,
            begin
        )
        intermediate = try Self.pem(
            subject: middle,
            issuer: top,
            key: intermediateKey,
            signer: rootKey,
            authority,
            begin
        )
        leaf = try Self.pem(
            subject: try DistinguishedName { CommonName("leaf") },
            issuer: middle,
            key: key,
            signer: intermediateKey,
            try Certificate.Extensions {
                SubjectAlternativeNames(names.map { .dnsName($0) })
            },
            begin
        )
        self.key = key.pemRepresentation
    }

    private static func pem(
        subject: DistinguishedName,
        issuer: DistinguishedName,
        key: P256.Signing.PrivateKey,
        signer: P256.Signing.PrivateKey,
        _ extensions: Certificate.Extensions,
        _ begin: Date
    ) throws -> String {
        try Certificate(
            version: .v3,
            serialNumber: .init(),
            publicKey: .init(key.publicKey),
            notValidBefore: begin,
            notValidAfter: begin.addingTimeInterval(life),
            issuer: issuer,
            subject: subject,
            signatureAlgorithm: .ecdsaWithSHA256,
            extensions: extensions,
            issuerPrivateKey: .init(signer)
        ).serializeAsPEM().pemString
    }
}
