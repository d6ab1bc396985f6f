// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestPrograms

/// An offline root, and the ceremony that certifies a server below it (pki/README.md); the way of
/// it is `OfflineRootTests`' matter.
struct OfflineRoot {
    private let machine: Machine
    private var certificate: String { "\(machine.path)/root.pem" }
    private var upstream: String { "\(machine.path)/upstream.pem" }
    private var key: [String] {
        ["--key", "\(machine.path)/root.key", "--passphrase-file", "\(machine.path)/passphrase"]
    }

    /// Makes the root, and has the machine's server, which was never started, be below it.
    ///
    /// - Throws: `ProgramFailure`.
    init(for machine: Machine) async throws {
        self.machine = machine
        let isWritten = FileManager.default.createFile(
            atPath: "\(machine.path)/passphrase",
            contents: Data("a long passphrase\n".utf8),
            attributes: [.posixPermissions: 0o600]
        )
        guard isWritten else { throw ProgramFailure("no passphrase in \(machine.path)") }
        try await signet(
            ["pki", "root", "--trust-domain", "example.org", "--out", certificate] + key
        )
        let (root, below) = (certificate, upstream)
        machine.change {
            $0.serverLines += [
                "upstream: disk", "upstreamCertificate: \(below)", "upstreamRoots: \(root)",
            ]
        }
    }

    /// The server makes its key, and the root certifies it.
    ///
    /// - Throws: `ProgramFailure`.
    func certifyUpstream() async throws {
        // Before that it waits, and says for what.
        let waiting = try await machine.startServer(waitsUntilReady: false)
        try await waiting.waitFor("upstream.pem")
        _ = try await waiting.stop()
        let asked = try await Installation.run(
            Installation.binary("signet-server"),
            ["--config", "\(machine.path)/server.yaml", "--request-upstream"],
            directory: machine.path
        )
        func word(after heading: String) throws -> String {
            let line = asked.output.split(separator: "\n").first { $0.hasPrefix(heading) }
            guard let word = line?.split(separator: " ").last else {
                throw ProgramFailure(asked.report)
            }
            return String(word)
        }
        try await signet(
            ["pki", "sign", "--root", certificate, "--request", try word(after: "request:")]
                + ["--key-id", try word(after: "key ID:"), "--out", upstream] + key
        )
    }

    private func signet(_ arguments: [String]) async throws {
        let done = try await machine.signet(arguments)
        guard done.isSuccess else { throw ProgramFailure("\(arguments): \(done.report)") }
    }
}
