// SPDX-License-Identifier: Apache-2.0

import Clocks
import DurableFiles
import Logging
import NodeAgent
import TestPrograms
import Testing

@Suite(.timeLimit(.minutes(1)))
struct TokenFileTests {
    /// `signet token create > join-token` leaves it when it fails.
    @Test func `a token file without a token says so`() async throws {
        let directory = try TestDirectory()
        let file = directory.path + "/join-token"
        try DurableFile.write([], to: file, mode: 0o600)
        var configuration = AgentConfiguration()
        configuration.dataDirectory = directory.path + "/data"
        configuration.socket = directory.path + "/workload.sock"
        configuration.telemetryPort = 0
        configuration.joinTokenFile = file
        let agent = try Agent(
            configuration,
            clock: SystemClock(),
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        )
        let error = await #expect(throws: AgentStartError.self) { try await agent.run() }
        #expect(error?.description.contains("\(file): there is none in it") == true)
    }
}
