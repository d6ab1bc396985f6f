// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestPrograms

/// A data path whose server is below an offline root, and a second server below that one.
///
/// The second is a workload of the first one's agent, and has an agent of its own. They end with the
/// value.
///
/// All of it is one machine: each side is known by its files and sockets.
final class NestedServers: Sendable {
    /// The server above, its agent, two proxies and a backend.
    let path: DataPath
    /// The server below and its agent.
    let below: Machine

    /// Starts all of the side above, and nothing of the one below.
    init() async throws {
        path = try await DataPath { machine in
            machine.change { options in
                options.serverLines = [
                    "upstream: disk", "upstreamCertificate: \(machine.path)/upstream.pem",
                    "upstreamRoots: \(machine.path)/root.pem",
                ]
            }
            try await Self.performCeremony(for: machine)
        }
        let socket = path.machine.workloadSocket
        below = try Machine { options in
            options.serverLines = ["upstream: agent", "upstreamSocket: \(socket)"]
        }
    }

    /// The file of the root that both sides believe.
    var root: String { "\(path.machine.path)/root.pem" }

    /// Makes a root, and certifies the key that the server makes.
    private static func performCeremony(for machine: Machine) async throws {
        let passphrase = "\(machine.path)/passphrase"
        try Data("a long passphrase\n".utf8).write(to: URL(filePath: passphrase))
        try FileManager.default.setAttributes([.posixPermissions: 0o600], ofItemAtPath: passphrase)
        let keys = ["--key", "\(machine.path)/root.key", "--passphrase-file", passphrase]
        let root = "\(machine.path)/root.pem"
        try await succeed(
            machine.signet(["pki", "root", "--trust-domain", "example.org", "--out", root] + keys)
        )
        // The first start writes the configuration, and waits for the certificate.
        let waiting = try await machine.startServer(waitsUntilReady: false)
        try await waiting.waitFor("upstream.pem")
        _ = try await waiting.stop()
        let request = try await Installation.run(
            Installation.binary("signet-server"),
            ["--config", "\(machine.path)/server.yaml", "--request-upstream"],
            directory: machine.path
        )
        let id = try word("key ID:", of: request)
        let file = try word("request:", of: request)
        let out = "\(machine.path)/upstream.pem"
        try await succeed(
            machine.signet(
                ["pki", "sign", "--root", root, "--request", file, "--key-id", id, "--out", out]
                    + keys
            )
        )
    }

    private static func word(_ label: String, of result: ProgramResult) throws -> String {
        let line = result.output.split(separator: "\n").first { $0.hasPrefix(label) }
        guard result.isSuccess, let word = line?.split(separator: " ").last else {
            throw ProgramFailure("no \(label) in \(result.report)")
        }
        return String(word)
    }

    @discardableResult
    private static func succeed(_ result: ProgramResult) throws -> ProgramResult {
        guard result.isSuccess else { throw ProgramFailure(result.report) }
        return result
    }

    // MARK: - Above

    /// Runs the command line above, which has to succeed.
    @discardableResult
    func above(_ arguments: [String]) async throws -> ProgramResult {
        try Self.succeed(try await path.machine.signet(arguments))
    }

    /// Says on the server above that processes of this user are a server below.
    ///
    /// - Parameter hint: Another one changes the entry.
    /// - Throws: `ProgramFailure`.
    func writeEntry(hint: String) async throws {
        try await path.machine.apply(
            Machine.entry(
                "below",
                workload: "unix:uid:\(FreePort.uid)",
                more: ["downstream: true", "hint: \(hint)"]
            )
        )
    }

    // MARK: - Below

    private struct Authorities: Decodable {
        struct Authority: Decodable {
            var id: String
            var state: String
        }
        var authorities: [Authority]
    }

    /// The states of the authorities below, by their IDs.
    func authorities() async throws -> [String: String] {
        let shown = try Self.succeed(try await below.signet(["authority", "show", "-o", "json"]))
        let all = try JSONDecoder().decode(Authorities.self, from: Data(shown.output.utf8))
        return Dictionary(uniqueKeysWithValues: all.authorities.map { ($0.id, $0.state) })
    }

    /// The one that signs.
    func active() async throws -> String? {
        try await authorities().first { $0.value == "active" }?.key
    }

    /// Waits until another authority signs below: an entry gets one a minute, which is then held.
    func untilAnother(than old: String) async throws {
        for patience in (0..<3).reversed() {
            do {
                try await eventually("another authority below") {
                    let active = try await active()
                    return active != nil && active != old
                }
                return
            } catch { if patience == 0 { throw error } }
        }
    }

    /// Writes the files of the frontend, as a workload below has them.
    ///
    /// - Returns: Their folder.
    func takeIdentity() async throws -> String {
        let folder = "\(below.path)/files-\(UInt32.random(in: 0...UInt32.max))"
        let id = "\(DataPath.ids)/frontend"
        try Self.succeed(
            try await below.signet(
                ["svid", "fetch", "--spiffe-id", id, "--write-dir", folder]
            )
        )
        return folder
    }

    /// What openssl says of a certificate in a folder, which knows the root alone.
    func verify(_ folder: String) async throws -> ProgramResult {
        let leaf = "\(folder)/svid.pem"
        return try await Installation.run(
            Installation.tool("openssl"),
            [
                "verify", "-x509_strict", "-no-CApath", "-no-CAfile", "-CAfile", root,
                "-untrusted", leaf, leaf,
            ],
            directory: below.path
        )
    }

    /// Stops everything and waits for the ends.
    func stop() async throws {
        try await below.stop()
        try await path.stop()
    }
}
