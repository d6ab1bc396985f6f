// SPDX-License-Identifier: Apache-2.0

internal import Synchronization

/// One deadline that can be moved: the shell of a machine that says when it wants to be called.
///
/// It costs nothing while no deadline is set.
package final class DeadlineTimer: Sendable {
    private struct State {
        var deadline: Duration?
        var generation: UInt64 = 0
        var waiter: CheckedContinuation<Void, Never>?
    }

    private let clock: any NodeClock
    private let state = Mutex(State())

    package init(clock: any NodeClock) {
        self.clock = clock
    }

    /// Sets the deadline, replacing the one set before.
    package func schedule(at deadline: Duration) {
        change { $0.deadline = deadline }
    }

    /// Brings the deadline forward to `deadline`; an earlier one stays.
    package func schedule(noLaterThan deadline: Duration) {
        change { $0.deadline = min($0.deadline ?? deadline, deadline) }
    }

    /// Calls `fire` at each deadline until the task is cancelled.
    ///
    /// A deadline is cleared before `fire` runs, which may set the next one.
    package func run(_ fire: @Sendable () async throws -> Void) async rethrows {
        while !Task.isCancelled {
            let (deadline, generation) = state.withLock { ($0.deadline, $0.generation) }
            guard let deadline else {
                await changed(since: generation)
                continue
            }
            guard await reaches(deadline, generation) else { continue }
            let isDue = state.withLock { state in
                guard state.generation == generation else { return false }
                state.deadline = nil
                return true
            }
            if isDue { try await fire() }
        }
    }

    /// Whether the deadline came before it was moved.
    private func reaches(_ deadline: Duration, _ generation: UInt64) async -> Bool {
        await withTaskGroup(of: Bool.self) { group in
            group.addTask { [clock] in
                do {
                    try await clock.sleep(untilBoot: deadline)
                    return true
                } catch {
                    return false
                }
            }
            group.addTask {
                await self.changed(since: generation)
                return false
            }
            let first = await group.next() ?? false
            group.cancelAll()
            return first && !Task.isCancelled
        }
    }

    private func change(_ body: (inout State) -> Void) {
        let waiter = state.withLock { state in
            body(&state)
            state.generation += 1
            let waiter = state.waiter
            state.waiter = nil
            return waiter
        }
        waiter?.resume()
    }

    /// Returns when the deadline was moved after `generation`, or the task was cancelled.
    private func changed(since generation: UInt64) async {
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let isPast = state.withLock { state in
                    if state.generation != generation || Task.isCancelled { return true }
                    state.waiter = continuation
                    return false
                }
                if isPast { continuation.resume() }
            }
        } onCancel: {
            // Counting as a change wakes the waiter; a second one cannot be waiting.
            let waiter = state.withLock { state in
                let waiter = state.waiter
                state.waiter = nil
                return waiter
            }
            waiter?.resume()
        }
    }
}
