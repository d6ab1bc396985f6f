// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestPrograms
import Testing

/// What `signet authority rotate --wait` makes of what happens while it waits.
@Suite(.serialized, .timeLimit(.minutes(4)))
struct AuthorityRotateTests {
    private struct Authorities: Decodable {
        struct Authority: Decodable {
            var id: String
            var state: String
        }
        var authorities: [Authority]
    }

    /// A rotation that goes on for longer than any test, and the command that waits for it.
    private struct Waiting {
        let machine: Machine
        let command: Program
        /// The authority that is waited for.
        let id: String

        init(_ options: [String] = [], says text: String = "waiting: authority") async throws {
            machine = try Machine {
                $0.serverLines = ["publicURL: https://issuer.example.org", "publicHold: 15m"]
            }
            try await machine.startServer()
            command = try machine.startSignet(["authority", "rotate", "--wait"] + options)
            try await command.waitFor(text)
            let shown = try await machine.signet(["authority", "show", "-o", "json"])
            let prepared = try JSONDecoder()
                .decode(Authorities.self, from: Data(shown.output.utf8))
                .authorities.first { $0.state == "prepared" }
            guard let prepared else { throw ProgramFailure("nothing prepared: \(shown.report)") }
            id = prepared.id
        }

        func act(_ arguments: [String]) async throws {
            let done = try await machine.signet(["authority"] + arguments)
            guard done.isSuccess else { throw ProgramFailure("\(arguments): \(done.report)") }
        }

        var name: String { "authority \(id.prefix(16))" }
    }

    @Test func `a wait goes on over a restart of the server, and a log is told of it`() async throws
    {
        let waiting = try await Waiting()
        let (machine, command) = (waiting.machine, waiting.command)
        _ = try await machine.server.stop()
        // That it cannot be reached, or that its socket is not there.
        try await command.waitFor("server")
        try await machine.startServer()
        try await command.waitFor("waiting: \(waiting.name)", times: 2)
        try await waiting.act(["activate", waiting.id, "--now", "--yes"])
        let ended = try await command.result()
        #expect(ended.isSuccess, "\(ended.report)")
        #expect(ended.output.hasSuffix("\(waiting.name) signs\n"), "\(ended.report)")
        try await machine.stop()
    }

    @Test func `a wait for an authority that is revoked ends without success`() async throws {
        let waiting = try await Waiting(["-o", "json"], says: "\"waiting\":")
        let first = waiting.command.errors.split(separator: "\n").first ?? ""
        let line = try JSONSerialization.jsonObject(with: Data(first.utf8)) as? [String: Any]
        #expect(line?["authority"] as? String == waiting.id, "\(first)")
        #expect(line?["waitingAgents"] as? [String] == [], "\(first)")
        try await waiting.act(["revoke", waiting.id, "--reason", "test"])
        let ended = try await waiting.command.result()
        #expect(ended.status == 1, "\(ended.report)")
        #expect(
            ended.errors.contains(
                "\(waiting.name) was revoked before it signed (test); authority "
            ),
            "\(ended.report)"
        )
        #expect(ended.output.isEmpty, "\(ended.report)")
        try await waiting.machine.stop()
    }

    @Test func `a server that does not find the key that signs says so in log and health`()
        async throws
    {
        let machine = try Machine()
        try await machine.startServer()
        let shown = try await machine.signet(["authority", "show", "-o", "json"])
        let lost = try JSONDecoder().decode(Authorities.self, from: Data(shown.output.utf8))
            .authorities.map(\.id)
        #expect(lost.count == 1, "\(shown.report)")
        _ = try await machine.server.stop()
        for id in lost {
            try FileManager.default.removeItem(
                atPath: "\(machine.dataDirectory)/keys/authority-\(id).key"
            )
        }
        let server = try await machine.startServer()
        let log = server.errors + server.output
        #expect(log.contains("the key of the authority that signed is not here"), "\(log)")
        let health = try await machine.signet(["health"])
        #expect(health.output.contains("authorityKey"), "\(health.report)")
        #expect(health.output.contains("has to be evicted"), "\(health.report)")
        try await machine.stop()
    }

    @Test func `a wait for an authority whose key is lost ends without success`() async throws {
        let waiting = try await Waiting()
        _ = try await waiting.machine.server.stop()
        try FileManager.default.removeItem(
            atPath: "\(waiting.machine.dataDirectory)/keys/authority-\(waiting.id).key"
        )
        try await waiting.machine.startServer()
        let server = try waiting.machine.server
        let log = server.errors + server.output
        #expect(log.contains("the key of a prepared authority is not here"), "\(log)")
        let ended = try await waiting.command.result()
        #expect(ended.status == 1, "\(ended.report)")
        #expect(
            ended.errors.contains("\(waiting.name) is not there any more; authority "),
            "\(ended.report)"
        )
        try await waiting.machine.stop()
    }
}
