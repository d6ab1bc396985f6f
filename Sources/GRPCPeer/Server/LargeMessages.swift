// SPDX-License-Identifier: Apache-2.0

internal import Synchronization

/// Bounds how many large messages wait for their readers at a time: each is a copy in memory.
///
/// A message has a turn from before it is written until its peer has taken it, or has had the time
/// for that.
package final class LargeMessages: Sendable {
    /// Most bytes of a message that needs no turn.
    package static let shortBytesMax = 64 * 1024
    /// How long a message keeps its turn.
    package static let turnDuration: Duration = .seconds(10)

    /// A message was taken, or there was none.
    private struct Written<Result: Sendable> {
        let result: Result?
    }

    private struct Waiting {
        let id: UInt64
        let source: ConnectionSource
        let turn: CheckedContinuation<Bool, Never>
    }

    private struct State {
        var next: UInt64 = 0
        /// Whose turns there are, by the IDs of their messages.
        var turns: [UInt64: ConnectionSource] = [:]
        /// The first to come first.
        var waiting: [Waiting] = []

        func hasTurn(for source: ConnectionSource, _ limits: (all: Int, source: Int)) -> Bool {
            turns.count < limits.all && turns.values.count { $0 == source } < limits.source
        }
    }

    private let limits: (all: Int, source: Int)
    private let state = Mutex(State())

    /// Nothing is on the way yet.
    ///
    /// - Parameters:
    ///   - atOnceMax: Most turns at a time.
    ///   - perSourceMax: Most of them of one source, so that it cannot hold up the others.
    package init(atOnceMax: Int, perSourceMax: Int) {
        limits = (atOnceMax, perSourceMax)
    }

    /// Writes a message, in its turn if it is large.
    ///
    /// - Parameters:
    ///   - bytes: How long the message is.
    ///   - source: To whom it goes.
    ///   - stream: On which it goes; nil if nobody can tell whether it was taken.
    ///   - turn: Returns when the message has had its time, `turnDuration`.
    ///   - isLate: What is done when the message has lost its turn without being taken.
    ///   - write: Makes the message, in its turn, and writes it; it returns nil if there was
    ///     nothing to write any more.
    /// - Returns: What `write` returns.
    /// - Throws: `CancellationError` before its turn; what `write` throws.
    @discardableResult
    package func send<Result: Sendable>(
        bytes: Int,
        to source: ConnectionSource,
        on stream: RequestStream?,
        turn: @escaping @Sendable () async throws -> Void,
        isLate: @escaping @Sendable () -> Void,
        _ write: @escaping @Sendable () async throws -> Result?
    ) async throws -> Result? {
        guard bytes > Self.shortBytesMax else { return try await write() }
        guard let id = await enter(source) else { throw CancellationError() }
        defer { leave(id) }
        return try await withThrowingTaskGroup(of: Written<Result>?.self) { group in
            group.addTask {
                let result = try await write()
                if result != nil { await stream?.drained() }
                return Written(result: result)
            }
            group.addTask { [self] in
                guard (try? await turn()) != nil else { return nil }
                leave(id)
                isLate()
                return nil
            }
            defer { group.cancelAll() }
            while let written = try await group.next() {
                if let written { return written.result }
            }
            throw CancellationError()
        }
    }

    /// Waits for a turn.
    ///
    /// - Returns: Its ID, nil if the caller is cancelled before.
    private func enter(_ source: ConnectionSource) async -> UInt64? {
        let id = state.withLock { state in
            state.next += 1
            return state.next
        }
        let isMine = await withTaskCancellationHandler {
            await withCheckedContinuation { turn in
                let decided: Bool? = state.withLock { state in
                    if Task.isCancelled { return false }
                    guard state.hasTurn(for: source, limits) else {
                        state.waiting.append(Waiting(id: id, source: source, turn: turn))
                        return nil
                    }
                    state.turns[id] = source
                    return true
                }
                if let decided { turn.resume(returning: decided) }
            }
        } onCancel: {
            let waiting = state.withLock { state in
                state.waiting.firstIndex { $0.id == id }.map { state.waiting.remove(at: $0) }
            }
            waiting?.turn.resume(returning: false)
        }
        return isMine ? id : nil
    }

    /// Gives a turn back, if that was not done before, and to whom it is due.
    private func leave(_ id: UInt64) {
        let next = state.withLock { state -> Waiting? in
            guard state.turns.removeValue(forKey: id) != nil else { return nil }
            guard
                let place = state.waiting.firstIndex(where: {
                    state.hasTurn(for: $0.source, limits)
                })
            else { return nil }
            let next = state.waiting.remove(at: place)
            state.turns[next.id] = next.source
            return next
        }
        next?.turn.resume(returning: true)
    }
}
