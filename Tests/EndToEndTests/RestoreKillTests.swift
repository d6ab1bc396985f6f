// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestPrograms
import TestSeeds
import Testing

/// A restore that is killed (SIGKILL) at any step: it has not begun, or the next one finishes it
/// (docs/decisions/0022-backup-and-restore.md, "Restore", step 7).
///
/// A step is an operation on files.
@Suite(.serialized, .timeLimit(.minutes(60)))
struct RestoreKillTests {
    /// Operations that are looked at, unless all are wanted.
    private static let sample = 6

    @Test func `a restore killed at any step is done by the next one`() async throws {
        let seed = UInt64.random(in: 0 ... .max)
        let stopped = try await StoppedServer()
        let count = try await stopped.countOperations()
        // Fewer would mean that the recorder misses most of what happens.
        try #require(count > 20, "\(count)")
        var generator = SeededGenerator(seed: seed)
        // The last ones put everything to its place, and each of them counts.
        let last = max(1, count - 14)...count
        let others = (1..<last.lowerBound).shuffled(using: &generator).prefix(Self.sample)
        let chosen = PowerCuts.isExhaustive ? Array(1...count) : others.sorted() + Array(last)
        for operation in chosen {
            try await stopped.kill(
                after: operation,
                "operation \(operation) of \(count), seed \(seed)"
            )
        }
        print("kills in a restore: \(chosen.count) of \(count), seed \(seed)")
        try await stopped.requireRecovery()
    }
}

/// A stopped server with a backup, and acts since.
private struct StoppedServer {
    private struct Outlook: Decodable {
        struct Document: Decodable {
            var name: String
        }
        var documents: [Document]
        var authorityCount: UInt64
        var objections: [String]
    }

    private let machine: Machine
    private let recorder: Recorder
    private var backup: String { "\(machine.path)/server.signetbackup" }
    /// The data directory as it is before each restore.
    private var template: String { "\(machine.path)/template" }

    init() async throws {
        machine = try Machine()
        let secret = "\(machine.path)/backup-passphrase"
        let isWritten = FileManager.default.createFile(
            atPath: secret,
            contents: Data("open sesame".utf8),
            attributes: [.posixPermissions: 0o600]
        )
        guard isWritten else { throw ProgramFailure(secret) }
        machine.change { $0.serverLines = ["backupPassphrase: file:\(secret)"] }
        recorder = try await Recorder(of: machine.dataDirectory, for: machine)
        try await machine.startServer()
        try await machine.register("web", waits: false)
        try await act(["server", "backup", "--out", backup])
        try await machine.register("later", waits: false)
        try await act(["authority", "rotate", "--now", "--yes"])
        try await machine.stop()
        try FileManager.default.moveItem(atPath: machine.dataDirectory, toPath: template)
    }

    private func act(_ arguments: [String]) async throws {
        let done = try await machine.signet(arguments)
        guard done.isSuccess else { throw ProgramFailure("\(arguments): \(done.report)") }
    }

    private func renew() throws {
        try? FileManager.default.removeItem(atPath: machine.dataDirectory)
        try FileManager.default.copyItem(atPath: template, toPath: machine.dataDirectory)
    }

    private func restore(
        environment: [String: String] = [:]
    ) async throws -> ProgramResult {
        try await Installation.run(
            Installation.binary("signet-server"),
            ["restore", backup, "--config", "\(machine.path)/server.yaml"],
            environment: environment,
            directory: machine.path
        )
    }

    /// How many operations a restore takes when nobody kills it.
    func countOperations() async throws -> Int {
        try renew()
        let done = try await restore(environment: recorder.killEnvironment)
        guard done.isSuccess else { throw ProgramFailure(done.report) }
        return try recorder.events().count
    }

    /// Kills a restore after an operation, and requires that the next one brings it to its end.
    func kill(after operation: Int, _ context: String) async throws {
        try renew()
        try recorder.kill(afterOperations: operation)
        let killed = try await restore(environment: recorder.killEnvironment)
        try recorder.kill(afterOperations: nil)
        #expect(killed.status == -9, "\(context): \(killed.report)")
        let again = try await restore()
        #expect(again.isSuccess, "\(context): \(again.report)")
        try requireSound(context)
    }

    /// What is to be in the data directory after it, whatever happened on the way.
    private func requireSound(_ context: String) throws {
        let data = machine.dataDirectory
        func names(_ path: String) throws -> [String] {
            try FileManager.default.contentsOfDirectory(atPath: "\(data)/\(path)").sorted()
        }
        let all = try names("")
        #expect(all.contains("server.sqlite"), "\(context)")
        #expect(!all.contains("restoring") && !all.contains("audit"), "\(context)")
        // A restore whose last step was done is another one's database.
        for log in try names("logs") {
            #expect(try names("logs/\(log)").contains("succession"), "\(context)")
            let replaced = try names("replaced-\(log)")
            #expect(replaced.contains("server.sqlite"), "\(context)")
        }
        #expect(try names("keys").contains("audit.key"), "\(context)")
        let authorities = try names("keys").count { $0.hasPrefix("authority-") }
        #expect(authorities >= 2, "\(context)")
    }

    /// Requires that the server of the last restore starts, is held, and is recovered.
    func requireRecovery() async throws {
        try renew()
        // The command line's form of it.
        try await act(["server", "restore", backup, "--config", "\(machine.path)/server.yaml"])
        try await machine.startServer(waitsUntilReady: false)
        var outlook: Outlook?
        try await eventually("it answers") {
            let asked = try await machine.signet(
                ["server", "recover", "--rehearse", "-o", "json"]
            )
            outlook = try? JSONDecoder().decode(Outlook.self, from: Data(asked.output.utf8))
            return outlook != nil
        }
        #expect(outlook?.documents.map(\.name) == ["later"])
        #expect((outlook?.authorityCount ?? 0) >= 1)
        #expect(outlook?.objections.count == 1)
        try await machine.register("later", waits: false)
        try await act(["server", "recover"])
        try await machine.server.waitFor(": ready")
        try await machine.startAgent()
        let fetched = try await machine.signet(["svid", "fetch", "-o", "json"])
        #expect(fetched.output.contains("spiffe://example.org/web"), "\(fetched.report)")
        let verified = try await machine.signet(["audit", "verify"])
        #expect(verified.isSuccess, "\(verified.report)")
        try await machine.stop()
    }
}
