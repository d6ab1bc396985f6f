// SPDX-License-Identifier: Apache-2.0

import Foundation
import Issuance
import SPIFFE
import SwiftASN1
import TestPrograms
import TestSeeds
import Testing
import X509

/// The ceremony with OpenSSL, as pki/README.md has it (record 0020).
@Suite(.timeLimit(.minutes(2)))
struct CeremonyTests {
    private let directory: TestDirectory
    private let now = Date()

    init() throws { directory = try TestDirectory() }

    private func run(_ script: String, _ arguments: [String]) async throws -> ProgramResult {
        try await Installation.run(
            Installation.repository.appendingPathComponent("pki/\(script)").path,
            arguments,
            directory: directory.path
        )
    }

    private func certificate(_ name: String) throws -> [UInt8] {
        let file = try Data(contentsOf: URL(filePath: "\(directory.path)/\(name)"))
        return try CertificateFile.certificates(Array(file))[0]
    }

    /// A server's request, and the key ID that it prints.
    private func request() throws -> String {
        let signer = try Workshop.signer(4)
        var generator = SeededGenerator(seed: 1)
        let csr = try AuthorityRequest.encoded(
            trustDomain: TrustDomain("example.org"),
            serverID: "server-1",
            profile: .intermediate,
            signer: signer,
            using: &generator
        )
        try CertificateFile.text(request: csr).write(
            toFile: "\(directory.path)/upstream.csr",
            atomically: true,
            encoding: .utf8
        )
        return try AuthorityRequest.keyID(of: signer)
    }

    private func makeRoot() async throws {
        try "a long passphrase\n".write(
            toFile: "\(directory.path)/passphrase",
            atomically: true,
            encoding: .utf8
        )
        let made = try await run(
            "ceremony/root.sh",
            ["example.org", "root.key", "root.pem", "passphrase"]
        )
        #expect(made.isSuccess, "\(made.report)")
        let id = try LeafCertificate(der: certificate("root.pem")).keyIdentifier.description
        #expect(made.output.contains(id))
    }

    private func sign(
        _ keyID: String,
        _ out: String,
        _ options: [String] = []
    ) async throws -> ProgramResult {
        try await run(
            "ceremony/sign.sh",
            ["root.pem", "root.key", "upstream.csr", keyID, out, "passphrase"] + options
        )
    }

