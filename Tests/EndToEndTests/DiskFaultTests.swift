// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestPrograms
import Testing

/// A machine whose server, or agent, has a disk that a test can let fail.
private struct FailingMachine {
    let machine: Machine
    let disk: Recorder

    /// Starts both programs and registers `web`.
    static func start(ofAgent: Bool = false) async throws -> Self {
        let machine = try Machine()
        let directory = ofAgent ? machine.agentDirectory : machine.dataDirectory
        let disk = try await Recorder(of: directory, for: machine)
        machine.change {
            if ofAgent {
                $0.agentEnvironment = disk.faultEnvironment
            } else {
                $0.serverEnvironment = disk.faultEnvironment
            }
        }
        try await machine.startServer()
        try await machine.startAgent()
        try await machine.register("web")
        let result = Self(machine: machine, disk: disk)
        try await result.requireFetched("web")
        return result
    }

    /// What would change something is refused with these words; what is only read, and what the
    /// agent has, is there all the same.
    func requireNothingChanges(_ words: String, acts count: Int = 3) async throws {
        try await requireRefused(words, acts: count)
        let stored = try await machine.signet(["get", "RegistrationEntry", "-o", "json"])
        #expect(stored.isSuccess && stored.output.contains("\"web\""), "\(stored.report)")
        #expect(!stored.output.contains("refused"))
        try await requireFetched("web")
    }

    func requireRefused(_ words: String, acts count: Int = 3) async throws {
        let file = "\(machine.path)/refused.yaml"
        let text = Machine.entry("refused", workload: "unix:uid:1")
        try Data(text.utf8).write(to: URL(fileURLWithPath: file))
        for act in [
            ["apply", "-f", file], ["token", "create", "--name", "refused"],
            ["agent", "ban", "machine", "--reason", "test"],
        ].prefix(count) {
            let result = try await machine.signet(act)
            #expect(!result.isSuccess, "\(act)")
            #expect(result.errors.contains("nothing was changed"), "\(act): \(result.report)")
            #expect(result.errors.contains(words), "\(act): \(result.report)")
        }
    }

    func requireFetched(_ name: String) async throws {
        let fetched = try await machine.signet(["svid", "fetch", "-o", "json"])
        #expect(fetched.isSuccess && fetched.output.contains("/\(name)\""), "\(fetched.report)")
    }

    func requireHealth(_ words: String) async throws {
        let health = try await machine.signet(["health"])
        #expect(health.status == 1, "\(health.report)")
        let line = health.output.split(separator: "\n").first { $0.contains(" datastore ") } ?? ""
        #expect(line.contains("NOT OK") && line.contains(words), "\(health.report)")
    }

    func requireRecovered() async throws {
        try await eventually("health, and the agent") {
            let health = try await machine.signet(["health", "-o", "json"])
            return health.isSuccess && health.output.contains("\"connectedAgents\" : 1")
        }
        try await machine.register("after")
        try await requireFetched("after")
        let verified = try await machine.signet(["audit", "verify"])
        #expect(verified.isSuccess, "\(verified.report)")
    }
}

/// What the real programs say and do while their disks fail: docs/operations.md, "What happens
/// when".
@Suite(.serialized, .timeLimit(.minutes(4)))
struct DiskFaultTests {
    @Test func `a full disk stops the server's acts until there is room again`() async throws {
        let failing = try await FailingMachine.start()
        try failing.disk.fail(with: "ENOSPC")
        try await failing.requireNothingChanges("full")
        try await failing.requireHealth("full")
        try failing.disk.fail(with: nil)
        try await failing.requireRecovered()
        try await failing.machine.stop()
    }

    @Test(arguments: ["EIO", "EROFS"])
    func `a disk that failed once stops the server's acts until its restart`(
        kind: String
    )
        async throws
    {
        let failing = try await FailingMachine.start()
        let machine = failing.machine
        try failing.disk.fail(with: kind)
        try await failing.requireNothingChanges("disk failed")
        try await failing.requireHealth("disk failed")
        try failing.disk.fail(with: nil)
        try await failing.requireNothingChanges("disk failed")
        _ = try await machine.server.stop()
        try await machine.startServer()
        try await failing.requireRecovered()
        try await machine.stop()
    }

    @Test(arguments: ["ENOSPC", "EROFS", "EIO"])
    func `a server on a disk that cannot be written does not start, and harms nothing`(
        kind: String
    ) async throws {
        let failing = try await FailingMachine.start()
        let machine = failing.machine
        _ = try await machine.server.stop(.kill)
        try failing.disk.fail(with: kind)
        let ended = try await machine.startServer(waitsUntilReady: false).result()
        #expect(ended.status == 1, "\(ended.report)")
        let words = ["full", "failed", "No space", "Read-only", "read-only"]
        #expect(words.contains { ended.errors.contains($0) }, "\(ended.report)")
        try failing.disk.fail(with: nil)
        try await machine.startServer()
        try await failing.requireRecovered()
        try await machine.stop()
    }

    @Test func `a database that another process holds stops acts until it lets go`() async throws {
        let failing = try await FailingMachine.start()
        let machine = failing.machine
        let thief = try await hold(machine)
        try await failing.requireNothingChanges(
            "another process holds the database lock",
            acts: 1
        )
        try await failing.requireHealth("another process holds the database lock")
        try await thief.stop(.kill)
        try await failing.requireRecovered()
        // So at the start.
        _ = try await machine.server.stop()
        let second = try await hold(machine)
        let ended = try await machine.startServer(waitsUntilReady: false).result()
        #expect(ended.status == 1)
        #expect(ended.errors.contains("another process holds the database lock"), "\(ended.report)")
        try await second.stop(.kill)
        try await machine.startServer()
        try await machine.register("last")
        try await machine.stop()
    }

