// SPDX-License-Identifier: Apache-2.0

import CAServer
import Clocks
import Foundation
import Issuance
import Logging
import SPIFFE

/// A ceremony for the server of a directory: its root, and what is certified below it.
struct UpstreamFixture {
    let directory: TestDirectory
    let root: [UInt8]
    /// The root's key ID.
    let rootID: String
    private let rootSigner: MemorySigner
    private let now: Date
    private let trustDomain: TrustDomain

    var rootsPath: String { "\(directory.path)/roots.pem" }
    var certificatePath: String { "\(directory.path)/upstream.pem" }

    /// Makes a root, or takes that of another fixture, and writes the file of roots.
    init(
        in directory: TestDirectory,
        sharing other: UpstreamFixture? = nil,
        now: Date = Date()
    ) throws {
        self.directory = directory
        self.now = now
        trustDomain = try TrustDomain("example.org")
        rootSigner = try other?.rootSigner ?? MemorySigner.new(.p256)
        if let other {
            root = other.root
        } else {
            var generator = SystemRandomness()
            root = try Authority.selfSigned(
                trustDomain: trustDomain,
                serverID: "root",
                lifetimes: SVIDLifetimes(authority: CeremonyLifetime.root),
                profile: .upstreamRoot,
                signer: rootSigner,
                now: now,
                using: &generator
            ).certificateDER
        }
        rootID = try LeafCertificate(der: root).keyIdentifier.description
        try writeRoots([root])
    }

    func writeRoots(_ roots: [[UInt8]]) throws {
        let text = roots.map { CertificateFile.text(certificate: $0) }.joined()
        try Self.write(text, to: rootsPath)
    }

    static func write(_ text: String, to path: String) throws {
        try Data(text.utf8).write(to: URL(filePath: path))
        try FileManager.default.setAttributes([.posixPermissions: 0o644], ofItemAtPath: path)
    }

    func configure(_ configuration: inout ServerConfiguration) {
        configuration.upstream = .disk
        configuration.upstreamRoots = rootsPath
        configuration.upstreamCertificate = certificatePath
    }

    /// As `withServer` has it.
    func configuration(
        _ change: (inout ServerConfiguration) -> Void = { _ in }
    ) throws -> ServerConfiguration {
        var configuration = ServerConfiguration(
            trustDomain: trustDomain,
            dataDirectory: "\(directory.path)/data"
        )
        configuration.keyStorage = .plain
        configure(&configuration)
        change(&configuration)
        return configuration
    }

    /// The server makes its key, and the ceremony certifies it.
    ///
    /// - Returns: The key ID of the upstream authority.
    @discardableResult
    func perform(lifetime: Duration = CeremonyLifetime.intermediate) throws -> String {
        let request = try Server.requestUpstream(configuration(), clock: SystemClock())
        try certify(request.path, lifetime: lifetime)
        return request.keyID
    }

    /// A certificate for the root's key below another root.
    func crossCertified(by other: UpstreamFixture) throws -> [UInt8] {
        var generator = SystemRandomness()
        return try AuthorityCertifier(
            certificate: other.root,
            signer: other.rootSigner,
            trustDomain: trustDomain
        ).certify(
            SubjectPublicKey(subjectPublicKeyInfo: rootSigner.subjectPublicKeyInfo),
            serverID: "root",
            profile: .intermediate,
            lifetime: CeremonyLifetime.root,
            backdate: .seconds(60),
            now: other.now,
            using: &generator
        )
    }

    /// Certifies the request of a file and writes the certificate where the server reads it.
    func certify(
        _ path: String,
        lifetime: Duration = CeremonyLifetime.intermediate
    ) throws {
        let file = try Data(contentsOf: URL(filePath: path))
        let request = try CertificateRequest(der: CertificateFile.request(Array(file)))
        var generator = SystemRandomness()
        let certificate = try AuthorityCertifier(
            certificate: root,
            signer: rootSigner,
            trustDomain: trustDomain
        ).certify(
            request.publicKey,
            serverID: "upstream",
            profile: .intermediate,
            lifetime: lifetime,
            backdate: .seconds(60),
            now: now,
            using: &generator
        )
        try Self.write(CertificateFile.text(certificate: certificate), to: certificatePath)
    }
}
