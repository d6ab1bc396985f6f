// SPDX-License-Identifier: Apache-2.0

package import FoundationEssentials
internal import SwiftASN1
package import X509

/// The instant at which the tests look at certificates: 2030-03-17 17:46:40 UTC.
///
/// Certificates made without further words are valid from an hour before to hours after it.
package let testNow = Date(timeIntervalSince1970: 1_900_000_000)

/// Everything that goes into a test certificate; a test changes what it is about.
package struct TestProfile: Sendable {
    package var version: Certificate.Version = .v3
    /// Big-endian, without sign byte.
    package var serial: [UInt8]
    package var notBefore: Date
    package var notAfter: Date
    package var subject: DistinguishedName
    /// nil takes the issuer's subject.
    package var issuer: DistinguishedName?
    package var uris: [String]
    package var dnsNames: [String] = []
    package var otherNames: [GeneralName] = []
    /// The alternative name is left out when there is no name at all.
    package var alternativeNameIsCritical = false
    /// nil leaves basicConstraints out.
    package var basicConstraints: BasicConstraints?
    package var keyUsage: KeyUsage?
    package var keyUsageIsCritical = true
    package var extendedKeyUsages: [ExtendedKeyUsage.Usage]?
    package var extendedKeyUsageIsCritical = false
    package var nameConstraints: NameConstraints?
    package var hasKeyIdentifiers = true
    package var extraExtensions: [Certificate.Extension] = []
    /// nil takes a new P-256 key.
    package var publicKey: Certificate.PublicKey?
    /// nil takes the issuer's key; another one makes a signature that does not verify.
    package var signer: Certificate.PrivateKey?
    /// nil takes what fits the signing key.
    package var signatureAlgorithm: Certificate.SignatureAlgorithm?

    /// Lets an authority certify leaves alone, as a server's own self-signed one does.
    package mutating func certifyLeavesAlone() {
        basicConstraints = .isCertificateAuthority(maxPathLength: 0)
    }

    /// Makes an authority's certificate one that signs nothing.
    package mutating func certifyNothing() {
        basicConstraints = .notCertificateAuthority
    }

    /// The profile of an authority's certificate.
    static func authority(_ uri: String, name: String, now: Date) throws -> Self {
        let serial = randomSerial()
        return Self(
            serial: serial,
            notBefore: now.addingTimeInterval(-3600),
            notAfter: now.addingTimeInterval(24 * 3600),
            subject: try DistinguishedName {
                OrganizationName("Signet tests")
                CommonName(name)
                // Equal names would make path length constraints count differently.
                CommonName(hexadecimal(serial))
            },
            uris: [uri],
            basicConstraints: .isCertificateAuthority(maxPathLength: nil),
            keyUsage: KeyUsage(keyCertSign: true, cRLSign: true)
        )
    }

    /// The profile of a leaf.
    static func leaf(_ uri: String, now: Date) throws -> Self {
        Self(
            serial: randomSerial(),
            notBefore: now.addingTimeInterval(-60),
            notAfter: now.addingTimeInterval(3600),
            subject: try DistinguishedName { OrganizationName("Signet tests") },
            uris: [uri],
            basicConstraints: .notCertificateAuthority,
            keyUsage: KeyUsage(digitalSignature: true),
            extendedKeyUsages: [.serverAuth, .clientAuth]
        )
    }

    /// The extensions as the profile says, in the usual order.
    func extensions(
        subjectKey: Certificate.PublicKey,
        issuerKeyID: ArraySlice<UInt8>?
    ) throws -> Certificate.Extensions {
        var list: [Certificate.Extension] = []
        if let basicConstraints { list.append(try .init(basicConstraints, critical: true)) }
        if let keyUsage { list.append(try .init(keyUsage, critical: keyUsageIsCritical)) }
        if let extendedKeyUsages {
            let usage = try ExtendedKeyUsage(extendedKeyUsages)
            list.append(try .init(usage, critical: extendedKeyUsageIsCritical))
        }
        let names =
            uris.map(GeneralName.uniformResourceIdentifier) + dnsNames.map(GeneralName.dnsName)
            + otherNames
        if !names.isEmpty {
            let alternativeNames = SubjectAlternativeNames(names)
            list.append(try .init(alternativeNames, critical: alternativeNameIsCritical))
        }
        if let nameConstraints { list.append(try .init(nameConstraints, critical: true)) }
        if hasKeyIdentifiers {
            list.append(try .init(SubjectKeyIdentifier(hash: subjectKey), critical: false))
            if let issuerKeyID {
                let identifier = AuthorityKeyIdentifier(keyIdentifier: issuerKeyID)
                list.append(try .init(identifier, critical: false))
            }
        }
        return try Certificate.Extensions(list + extraExtensions)
    }

    /// 16 random bytes, of which the first is neither zero nor above 127.
    private static func randomSerial() -> [UInt8] {
        [UInt8.random(in: 1...127)] + (1..<16).map { _ in UInt8.random(in: 0...255) }
    }

    private static func hexadecimal(_ bytes: [UInt8]) -> String {
        bytes.map { String($0 >> 4, radix: 16) + String($0 & 15, radix: 16) }.joined()
    }
}
