// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestPrograms
import Testing

/// What the agent's process gives away of itself.
@Suite(.timeLimit(.minutes(1)))
struct AgentProcessTests {
    @Test func `keys in the agent's memory reach no core dump and no process of its user`()
        async throws
    {
        let machine = try Machine()
        try await machine.startServer()
        let agent = try await machine.startAgent()
        let limits = try String(contentsOfFile: "/proc/\(agent.pid)/limits", encoding: .utf8)
        let core = try #require(
            limits.split(separator: "\n").first { $0.hasPrefix("Max core file size") }
        )
        let words = core.split(separator: " ").map(String.init)
        #expect(words.suffix(3) == ["0", "0", "bytes"])
        try await machine.stop()
    }
}
