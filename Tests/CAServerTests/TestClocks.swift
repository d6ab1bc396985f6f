// SPDX-License-Identifier: Apache-2.0

import Clocks
import FoundationEssentials
import Synchronization

/// The machine's clocks, moved by what a test says.
final class ShiftedClock: NodeClock {
    private struct State {
        var wall: TimeInterval
        var boot: Duration = .zero
        var nextSleeper: UInt64 = 0
        var sleepers: [UInt64: CheckedContinuation<Void, Never>] = [:]
    }

    private let system = SystemClock()
    private let state: Mutex<State>

    init(wall: TimeInterval = 0) {
        state = Mutex(State(wall: wall))
    }

    /// Steps the wall clock alone.
    func stepWall(by seconds: TimeInterval) {
        state.withLock { $0.wall += seconds }
    }

    /// Lets time pass on both clocks; who sleeps wakes when his time has come.
    func pass(_ duration: Duration) {
        let woken = state.withLock { state in
            state.wall += duration / .seconds(1)
            state.boot += duration
            defer { state.sleepers = [:] }
            return Array(state.sleepers.values)
        }
        for sleeper in woken { sleeper.resume() }
    }

    var wallTime: Date { system.wallTime.addingTimeInterval(state.withLock { $0.wall }) }

    var bootTime: Duration { system.bootTime + state.withLock { $0.boot } }

    func sleep(untilBoot deadline: Duration) async throws {
        while true {
            try Task.checkCancellation()
            let shift = state.withLock { $0.boot }
            guard system.bootTime + shift < deadline else { return }
            await withTaskGroup(of: Void.self) { group in
                group.addTask { [system] in
                    try? await system.sleep(untilBoot: deadline - shift)
                }
                group.addTask { await self.passed(since: shift) }
                await group.next()
                group.cancelAll()
            }
        }
    }

    /// Returns when time was made to pass, or the task was cancelled.
    private func passed(since shift: Duration) async {
        let id = state.withLock { state in
            state.nextSleeper += 1
            return state.nextSleeper
        }
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let isOver = state.withLock { state in
                    guard state.boot == shift, !Task.isCancelled else { return true }
                    state.sleepers[id] = continuation
                    return false
                }
                if isOver { continuation.resume() }
            }
        } onCancel: {
            state.withLock { $0.sleepers.removeValue(forKey: id) }?.resume()
        }
    }
}
