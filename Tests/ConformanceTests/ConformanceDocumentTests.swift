// SPDX-License-Identifier: Apache-2.0

import FoundationEssentials
import TestPrograms
import Testing

@Suite(.timeLimit(.minutes(1)))
struct ConformanceDocumentTests {
    @Test func `the conformance document is what the tests say`() async throws {
        let directory = try TestDirectory()
        let script = "Tests/ConformanceTests/generate/conformance.py"
        let result = try await Installation.run(
            Installation.python(),
            ["\(Installation.repository.path)/\(script)", "check"],
            directory: directory.path
        )
        #expect(result.isSuccess, "\(result.report)")
    }
}