    /// Another process takes the lock for writing and keeps it.
    private func hold(_ machine: Machine) async throws -> Program {
        let script = """
            import sqlite3, sys, time
            connection = sqlite3.connect(sys.argv[1], isolation_level=None)
            connection.execute("BEGIN IMMEDIATE")
            print("held", flush=True)
            time.sleep(120)
            """
        let thief = try Program(
            Installation.python(),
            ["-c", script, "\(machine.dataDirectory)/server.sqlite"],
            directory: machine.path
        )
        try await thief.waitFor("held")
        return thief
    }

    @Test func `a database damaged under the running server stops acts until it is restored`()
        async throws
    {
        let failing = try await FailingMachine.start()
        let machine = failing.machine
        // After a restart everything is in the file itself, and little of it in memory.
        _ = try await machine.server.stop()
        try await machine.startServer()
        let database = "\(machine.dataDirectory)/server.sqlite"
        let whole = try Data(contentsOf: URL(fileURLWithPath: database))
        try overwrite(database, from: 4096, with: Data(repeating: 0xEE, count: whole.count - 4096))
        let refused = try await machine.signet(["token", "create", "--name", "refused"])
        #expect(refused.errors.contains("damaged"), "\(refused.report)")
        try await failing.requireHealth("damaged")
        // Nobody knows what else is damaged, so nothing is written although the bytes are back.
        try overwrite(database, from: 4096, with: whole[4096...])
        try await failing.requireRefused("damaged")
        try await failing.requireFetched("web")
        try overwrite(database, from: 4096, with: Data(repeating: 0xEE, count: whole.count - 4096))
        _ = try await machine.server.stop(.kill)
        let ended = try await machine.startServer(waitsUntilReady: false).result()
        #expect(ended.status == 1 && ended.errors.contains("damaged"), "\(ended.report)")
        try overwrite(database, from: 4096, with: whole[4096...])
        try await machine.startServer()
        try await failing.requireRecovered()
        try await machine.stop()
    }

    private func overwrite(_ path: String, from offset: UInt64, with bytes: Data) throws {
        let handle = try FileHandle(forWritingTo: URL(fileURLWithPath: path))
        try handle.seek(toOffset: offset)
        try handle.write(contentsOf: bytes)
        try handle.close()
    }

    // MARK: - The agent

    @Test(arguments: ["ENOSPC", "EIO"])
    func `an agent whose disk fails serves on, says so, and catches up`(kind: String) async throws {
        let failing = try await FailingMachine.start(ofAgent: true)
        let machine = failing.machine
        let sync = "\(machine.agentDirectory)/sync"
        let before = FileManager.default.contents(atPath: sync)
        try failing.disk.fail(with: kind)
        // It is acknowledged and in force, though not on disk.
        try await machine.register("late")
        try await failing.requireFetched("late")
        #expect(FileManager.default.contents(atPath: sync) == before)
        try await eventually("the agent to say so") {
            try await ready(machine).contains("\"name\":\"disk\",\"met\":false")
        }
        try failing.disk.fail(with: nil)
        try await eventually("the agent to recover") {
            try await ready(machine).contains("\"healthy\":true")
        }
        #expect(FileManager.default.contents(atPath: sync) != before)
        #expect(
            try FileManager.default.contentsOfDirectory(atPath: machine.agentDirectory).sorted()
                == ["checkpoint", "identity", "key", "lock", "sync"]
        )
        _ = try await machine.agent.stop(.kill)
        try await machine.startAgent()
        try await failing.requireFetched("late")
        try await machine.stop()
    }

    /// The agent's answer about its readiness.
    private func ready(_ machine: Machine) async throws -> String {
        let line = try machine.agent.errors.split(separator: "telemetryPort=").last ?? ""
        let port = line.prefix { $0.isNumber }
        let script = """
            exec 3<>/dev/tcp/127.0.0.1/\(port)
            printf 'GET /ready HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n' >&3
            cat <&3
            """
        let result = try await Installation.run(
            Installation.tool("bash"),
            ["-c", script],
            directory: machine.path
        )
        return result.output
    }

    @Test func `an agent does not start on a disk that it cannot write, nor on changed files`()
        async throws
    {
        let failing = try await FailingMachine.start(ofAgent: true)
        let machine = failing.machine
        _ = try await machine.agent.stop()
        try failing.disk.fail(with: "EROFS")
        let readOnly = try await machine.startAgent(waitsUntilReady: false).result()
        #expect(readOnly.status == 1 && readOnly.errors.contains("Read-only"), "\(readOnly.report)")
        try failing.disk.fail(with: nil)
        for file in ["identity", "key", "sync", "checkpoint"] {
            let path = "\(machine.agentDirectory)/\(file)"
            let whole = try Data(contentsOf: URL(fileURLWithPath: path))
            try overwrite(
                path,
                from: UInt64(whole.count - 1),
                with: Data([whole[whole.count - 1] ^ 1])
            )
            let ended = try await machine.startAgent(waitsUntilReady: false).result()
            #expect(ended.status == 1 && ended.errors.contains(path), "\(ended.report)")
            try overwrite(path, from: UInt64(whole.count - 1), with: whole.suffix(1))
        }
        try await machine.startAgent()
        try await failing.requireFetched("web")
        try await machine.stop()
    }
}
