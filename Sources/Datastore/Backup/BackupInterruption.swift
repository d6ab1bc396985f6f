// SPDX-License-Identifier: Apache-2.0

internal import Synchronization

/// Ends a copy that nobody waits for any more, in the middle of a table too.
package final class BackupInterruption: Sendable {
    private struct State {
        var isEnded = false
        var interrupt: (@Sendable () -> Void)?
    }

    private let state = Mutex(State())

    package init() {}

    /// Whether `end` was called.
    package var isEnded: Bool { state.withLock { $0.isEnded } }

    /// Interrupts what is under way, and lets nothing begin any more.
    package func end() {
        state.withLock { state in
            state.isEnded = true
            // Under the lock: what is interrupted is closed only after it was taken back.
            state.interrupt?()
        }
    }

    /// Does something that can be interrupted from another thread.
    ///
    /// - Parameters:
    ///   - interrupt: Interrupts it; is not called after this has returned.
    ///   - body: What is done.
    /// - Returns: What `body` returns.
    /// - Throws: What `body` throws; `DatastoreError.interrupted` if it is over before it begins.
    package func during<Value>(
        _ interrupt: @escaping @Sendable () -> Void,
        _ body: () throws -> Value
    ) throws -> Value {
        state.withLock { $0.interrupt = interrupt }
        defer { state.withLock { $0.interrupt = nil } }
        try check()
        return try body()
    }

    /// - Throws: `DatastoreError.interrupted` once it is over.
    package func check() throws(DatastoreError) {
        if isEnded { throw .interrupted }
    }
}
