// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestPrograms
import Testing

/// The launcher of the other tests.
@Suite(.timeLimit(.minutes(1)))
struct ProgramTests {
    @Test func `a program has ended although a child of it lives on`() async throws {
        let directory = try TestDirectory()
        let program = try Program(
            "/bin/sh",
            ["-c", "sleep 50 & echo $!; exit 3"],
            directory: directory.path
        )
        let result = try await program.result()
        #expect(result.status == 3)
        // The child holds what it inherited until it is told to end.
        let child = result.output.trimmingCharacters(in: .whitespacesAndNewlines)
        let told = try await Installation.run(
            Installation.tool("kill"),
            [child],
            directory: directory.path
        )
        #expect(told.isSuccess, "\(told.report)")
    }

    @Test func `a program that is stopped says by what`() async throws {
        let directory = try TestDirectory()
        let program = try Program("/bin/cat", [], directory: directory.path, readsInput: true)
        #expect(program.isRunning)
        let result = try await program.stop(.kill)
        #expect(result.status == -9)
        #expect(!program.isRunning)
    }

    @Test func `a program reads until its input is closed`() async throws {
        let directory = try TestDirectory()
        let program = try Program("/bin/cat", [], directory: directory.path, readsInput: true)
        program.closeInput()
        #expect(try await program.result().status == 0)
    }
}
