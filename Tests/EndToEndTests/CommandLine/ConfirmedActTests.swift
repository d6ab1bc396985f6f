// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestPrograms
import Testing

/// Acts after which something counts no more say who has not applied them.
@Suite(.serialized, .timeLimit(.minutes(2)))
struct ConfirmedActTests {
    private struct Authorities: Decodable {
        struct Authority: Decodable {
            var id: String
            var state: String
        }
        var authorities: [Authority]
    }

    private static func active(_ machine: Machine) async throws -> String {
        let shown = try await machine.signet(["authority", "show", "-o", "json"])
        let active = try JSONDecoder().decode(Authorities.self, from: Data(shown.output.utf8))
            .authorities.first { $0.state == "active" }
        guard let active else { throw ProgramFailure("nothing signs: \(shown.report)") }
        return active.id
    }

    @Test func `an agent that has not applied a taint is named, and waited for by --wait`()
        async throws
    {
        let machine = try Machine()
        try await machine.startServer()
        let agent = try await machine.startAgent()
        let old = try await Self.active(machine)
        let rotated = try await machine.signet(["authority", "rotate", "--now", "--yes"])
        #expect(rotated.isSuccess, "\(rotated.report)")
        // Nobody is tainted while somebody does not know the next one.
        try await machine.register("web")

        let useless = try await machine.signet(["authority", "taint", old, "--rehearse", "--wait"])
        #expect(useless.status == 64 && useless.errors.contains("leave out --wait"))

        agent.signal(.pause)
        let tainted = try await machine.signet(["authority", "taint", old, "--reason", "test"])
        agent.signal(.proceed)
        #expect(tainted.isSuccess, "\(tainted.report)")
        #expect(tainted.errors.contains("warning: revision "), "\(tainted.report)")
        #expect(tainted.errors.contains("is not confirmed by all: machine"), "\(tainted.report)")

        // Nothing changes by it again, and who has it is said all the same.
        let again = try await machine.signet(["authority", "taint", old, "--wait"])
        #expect(again.isSuccess, "\(again.report)")
        #expect(again.errors.contains("applied by 1 agent(s)"), "\(again.report)")
        try await machine.stop()
    }

    @Test(arguments: ["ban", "evict"])
    func `after a ban or eviction it is said who obeys, and the agent itself is not waited for`(
        _ act: String
    ) async throws {
        let machine = try Machine()
        try await machine.startServer()
        try await machine.startAgent()
        let done = try await machine.signet(
            ["agent", act, "machine", "--reason", "test", "--wait"]
        )
        #expect(done.isSuccess, "\(done.report)")
        #expect(done.errors.contains("applied by 0 agent(s)"), "\(done.report)")
        try await machine.stop()
    }
}
