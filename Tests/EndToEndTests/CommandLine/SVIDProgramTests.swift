// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestPrograms
import Testing

/// What `signet svid watch` does with the program that uses the files.
@Suite(.serialized, .timeLimit(.minutes(3)))
struct SVIDProgramTests {
    /// Renewed every 5 s or so.
    private static let shortLife = ["x509SVIDTTL: 10s"]

    /// Writes the lines of a program for /bin/sh; they append what happens to `events`.
    private static func script(_ lines: [String], in machine: Machine) throws -> String {
        let path = "\(machine.path)/program.sh"
        let text = (["events=\(machine.path)/events"] + lines).joined(separator: "\n") + "\n"
        try text.write(toFile: path, atomically: true, encoding: .utf8)
        return path
    }

    private static func events(_ machine: Machine) -> [String] {
        let text = try? String(contentsOfFile: "\(machine.path)/events", encoding: .utf8)
        return (text ?? "").split(separator: "\n").map(String.init)
    }

    private static func watch(_ machine: Machine, _ arguments: [String]) throws -> Program {
        try machine.startSignet(
            ["svid", "watch", "--write-dir", "\(machine.path)/tls"] + arguments
        )
    }

    /// The program's ID out of its first event, `started PID`.
    private static func pid(_ machine: Machine) throws -> Int32 {
        let first = try #require(events(machine).first { $0.hasPrefix("started ") })
        return try #require(Int32(first.dropFirst("started ".count)))
    }

    /// A program that notes each HUP and lives on.
    private static let listener = [
        "trap 'echo renewed >> $events' HUP",
        "trap 'echo ended >> $events; exit 0' TERM",
        "echo started $$ >> $events",
        "while :; do sleep 0.05; done",
    ]

    @Test func `the program is signalled on each renewal and ends with the watch`() async throws {
        let machine = try await SVIDFilesTests.machine(Self.shortLife)
        let script = try Self.script(Self.listener, in: machine)
        let watch = try Self.watch(machine, ["--run", "/bin/sh '\(script)'", "--signal", "HUP"])
        try await eventually("two renewals") {
            Self.events(machine).count { $0 == "renewed" } >= 2
        }
        #expect(Self.events(machine).count { $0.hasPrefix("started") } == 1)
        let pid = try Self.pid(machine)
        let ended = try await watch.stop()
        #expect(ended.status == 0, "\(ended.report)")
        #expect(Self.events(machine).last == "ended")
        #expect(!Signals.isThere(pid))
        try await machine.stop()
    }

    @Test func `without a signal the program is started again on renewal`() async throws {
        let machine = try await SVIDFilesTests.machine(Self.shortLife)
        let script = try Self.script(Self.listener, in: machine)
        let watch = try Self.watch(machine, ["--run", "/bin/sh '\(script)'"])
        try await eventually("a second start") {
            Self.events(machine).count { $0.hasPrefix("started") } >= 2
        }
        // One at a time: the first had ended before the second began.
        let kinds = Self.events(machine).prefix(3).map { $0.split(separator: " ")[0] }
        #expect(kinds == ["started", "ended", "started"])
        try await watch.stop(.interrupt)
        try await machine.stop()
    }

    @Test func `when the program ends by itself, so does the watch, with its status`()
        async throws
    {
        let machine = try await SVIDFilesTests.machine()
        let script = try Self.script(
            ["test -s '\(machine.path)/tls/svid_key.pem'", "exit 7"],
            in: machine
        )
        let watch = try Self.watch(machine, ["--run", "/bin/sh '\(script)'"])
        #expect(try await watch.result().status == 7)
        let missing = try Self.watch(machine, ["--run", "/no/such/program"])
        let result = try await missing.result()
        #expect(result.status == 127)
        #expect(result.errors.contains("/no/such/program"), "\(result.report)")
        try await machine.stop()
    }

    @Test func `the program dies with a watch that is killed`() async throws {
        let machine = try await SVIDFilesTests.machine()
        let script = try Self.script(Self.listener, in: machine)
        let watch = try Self.watch(machine, ["--run", "/bin/sh '\(script)'"])
        try await eventually("the program") { !Self.events(machine).isEmpty }
        let pid = try Self.pid(machine)
        try await watch.stop(.kill)
        try await eventually("the program's end") { !Signals.isThere(pid) }
        #expect(Self.events(machine).last == "ended")
        try await machine.stop()
    }

    @Test func `a process named in a file is signalled on renewal`() async throws {
        let machine = try await SVIDFilesTests.machine(Self.shortLife)
        let script = try Self.script(Self.listener, in: machine)
        let program = try Program(
            Installation.tool("sh"),
            [script],
            directory: machine.path
        )
        try await eventually("the program") { !Self.events(machine).isEmpty }
        let pidFile = "\(machine.path)/program.pid"
        try "\(program.pid)\n".write(toFile: pidFile, atomically: true, encoding: .utf8)
        let watch = try Self.watch(machine, ["--signal", "HUP", "--pid-file", pidFile])
        // The first write is one, too: a program that runs already has older files.
        try await eventually("two signals") {
            Self.events(machine).count { $0 == "renewed" } >= 2
        }
        try await watch.stop()
        // Whom it only signalled lives on.
        #expect(program.isRunning)
        try await program.stop()
        try await machine.stop()
    }

    @Test func `a command runs after each write, and its failure is told`() async throws {
        let machine = try await SVIDFilesTests.machine(Self.shortLife)
        let events = "\(machine.path)/events"
        let line = "test -s '\(machine.path)/tls/svid.pem' && echo written >> '\(events)'; exit 3"
        let watch = try Self.watch(machine, ["--on-renewal", line])
        try await eventually("two commands") { Self.events(machine).count >= 2 }
        #expect(Self.events(machine) == ["written", "written"])
        try await watch.waitFor("the command ended with status 3", times: 2)
        #expect(watch.isRunning)
        #expect(try await watch.stop().status == 0)
        try await machine.stop()
    }

    @Test func `options that do not go together are refused with what is missing`() async throws {
        let machine = try Machine()
        let cases: [([String], String)] = [
            (["--run", "a; b", "--write-dir", "x"], "--run takes one program"),
            (["--run", "web"], "need --write-dir"),
            (["--on-renewal", "web"], "need --write-dir"),
            (["--signal", "HUP"], "--signal needs --run or --pid-file"),
            (["--signal", "FOO", "--run", "x", "--write-dir", "x"], "--signal takes HUP, INT"),
            (["--pid-file", "x", "--write-dir", "x"], "--pid-file needs --signal"),
            (["--on-renewal", "a", "--run", "b", "--write-dir", "x"], "--on-renewal excludes"),
        ]
        for (arguments, expected) in cases {
            let result = try await machine.signet(["svid", "watch"] + arguments)
            #expect(result.status == 64, "\(arguments)")
            #expect(result.errors.contains(expected), "\(result.report)")
        }
    }
}