    /// What a file of `pki/profiles` says of the certificate, but for backdating.
    private func check(_ der: [UInt8], _ role: String) throws {
        let profile = try ProfileTests.Profile(reading: role)
        let certificate = try Certificate(derEncoded: der)
        #expect(certificate.serialNumber.bytes.count == profile.serialBytes)
        #expect((certificate.subject == certificate.issuer) == profile.isSelfSigned)
        #expect(certificate.signatureAlgorithm == .ecdsaWithSHA384)
        let life = certificate.notValidAfter.timeIntervalSince(certificate.notValidBefore)
        #expect(life == Double(profile.lifetimeSeconds))
        #expect(certificate.extensions.map { "\($0.oid)" } == profile.extensions.map(\.oid))
        #expect(certificate.extensions.map(\.critical) == profile.extensions.map(\.critical))
        let length = role == "intermediate" ? 1 : 2
        #expect(
            try certificate.extensions.basicConstraints
                == .isCertificateAuthority(maxPathLength: length)
        )
        #expect(
            try certificate.extensions.keyUsage == KeyUsage(keyCertSign: true, cRLSign: true)
        )
        let read = try LeafCertificate(der: der)
        #expect(read.subjectKeyID == read.keyIdentifier.bytes)
        #expect(read.uriNames == ["spiffe://example.org"])
    }

    @Test func `OpenSSL makes what the profiles say, and a server takes it`() async throws {
        try await makeRoot()
        let id = try request()
        let signed = try await sign(id, "upstream.pem")
        #expect(signed.isSuccess, "\(signed.report)")
        let (root, upstream) = (try certificate("root.pem"), try certificate("upstream.pem"))
        try check(root, "upstream-root")
        try check(upstream, "intermediate")
        let domain = try TrustDomain("example.org")
        var generator = SeededGenerator(seed: 2)
        let authority = try AuthorityCertifier(
            certificate: upstream,
            signer: Workshop.signer(4),
            trustDomain: domain
        ).certify(
            SubjectPublicKey(subjectPublicKeyInfo: Workshop.signer(5).subjectPublicKeyInfo),
            serverID: "server-1",
            profile: .authority,
            lifetime: .seconds(86_400),
            backdate: .seconds(60),
            now: now.addingTimeInterval(60),
            using: &generator
        )
        let chain = try await UpstreamChain(
            checking: [authority, upstream],
            below: [root],
            expecting: UpstreamChain.Expectation(
                trustDomain: domain,
                lifetimes: .standard,
                spki: Workshop.signer(5).subjectPublicKeyInfo
            ),
            now: now.addingTimeInterval(60)
        )
        #expect(chain.ancestry.issuerID == id)
    }

    /// The root lives ten years: what makes it must not bind who signs with it.
    @Test func `a key of OpenSSL and one of signet pki are read by both`() async throws {
        try await makeRoot()
        let passphrase = Array("a long passphrase".utf8)
        let file = try Data(contentsOf: URL(filePath: "\(directory.path)/root.key"))
        let key = try EncryptedKeyFile.open(Array(file), passphrase: passphrase)
        let root = try LeafCertificate(der: certificate("root.pem"))
        #expect(try MemorySigner(pkcs8DER: key).subjectPublicKeyInfo == root.spkiBytes)

        var generator = SeededGenerator(seed: 3)
        let ours = try EncryptedKeyFile.seal(key, passphrase: passphrase, using: &generator)
        try Data(ours.utf8).write(to: URL(filePath: "\(directory.path)/root.key"))
        let signed = try await sign(request(), "upstream.pem")
        #expect(signed.isSuccess, "\(signed.report)")
        try check(certificate("upstream.pem"), "intermediate")
    }

    @Test func `what only signet pki sign reads is named so, and a missing file by its name`()
        async throws
    {
        try await makeRoot()
        let id = try request()
        try Data("SGNTKEY\u{1}".utf8).write(to: URL(filePath: "\(directory.path)/root.key"))
        let old = try await sign(id, "upstream.pem")
        #expect(!old.isSuccess && old.report.contains("only signet pki sign reads root.key"))
        try FileManager.default.removeItem(atPath: "\(directory.path)/upstream.csr")
        let missing = try await sign(id, "upstream.pem")
        #expect(!missing.isSuccess && missing.report.contains("upstream.csr cannot be read"))
    }

    @Test func `another key than the server printed is not certified, and nothing overwritten`()
        async throws
    {
        try await makeRoot()
        let id = try request()
        let other = try await sign(String(id.reversed()), "upstream.pem")
        #expect(!other.isSuccess && other.report.contains("exchanged on its way"))
        let first = try await sign(id.uppercased(), "upstream.pem")
        #expect(first.isSuccess, "\(first.report)")
        let kept = try certificate("upstream.pem")
        let second = try await sign(id, "upstream.pem")
        #expect(!second.isSuccess && second.report.contains("is there already"))
        #expect(try certificate("upstream.pem") == kept)
        let again = try await run(
            "ceremony/root.sh",
            ["example.org", "root.key", "new.pem", "passphrase"]
        )
        #expect(!again.isSuccess && again.report.contains("is there already"))
    }

    @Test func `a ceremony that fails says why, and leaves nothing that the next would find`()
        async throws
    {
        try await makeRoot()
        let id = try request()
        try "another passphrase\n".write(
            toFile: "\(directory.path)/wrong",
            atomically: true,
            encoding: .utf8
        )
        let signed = try await run(
            "ceremony/sign.sh",
            ["root.pem", "root.key", "upstream.csr", id, "upstream.pem", "wrong"]
        )
        #expect(!signed.isSuccess && signed.report.contains("its passphrase"), "\(signed.report)")
        let root = try await run(
            "ceremony/root.sh",
            ["example.org", "other.key", "missing/root.pem", "passphrase"]
        )
        #expect(!root.isSuccess)
        let left = try FileManager.default.contentsOfDirectory(atPath: directory.path)
        #expect(!left.contains("upstream.pem") && !left.contains("other.key"))
        #expect(left.contains("root.key"))
    }

    @Test func `name constraints are those of signet pki`() async throws {
        try await makeRoot()
        let id = try request()
        let signed = try await sign(id, "upstream.pem", ["--name-constraints"])
        #expect(signed.isSuccess, "\(signed.report)")
        let made = try Certificate(derEncoded: certificate("upstream.pem"))
        let ours = try Certificate(derEncoded: Hierarchy(constrained: true).intermediate)
        let oid = ours.extensions.map(\.oid).last
        let found = made.extensions.first { $0.oid == oid }
        #expect(found == ours.extensions.first { $0.oid == oid })
    }

    @Test func `the throw-away hierarchy verifies`() async throws {
        let made = try await run("dev.sh", ["dev", "example.org"])
        #expect(made.isSuccess && made.output.contains("upstream.pem: OK"), "\(made.report)")
    }
}
