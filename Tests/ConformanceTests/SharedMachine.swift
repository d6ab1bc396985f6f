// SPDX-License-Identifier: Apache-2.0

import TestPrograms
import Testing

/// One machine for all tests of a suite: each test registers workloads of its own on it.
struct SharedMachine: SuiteTrait, TestScoping {
    @TaskLocal private static var running: Machine?

    static var machine: Machine {
        get throws {
            guard let running else { throw ProgramFailure("the suite has no machine") }
            return running
        }
    }

    @concurrent
    func provideScope(
        for test: Test,
        testCase: Test.Case?,
        performing function: @concurrent @Sendable () async throws -> Void
    ) async throws {
        let machine = try Machine()
        try await machine.startServer()
        try await machine.startAgent()
        try await Self.$running.withValue(machine) { try await function() }
        try await machine.stop()
    }
}

extension Trait where Self == SharedMachine {
    static var sharedMachine: Self { SharedMachine() }
}

extension Machine {
    /// Registers a new workload under its name.
    func registered(_ name: String, more: [String] = []) async throws -> Workload {
        let workload = try await makeWorkload(name)
        try await register(workload, as: name, more: more)
        return workload
    }

    /// Requires that a check of rows.py holds for a workload.
    func check(
        _ row: String,
        _ arguments: [String] = [],
        as workload: Workload,
        sourceLocation: SourceLocation = #_sourceLocation
    ) async throws {
        let result = try await run(workload, "rows.py", [row] + arguments)
        #expect(result.isSuccess, "\(result.report)", sourceLocation: sourceLocation)
    }
}
