// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestPrograms
import Testing

/// What the real programs do when the server's wall clock is wrong by hours, and when its authority
/// ended while it was away: docs/operations.md, "What happens when".
@Suite(.serialized, .timeLimit(.minutes(4)))
struct ClockFaultTests {
    private static let hour = 3600

    private struct Authorities: Decodable {
        struct Authority: Decodable {
            var id: String
            var state: String
        }
        var authorities: [Authority]
    }

    private static func active(_ machine: Machine) async throws -> [String] {
        let shown = try await machine.signet(["authority", "show", "-o", "json"])
        guard shown.isSuccess else { throw ProgramFailure("authority show: \(shown.report)") }
        return try JSONDecoder().decode(Authorities.self, from: Data(shown.output.utf8))
            .authorities.filter { $0.state == "active" }.map(\.id)
    }

    private static func fetch(_ machine: Machine) async throws -> String {
        let fetched = try await machine.signet(["svid", "fetch", "-o", "json"])
        guard fetched.isSuccess else { throw ProgramFailure("svid fetch: \(fetched.report)") }
        return fetched.output
    }

    private static func clockLine(_ machine: Machine) async throws -> Substring {
        let health = try await machine.signet(["health"])
        return health.output.split(separator: "\n").first { $0.contains(" clock ") } ?? ""
    }

    @Test func `a clock that steps by hours stops what is signed, and nothing else`() async throws {
        let machine = try Machine()
        let recorder = try await Recorder(of: machine.dataDirectory, for: machine)
        // The agent's own clock is right.
        machine.change { $0.serverEnvironment = recorder.clockEnvironment }
        try await machine.startServer()
        try await machine.startAgent()
        try await machine.register("web")
        #expect(try await Self.fetch(machine).contains("/web\""))

        for (hours, name, words) in [(3, "ahead", "ahead"), (-2, "behind", "behind")] {
            try recorder.setClock(ahead: hours * Self.hour)
            // Documents are stored and told, and the agent serves what it has.
            try await machine.register(name, waits: false)
            let token = try await machine.signet(["jwt", "fetch", "--audience", name])
            #expect(!token.isSuccess && token.errors.contains("clock"), "\(token.report)")
            try await eventually("the clock to be doubted") {
                let line = try await Self.clockLine(machine)
                return line.contains("NOT OK") && line.contains(words)
            }
            let shown = try await Self.fetch(machine)
            #expect(shown.contains("/web\"") && !shown.contains("/\(name)\""), "\(shown)")
            try recorder.setClock(ahead: 0)
            try await eventually("what was refused to be signed") {
                try await Self.fetch(machine).contains("/\(name)\"")
            }
            try await eventually("the clock to be believed") {
                try await !Self.clockLine(machine).contains("NOT OK")
            }
        }
        let told = try await machine.signet(
            ["audit", "query", "--event", "clockRefused", "-o", "json"]
        )
        #expect(told.output.ranges(of: "\"clockRefused\"").count == 2, "\(told.report)")
        try await machine.stop()
    }

    @Test func `an authority that ended while the server was away is replaced, and agents say why`()
        async throws
    {
        let machine = try Machine()
        let recorder = try await Recorder(of: machine.dataDirectory, for: machine)
        let telemetryPort = try FreePort.take()
        machine.change {
            $0.serverEnvironment = recorder.clockEnvironment
            $0.agentEnvironment = recorder.clockEnvironment
            $0.commandEnvironment = recorder.clockEnvironment
            $0.agentTelemetryPort = telemetryPort
        }
        try await machine.startServer()
        try await machine.startAgent()
        try await machine.register("web")
        let before = try await Self.active(machine)
        try await machine.stop()

        try recorder.setClock(ahead: 25 * Self.hour)
        try await machine.startServer()
        let after = try await Self.active(machine)
        #expect(after.count == 1 && after != before)
        // It believes nobody whom it does not know, and does not make do with less.
        let stranger = try await machine.startAgent(waitsUntilReady: false)
        try await eventually("its health to name the remedy") {
            let ready = try await Installation.run(
                Installation.tool("curl"),
                ["-sS", "--max-time", "5", "http://127.0.0.1:\(telemetryPort)/ready"],
                directory: machine.path
            )
            return ready.output.contains("signet agent evict machine")
        }
        _ = try await stranger.stop()

        // The remedy is the one that it names.
        let evicted = try await machine.signet(
            ["agent", "evict", "machine", "--reason", "its authority ended"]
        )
        #expect(evicted.isSuccess, "\(evicted.report)")
        try FileManager.default.removeItem(atPath: "\(machine.path)/token")
        try await machine.startAgent()
        try await eventually("an SVID by the new authority") {
            try await machine.signet(["svid", "fetch", "-o", "json"]).output.contains("/web\"")
        }
        let verified = try await machine.signet(["audit", "verify"])
        #expect(verified.isSuccess, "\(verified.report)")
        try await machine.stop()
    }
}
