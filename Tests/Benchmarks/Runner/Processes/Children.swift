// SPDX-License-Identifier: Apache-2.0

internal import ArgumentParser
internal import Foundation
internal import Synchronization
internal import UnixSignals

/// Every program that this process has started, so that none outlives it.
enum Children {
    private struct State {
        var running: [Process] = []
        /// Whether no more are started.
        var isEnding = false
    }

    private static let state = Mutex(State())

    /// Starts a program.
    ///
    /// - Throws: `CancellationError` once all have been ended; what the start throws.
    static func start(_ process: Process) throws {
        try state.withLock { state in
            guard !state.isEnding else { throw CancellationError() }
            try process.run()
            state.running.removeAll { !$0.isRunning }
            state.running.append(process)
        }
    }

    /// Runs `body`, and ends it and every program when a signal asks for the end.
    ///
    /// Who measures finds his programs gone and cleans up as after any other failure.
    ///
    /// - Throws: What `body` throws; `ExitCode` of the signal, as shells count them.
    static func run(_ body: @escaping @Sendable () async throws -> Void) async throws {
        let signals = await UnixSignalsSequence(trapping: .sighup, .sigint, .sigterm)
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await body() }
            group.addTask {
                for await signal in signals {
                    endAll()
                    throw ExitCode(128 + signal.rawValue)
                }
            }
            // The first that ends: the measurement, or the wait for a signal.
            defer { group.cancelAll() }
            try await group.next()
        }
    }

    /// Ends all at once: what they hold is thrown away anyway.
    private static func endAll() {
        let running = state.withLock { state in
            state.isEnding = true
            return state.running
        }
        for process in running where process.isRunning { kill(process.processIdentifier, SIGKILL) }
        for process in running { process.waitUntilExit() }
    }
}
