// SPDX-License-Identifier: Apache-2.0

internal import Foundation

/// An authority and the certificates of a measurement, made for it by `openssl`: P-256, one SPIFFE
/// ID and one DNS name each.
struct ProxyCertificates: Sendable {
    let folder: String

    var authorities: String { "\(folder)/authority.pem" }
    func chain(_ identity: ProxyIdentity) -> String { "\(folder)/\(identity.rawValue).pem" }
    func key(_ identity: ProxyIdentity) -> String { "\(folder)/\(identity.rawValue).key" }
    /// Certificate and key in one file.
    func both(_ identity: ProxyIdentity) -> String { "\(folder)/\(identity.rawValue).both" }

    init(in folder: String) async throws {
        self.folder = folder
        try FileManager.default.createDirectory(
            atPath: folder,
            withIntermediateDirectories: true,
            attributes: [.posixPermissions: 0o700]
        )
        for authority in ["authority", "nobody"] {
            try await request(authority, extensions: Self.authority)
        }
        for identity in ProxyIdentity.allCases {
            let authority = identity == .forged ? "nobody" : "authority"
            try await request(
                identity.rawValue,
                commonName: identity.name,
                extensions: Self.leaf(identity),
                issuer: authority
            )
            let texts = try [chain(identity), key(identity)].map {
                try String(contentsOfFile: $0, encoding: .utf8)
            }
            try Data(texts.joined().utf8).write(to: URL(filePath: both(identity)))
        }
    }

    /// A chain of the client's identity whose authority is below the one that is believed.
    ///
    /// - Returns: PEM of leaf and authority.
    func clientBelowRoot() async throws -> String {
        let below = Self.authority + "\nauthorityKeyIdentifier = keyid"
        try await request("below", extensions: below, issuer: "authority")
        try await request(
            "client-below",
            commonName: ProxyIdentity.client.name,
            extensions: Self.leaf(.client),
            issuer: "below"
        )
        let texts = try ["client-below", "below"].map {
            try String(contentsOfFile: "\(folder)/\($0).pem", encoding: .utf8)
        }
        let path = "\(folder)/client-below.chain"
        try Data(texts.joined().utf8).write(to: URL(filePath: path))
        return path
    }

    private static let authority = """
        basicConstraints = critical, CA:TRUE
        keyUsage = critical, keyCertSign, cRLSign
        subjectKeyIdentifier = hash
        subjectAltName = URI:spiffe://\(ProxyIdentity.trustDomain)
        """

    private static func leaf(_ identity: ProxyIdentity) -> String {
        """
        basicConstraints = critical, CA:FALSE
        keyUsage = critical, digitalSignature
        extendedKeyUsage = serverAuth, clientAuth
        subjectKeyIdentifier = hash
        authorityKeyIdentifier = keyid
        subjectAltName = URI:\(identity.id), DNS:\(identity.dnsName)
        """
    }

    /// A certificate and its key; self-signed without an issuer.
    private func request(
        _ name: String,
        commonName: String? = nil,
        extensions: String,
        issuer: String? = nil
    ) async throws {
        let authority = issuer.map {
            ["-CA", "\(folder)/\($0).pem", "-CAkey", "\(folder)/\($0).key"]
        }
        let configuration = """
            [req]
            prompt = no
            distinguished_name = subject
            x509_extensions = extensions
            [subject]
            O = Signet benchmark
            CN = \(commonName ?? name)
            [extensions]
            \(extensions)

            """
        try Data(configuration.utf8).write(to: URL(filePath: "\(folder)/\(name).cnf"))
        _ = try await Tool.output(
            "/usr/bin/openssl",
            [
                "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                "-days", "2", "-sha256", "-config", "\(folder)/\(name).cnf", "-out",
                "\(folder)/\(name).pem", "-keyout", "\(folder)/\(name).key",
            ] + (authority ?? [])
        )
    }
}
