// SPDX-License-Identifier: Apache-2.0

import TestPrograms
import Testing

/// Flags of signet-proxy that no agent could make sense of.
@Suite(.timeLimit(.minutes(1)))
struct ProxyFlagTests {
    @Test(
        arguments: [
            ("--proxy", "frontend", "namespace/name"), ("--proxy", "", "namespace/name"),
            ("--proxy", "default/Front", "namespace/name"),
            ("--max-staleness", "29", "at least 30 seconds"),
            ("--workers", "0", "--workers takes 1 to"), ("--log-format", "xml", "does not take"),
        ]
    )
    func `a wrong flag ends the start, with what to write`(
        flag: String,
        value: String,
        says: String
    ) async throws {
        let place = try TestDirectory()
        let result = try await Installation.run(
            Installation.binary("signet-proxy"),
            ["--agent-socket", "\(place.path)/none.sock", flag, value],
            directory: place.path
        )
        #expect(result.status == 64, "\(result.report)")
        #expect(result.errors.contains(says), "\(result.report)")
    }
}
