// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestPrograms
import Testing

/// Every kind of certificate that Signet emits, judged by openssl, pyca/cryptography and pkilint.
@Suite(.serialized, .timeLimit(.minutes(2)))
struct ChainTests {
    /// What pkilint says of our certificates, and why that is right.
    ///
    /// The list is complete: another finding, or one of these that is gone, fails the test.
    private static let acceptedFindings: [String: String] = [
        // pkilint takes schemes from a list of the Web's; spiffe is not on it. That the URI is
        // right by RFC 3986 and the SPIFFE standard is what rows ID-1 to ID-8 are about.
        "pkix.invalid_uri_syntax": "Invalid URI syntax: \"spiffe://example.org",
        // Information alone: key identifiers are cut SHA-256 hashes (RFC 7093, method 1), as RFC
        // 5280 leaves the method open and SHA-1 is not wanted.
        "pkix.subject_key_identifier_rfc7093_method_1_identified": "",
    ]

    @Test(arguments: ["ec-p256", "ec-p384", "rsa-2048"])
    func `other libraries verify and lint every chain`(_ authorityKeyType: String) async throws {
        let machine = try Machine {
            $0.serverLines = ["authorityKeyType: \(authorityKeyType)"]
        }
        try await machine.startServer()
        try await machine.startAgent()
        let files = try await Certificates(of: machine)
        for chain in files.chains {
            try await verifyWithOpenSSL(chain, files, machine)
        }
        let python = try await machine.runPeer("chains.py", [files.bundle] + files.chains)
        #expect(python.isSuccess, "\(python.report)")
        #expect(python.output.ranges(of: "verified").count == files.chains.count)
        for certificate in files.chains + [files.bundle] {
            try await lint(certificate, machine)
        }
        try await machine.stop()
    }

    private func verifyWithOpenSSL(
        _ chain: String,
        _ files: Certificates,
        _ machine: Machine
    ) async throws {
        for purpose in ["sslserver", "sslclient"] {
            let result = try await Installation.run(
                Installation.tool("openssl"),
                [
                    "verify", "-x509_strict", "-purpose", purpose, "-no-CApath", "-no-CAfile",
                    "-CAfile", files.bundle, "-untrusted", chain, chain,
                ],
                directory: machine.path
            )
            #expect(result.isSuccess, "\(chain) as \(purpose): \(result.report)")
        }
        let empty = "\(machine.path)/other.pem"
        try files.stranger.write(toFile: empty, atomically: true, encoding: .utf8)
        let other = try await Installation.run(
            Installation.tool("openssl"),
            ["verify", "-no-CApath", "-no-CAfile", "-CAfile", empty, "-untrusted", chain, chain],
            directory: machine.path
        )
        #expect(!other.isSuccess, "it verifies with any authority")
    }

    private struct Report: Decodable {
        struct Result: Decodable {
            var finding_descriptions: [Finding]
        }
        struct Finding: Decodable {
            var code: String
            var message: String?
        }
        var results: [Result]
    }

    private func lint(_ certificate: String, _ machine: Machine) async throws {
        let result = try await Installation.run(
            Installation.pythonTool("lint_pkix_cert"),
            ["lint", "-s", "INFO", "-f", "JSON", certificate],
            directory: machine.path
        )
        let report = try JSONDecoder().decode(Report.self, from: Data(result.output.utf8))
        let findings = report.results.flatMap(\.finding_descriptions)
        #expect(Set(findings.map(\.code)) == Set(Self.acceptedFindings.keys), "\(result.report)")
        for finding in findings {
            let accepted = try #require(Self.acceptedFindings[finding.code])
            #expect((finding.message ?? "").hasPrefix(accepted), "\(finding)")
        }
    }
}

/// Files with one certificate chain each, and the bundle.
private struct Certificates {
    let bundle: String
    /// Workloads with and without DNS names, the agent and the server.
    let chains: [String]
    /// An authority that has nothing to do with ours.
    let stranger: String

    init(of machine: Machine) async throws {
        let path = machine.path
        bundle = "\(path)/bundle.pem"
        let shown = try await machine.signet(["bundle", "show"])
        try shown.output.write(toFile: bundle, atomically: true, encoding: .utf8)
        var chains: [String] = []
        for (name, more) in [
            ("plain", []), ("named", ["dnsNames: [web.example.org, api.example.org]"]),
        ] {
            try await machine.register(name, more: more)
            let fetched = try await machine.signet(
                [
                    "svid", "fetch", "--spiffe-id", "spiffe://example.org/\(name)", "--write-dir",
                    "\(path)/\(name)",
                ]
            )
            guard fetched.isSuccess else { throw ProgramFailure(fetched.report) }
            chains.append("\(path)/\(name)/svid.pem")
        }
        let agent = "\(path)/agent.pem"
        try Self.agentChain(machine).write(toFile: agent, atomically: true, encoding: .utf8)
        let server = "\(path)/server.pem"
        try await Self.serverChain(machine)
            .write(toFile: server, atomically: true, encoding: .utf8)
        self.chains = chains + [agent, server]
        stranger = try await Self.strangerAuthority(machine)
    }

    /// The agent's chain out of its own file, whose second line is JSON.
    private static func agentChain(_ machine: Machine) throws -> String {
        struct Form: Decodable {
            var certificateChain: [Data]
        }
        let file = try String(contentsOfFile: "\(machine.path)/agent/identity", encoding: .utf8)
        let json = file.drop { $0 != "\n" }
        return try JSONDecoder().decode(Form.self, from: Data(json.utf8)).certificateChain
            .map {
                "-----BEGIN CERTIFICATE-----\n"
                    + $0.base64EncodedString(options: .lineLength64Characters)
                    + "\n-----END CERTIFICATE-----\n"
            }
            .joined()
    }

    /// What the server shows in a handshake.
    private static func serverChain(_ machine: Machine) async throws -> String {
        let shown = try await Installation.run(
            Installation.tool("openssl"),
            [
                "s_client", "-connect", "127.0.0.1:\(machine.port)", "-tls1_3", "-alpn", "h2",
                "-showcerts",
            ],
            directory: machine.path
        )
        let parts = shown.output.split(separator: "-----BEGIN CERTIFICATE-----").dropFirst()
        return parts.compactMap { part in
            part.split(separator: "-----END CERTIFICATE-----").first.map {
                "-----BEGIN CERTIFICATE-----\($0)-----END CERTIFICATE-----\n"
            }
        }.joined()
    }

    private static func strangerAuthority(_ machine: Machine) async throws -> String {
        let made = try await Installation.run(
            Installation.tool("openssl"),
            [
                "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                "-keyout", "\(machine.path)/stranger.key", "-subj", "/CN=example.org", "-days", "1",
            ],
            directory: machine.path
        )
        guard made.isSuccess else { throw ProgramFailure(made.report) }
        return made.output
    }
}
