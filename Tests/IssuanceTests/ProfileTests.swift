// SPDX-License-Identifier: Apache-2.0

import FoundationEssentials
import Issuance
import SPIFFE
import SwiftASN1
import Testing
import X509

/// Every kind of certificate against its file in `pki/profiles`.
struct ProfileTests {
    /// One file of `pki/profiles`.
    struct Profile: Decodable {
        struct Extension: Decodable {
            let oid: String
            let name: String
            let critical: Bool
            let values: [String]
        }

        let role: String
        let lifetimeSeconds: Int
        let backdateSeconds: Int
        let version: Int
        let serialBytes: Int
        /// By kind of the authority's key.
        let signatureAlgorithms: [String: String]
        let subjectIsEmpty: Bool
        let isSelfSigned: Bool
        let extensions: [Extension]

        init(reading role: String) throws {
            let folder = URL(filePath: #filePath)
                .deletingLastPathComponent()
                .deletingLastPathComponent()
                .deletingLastPathComponent()
            let file = folder.appending(path: "pki/profiles/\(role).json")
            self = try JSONDecoder().decode(Self.self, from: Data(contentsOf: file))
        }
    }

    /// What `AuthorityKeyTests` finds in certificates.
    private static let signatureAlgorithms = [
        AuthorityKeyType.p256.rawValue: "1.2.840.10045.4.3.2",
        AuthorityKeyType.p384.rawValue: "1.2.840.10045.4.3.3",
        AuthorityKeyType.rsa2048.rawValue: "1.2.840.113549.1.1.11",
        AuthorityKeyType.rsa4096.rawValue: "1.2.840.113549.1.1.11",
    ]

    private func certificate(_ role: String, _ workshop: Workshop) throws -> Certificate {
        let request = try Workshop.request()
        let issuer = workshop.issuer
        let der =
            switch role {
            case "workload":
                try workshop.issue(
                    issuer.approve(
                        request,
                        entry: Workshop.entry(),
                        claiming: SPIFFEID("spiffe://example.org/web"),
                        node: workshop.node,
                        now: Workshop.now
                    )
                ).der
            case "agent":
                try workshop.issue(
                    issuer.approveAgent(request, name: "web-1", now: Workshop.now)
                ).der
            case "server":
                try workshop.issue(
                    issuer.approveServer(request, serverID: "server-1", now: Workshop.now)
                ).der
            case "root": workshop.authority.certificateDER
            default: try Hierarchy().certificate(of: role)
            }
        return try Certificate(derEncoded: der)
    }

    @Test(arguments: ProfileKind.allCases.map(\.rawValue))
    func `an issued certificate is what its profile says`(role: String) throws {
        let profile = try Profile(reading: role)
        let certificate = try certificate(role, Workshop())
        #expect(profile.role == role)
        #expect(certificate.version == .v3 && profile.version == 3)
        #expect(certificate.serialNumber.bytes.count == profile.serialBytes)
        #expect(profile.signatureAlgorithms == Self.signatureAlgorithms)
        #expect(certificate.signatureAlgorithm == .ecdsaWithSHA256)
        #expect(certificate.subject.isEmpty == profile.subjectIsEmpty)
        #expect((certificate.subject == certificate.issuer) == profile.isSelfSigned)
        let backdate = Workshop.now.timeIntervalSince(certificate.notValidBefore)
        #expect(backdate == Double(profile.backdateSeconds))
        let lifetime = certificate.notValidAfter.timeIntervalSince(Workshop.now)
        #expect(lifetime == Double(profile.lifetimeSeconds))
        #expect(certificate.extensions.map { "\($0.oid)" } == profile.extensions.map(\.oid))
        #expect(certificate.extensions.map(\.critical) == profile.extensions.map(\.critical))
        for described in profile.extensions { try check(described, in: certificate) }
    }

    private func check(_ described: Profile.Extension, in certificate: Certificate) throws {
        let extensions = certificate.extensions
        switch described.name {
        case "basicConstraints":
            guard case .isCertificateAuthority(let length?) = try extensions.basicConstraints else {
                #expect(described.values == ["cA FALSE"])
                return
            }
            #expect(described.values == ["cA TRUE", "pathLenConstraint \(length)"])
        case "extendedKeyUsage":
            #expect(described.values == ["serverAuth", "clientAuth"])
            #expect(
                try extensions.extendedKeyUsage
                    == ExtendedKeyUsage([.serverAuth, .clientAuth])
            )
        case "keyUsage":
            let names = Set(described.values)
            #expect(
                try extensions.keyUsage
                    == KeyUsage(
                        digitalSignature: names.contains("digitalSignature"),
                        keyCertSign: names.contains("keyCertSign"),
                        cRLSign: names.contains("cRLSign")
                    )
            )
        case "authorityKeyIdentifier":
            #expect(try extensions.authorityKeyIdentifier?.keyIdentifier?.count == 20)
        case "subjectKeyIdentifier":
            #expect(try extensions.subjectKeyIdentifier?.keyIdentifier.count == 20)
        case "subjectAltName":
            #expect(try extensions.subjectAlternativeNames?.count == 1)
        default:
            Issue.record("\(described.name) is in no test")
        }
    }
}
