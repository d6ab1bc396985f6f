// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestPrograms
import Testing

/// docs/audit.md says how anybody checks a log without our tool; that program is run as it stands.
@Suite(.serialized, .timeLimit(.minutes(2)))
struct AuditPageTests {
    /// The only program in Python on the page.
    private static func program() throws -> String {
        let page = Installation.repository.appending(path: "docs/audit.md")
        let text = try String(contentsOf: page, encoding: .utf8)
        let parts = text.split(separator: "```python\n").dropFirst()
        #expect(parts.count == 1)
        return String(try #require(parts.first?.split(separator: "```").first))
    }

    @Test func `the page's program verifies a log, and finds one changed byte`() async throws {
        let machine = try Machine()
        try await machine.startServer()
        // More than one bundle, so that full and partial tiles are read.
        let made = try await machine.runPeer("many_tokens.py", [machine.adminSocket, "300"])
        #expect(made.isSuccess, "\(made.report)")
        try await eventually("a checkpoint over everything") {
            let verified = try await machine.signet(["audit", "verify"])
            return verified.isSuccess && !verified.errors.contains("not under a checkpoint")
        }
        let copy = "\(machine.path)/copy"
        let exported = try await machine.signet(["audit", "export", "--dir", copy])
        #expect(exported.isSuccess, "\(exported.report)")
        try Self.program()
            .write(toFile: "\(machine.path)/verify.py", atomically: true, encoding: .utf8)
        let key = try String(contentsOfFile: "\(copy)/verifier.key", encoding: .utf8)
            .trimmingCharacters(in: .whitespacesAndNewlines)

        let intact = try await verify(copy, key, machine)
        #expect(intact.isSuccess, "\(intact.report)")
        #expect(intact.output.hasPrefix("intact: "), "\(intact.report)")
        let records = try await verify(copy, key, machine, more: ["records"])
        #expect(records.output.contains("\"event\":\"tokenCreated\""))

        for file in ["tile/entries/000", "checkpoint"] {
            let url = URL(filePath: "\(copy)/\(file)")
            let before = try Data(contentsOf: url)
            var bytes = before
            bytes[bytes.count / 2] ^= 1
            try bytes.write(to: url)
            let broken = try await verify(copy, key, machine)
            #expect(!broken.isSuccess, "\(file): \(broken.report)")
            let ours = try await machine.signet(
                ["audit", "verify", "--dir", copy, "--key", key]
            )
            #expect(ours.status == 4, "\(file): \(ours.report)")
            try before.write(to: url)
        }
        try await machine.stop()
    }

    private func verify(
        _ copy: String,
        _ key: String,
        _ machine: Machine,
        more: [String] = []
    ) async throws -> ProgramResult {
        try await Installation.run(
            Installation.python(),
            ["\(machine.path)/verify.py", copy, key] + more,
            directory: machine.path
        )
    }
}
