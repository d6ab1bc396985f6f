// SPDX-License-Identifier: Apache-2.0

internal import Clocks
internal import Synchronization

/// What wakes one workload's stream: a changed view, or its end.
///
/// It is all that an idle stream costs beside its connection.
final class WorkloadStream: Sendable {
    private let signal = Signal()
    private let hasEnded = Mutex(false)

    /// The view may have changed.
    func wake() { signal.signal() }

    /// The client has left, or the agent stops.
    func end() {
        hasEnded.withLock { $0 = true }
        signal.signal()
    }

    /// Waits for the next wake.
    ///
    /// - Returns: False when the stream has ended.
    func wait() async -> Bool {
        await signal.wait()
        return !hasEnded.withLock { $0 } && !Task.isCancelled
    }

    /// Waits for the next wake, or until a moment in time since boot if there is one.
    ///
    /// - Returns: False when the stream has ended.
    func wait(until deadline: Duration?, _ clock: any NodeClock) async -> Bool {
        guard let deadline else { return await wait() }
        await withTaskGroup(of: Void.self) { group in
            group.addTask { try? await clock.sleep(untilBoot: deadline) }
            group.addTask { await self.signal.wait() }
            await group.next()
            group.cancelAll()
        }
        return !hasEnded.withLock { $0 } && !Task.isCancelled
    }
}
