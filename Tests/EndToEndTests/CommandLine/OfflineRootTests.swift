// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestPrograms
import Testing

/// A server below an offline root, from the ceremony to a verifier outside, with the programs alone
/// (pki/README.md, record 0020).
@Suite(.serialized, .timeLimit(.minutes(4)))
struct OfflineRootTests {
    private struct Fetched: Decodable {
        var serial: String
        var certificateChain: String
    }

    private struct Shown: Decodable {
        struct Above: Decodable {
            var id: String
            var kind: String
        }
        var above: [Above]
    }

    private let machine: Machine

    init() throws {
        let made = try Machine()
        machine = made
        made.change { options in
            options.serverLines = [
                "upstream: disk", "upstreamCertificate: \(made.path)/upstream.pem",
                "upstreamRoots: \(made.path)/root.pem",
            ]
        }
    }

    private func write(_ text: String, _ name: String, mode: Int = 0o644) throws {
        let path = "\(machine.path)/\(name)"
        try Data(text.utf8).write(to: URL(filePath: path))
        try FileManager.default.setAttributes([.posixPermissions: mode], ofItemAtPath: path)
    }

    private func signet(_ arguments: [String]) async throws -> ProgramResult {
        let result = try await machine.signet(arguments)
        #expect(result.isSuccess, "\(arguments): \(result.report)")
        return result
    }

    private func pki(_ command: String, _ arguments: [String]) async throws -> ProgramResult {
        let key = ["--key", "\(machine.path)/root.key"]
        let passphrase = ["--passphrase-file", "\(machine.path)/passphrase"]
        return try await machine.signet(["pki", command] + key + passphrase + arguments)
    }

    private func verify(_ leaf: String, _ options: [String]) async throws -> ProgramResult {
        try await Installation.run(
            Installation.tool("openssl"),
            [
                "verify", "-x509_strict", "-no-CApath", "-no-CAfile", "-CAfile", "root.pem",
                "-untrusted", leaf,
            ] + options + [leaf],
            directory: machine.path
        )
    }

    private func fetch(_ file: String) async throws -> Fetched {
        let fetched = try await signet(["svid", "fetch", "-o", "json"])
        let svids = try JSONDecoder().decode([Fetched].self, from: Data(fetched.output.utf8))
        let svid = try #require(svids.first, "\(fetched.report)")
        try write(svid.certificateChain, file)
        return svid
    }

    /// The server makes its key, and the ceremony certifies it.
    private func perform() async throws {
        let request = try await Installation.run(
            Installation.binary("signet-server"),
            ["--config", "\(machine.path)/server.yaml", "--request-upstream"],
            directory: machine.path
        )
        #expect(request.isSuccess, "\(request.report)")
        let line = request.output.split(separator: "\n").first { $0.hasPrefix("key ID:") }
        let id = String(try #require(line?.split(separator: " ").last, "\(request.report)"))
        let path = request.output.split(separator: "\n").first { $0.hasPrefix("request:") }
        let file = String(try #require(path?.split(separator: " ").last))
        let shown = try await signet(["pki", "show", file])
        #expect(shown.output.contains(id))
        let arguments = ["--root", "\(machine.path)/root.pem", "--request", file]
        let out = ["--out", "\(machine.path)/upstream.pem"]
        let other = try await pki(
            "sign",
            arguments + ["--key-id", String(id.reversed())] + out
        )
        #expect(!other.isSuccess && other.errors.contains("exchanged on its way"))
        let signed = try await pki("sign", arguments + ["--key-id", id] + out)
        #expect(signed.isSuccess, "\(signed.report)")
        let again = try await pki("sign", arguments + ["--key-id", id] + out)
        #expect(!again.isSuccess && again.errors.contains("is there already"))
        // The next year may take the other tool.
        let scripted = try await Installation.run(
            Installation.repository.appendingPathComponent("pki/ceremony/sign.sh").path,
            ["root.pem", "root.key", file, id, "scripted.pem", "passphrase"],
            directory: machine.path
        )
        #expect(scripted.isSuccess && scripted.output.contains(id), "\(scripted.report)")
    }

    @Test func `from an offline root to a verifier that goes by root, chain and list`()
        async throws
    {
        try write("a long passphrase\n", "passphrase", mode: 0o600)
        let root = try await pki(
            "root",
            ["--trust-domain", "example.org", "--out", "\(machine.path)/root.pem"]
        )
        #expect(root.isSuccess && root.output.contains("key ID: "), "\(root.report)")
        // Before the ceremony it waits, and says for what.
        let waiting = try await machine.startServer(waitsUntilReady: false)
        try await waiting.waitFor("upstream.pem")
        _ = try await waiting.stop()
        try await perform()

        try await machine.startServer()
        try await machine.startAgent()
        try await machine.register("web")
        let svid = try await fetch("stolen.pem")
        #expect(svid.certificateChain.components(separatedBy: "BEGIN CERTIFICATE").count == 4)
        let plain = try await verify("stolen.pem", [])
        #expect(plain.isSuccess, "\(plain.report)")
        let bundle = try await signet(["bundle", "show"]).output
        let file = try String(contentsOfFile: "\(machine.path)/root.pem", encoding: .utf8)
        #expect(
            bundle.filter { !$0.isWhitespace } == file.filter { !$0.isWhitespace },
            "\(bundle)"
        )
        let shown = try await signet(["authority", "show", "-o", "json"])
        let above = try JSONDecoder().decode(Shown.self, from: Data(shown.output.utf8)).above
        #expect(Set(above.map(\.kind)) == ["intermediate", "root"])

        _ = try await signet(["svid", "revoke", "--serial", svid.serial])
        try await eventually("openssl refuses it by the authority's list") {
            try write(try await signet(["authority", "crl", "-o", "pem"]).output, "crl.pem")
            let checked = try await verify("stolen.pem", ["-crl_check", "-CRLfile", "crl.pem"])
            return checked.report.contains("certificate revoked")
        }
        try await eventually("another certificate of the identity") {
            try await fetch("new.pem").serial != svid.serial
        }
        let new = try await verify("new.pem", ["-crl_check", "-CRLfile", "crl.pem"])
        #expect(new.isSuccess, "\(new.report)")
        // What signs is not ended, whatever is above it.
        let upstream = try #require(above.first { $0.kind == "intermediate" }).id
        let refused = try await machine.signet(["authority", "revoke", String(upstream.prefix(8))])
        #expect(refused.report.contains("authoritySigns"), "\(refused.report)")
        _ = try await signet(["authority", "rotate", "--now", "--yes"])
        _ = try await signet(["audit", "verify"])
        try await machine.stop()
    }
}
