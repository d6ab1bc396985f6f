// SPDX-License-Identifier: Apache-2.0

internal import Crypto
internal import FoundationEssentials
package import SwiftASN1
internal import X509

/// One thing wrong with a leaf that is otherwise in order.
package enum TestDefect: String, CaseIterable, Sendable, CustomStringConvertible {
    case authorityAsLeaf
    case clientAuthMissing
    case digitalSignatureMissing
    case expired
    case keyUsageCRLSign
    case keyUsageCertSign
    case keyUsageMissing
    case keyUsageNotCritical
    case notYetValid
    case nulInURI
    case otherUsageOnly
    /// Larger than the largest certificate read.
    case oversize
    case pathMissing
    case schemeNotSPIFFE
    case serialZero
    case serialTooLong
    case serverAuthMissing
    case signatureWrong
    case subjectEmptyAndNameNotCritical
    case unknownCriticalExtension
    case uriMissing
    case uriTwice
    case version1

    package var description: String { rawValue }

    /// An object identifier that no software knows.
    package static let unknownExtension: ASN1ObjectIdentifier = [1, 3, 6, 1, 4, 1, 99_999, 1]

    func spoil(_ profile: inout TestProfile, now: Date) {
        switch self {
        case .authorityAsLeaf:
            profile.basicConstraints = .isCertificateAuthority(maxPathLength: nil)
        case .clientAuthMissing: profile.extendedKeyUsages = [.serverAuth]
        case .digitalSignatureMissing: profile.keyUsage = KeyUsage(keyAgreement: true)
        case .expired:
            profile.notBefore = now.addingTimeInterval(-3600)
            profile.notAfter = now.addingTimeInterval(-1)
        case .keyUsageCRLSign: profile.keyUsage = KeyUsage(digitalSignature: true, cRLSign: true)
        case .keyUsageCertSign:
            profile.keyUsage = KeyUsage(digitalSignature: true, keyCertSign: true)
        case .keyUsageMissing: profile.keyUsage = nil
        case .keyUsageNotCritical: profile.keyUsageIsCritical = false
        case .notYetValid: profile.notBefore = now.addingTimeInterval(1)
        case .nulInURI: profile.uris = profile.uris.map { "\($0)\0.example" }
        case .otherUsageOnly: profile.extendedKeyUsages = [.codeSigning]
        case .oversize:
            let padding = [UInt8](repeating: 0x41, count: 16 * 1024)
            profile.extraExtensions.append(
                .init(oid: Self.unknownExtension, critical: false, value: padding[...])
            )
        case .pathMissing: profile.uris = profile.uris.map(Self.withoutPath)
        case .schemeNotSPIFFE:
            profile.uris = profile.uris.map { "https" + $0.dropFirst("spiffe".count) }
        case .serialTooLong: profile.serial = [UInt8](repeating: 0x11, count: 21)
        case .serialZero: profile.serial = [0]
        case .serverAuthMissing: profile.extendedKeyUsages = [.clientAuth]
        case .signatureWrong: profile.signer = Certificate.PrivateKey(P256.Signing.PrivateKey())
        case .subjectEmptyAndNameNotCritical: profile.subject = DistinguishedName()
        case .unknownCriticalExtension:
            profile.extraExtensions.append(
                .init(oid: Self.unknownExtension, critical: true, value: [0x05, 0x00])
            )
        case .uriMissing:
            profile.uris = []
            profile.dnsNames = ["web.example.org"]
        case .uriTwice: profile.uris.append("https://example.org/")
        case .version1: profile.version = .v1
        }
    }

    private static func withoutPath(_ uri: String) -> String {
        uri.split(separator: "/", maxSplits: 2, omittingEmptySubsequences: true).prefix(2)
            .joined(separator: "//")
    }
}
