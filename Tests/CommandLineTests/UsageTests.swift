// SPDX-License-Identifier: Apache-2.0

import TestPrograms
import Testing
import signet

/// What is refused before anybody is asked.
@Suite(.timeLimit(.minutes(1)))
struct UsageTests {
    @Test(
        arguments: [
            ("audit query --serial 01b6242cc4b9da20", "34 hexadecimal digits"),
            ("audit query --actor foo", "system:PART"),
            ("entry list --spiffe-id foo", "spiffe://trust-domain/path"),
            ("svid fetch --include-key", "-o json"),
            ("svid watch --include-key", "-o json"),
            ("svid watch --keep-files", "--write-dir"),
            ("svid watch --write-dir d --key-mode 0604", "0640"),
            ("apply -f nowhere.yaml --wait-seconds 5", "add --wait, or leave it out"),
            ("audit verify --dir nowhere", "there is no audit log in nowhere"),
        ]
    )
    func `what can only do nothing is refused with the form`(
        line: String,
        says: String
    ) async throws {
        let directory = try TestDirectory()
        let result = try await Installation.run(
            Installation.binary("signet"),
            line.split(separator: " ").map(String.init),
            directory: directory.path
        )
        #expect(result.status == ExitStatus.usage.rawValue, "\(result.report)")
        #expect(result.errors.contains(says), "\(result.report)")
    }
}
