// SPDX-License-Identifier: Apache-2.0

internal import Dispatch
internal import Synchronization

/// Threads for calls that wait: for a disk, a device or another process.
///
/// They are serial queues, each with a thread of its own while it has work. Those of a concurrent
/// queue are the threads that tasks run on, of which there are as many as cores: as many calls that
/// wait would stop the whole server, and whoever they wait for in it.
final class CallLanes: Sendable {
    /// Most calls at once: twice what is signed at once, so that a module or service that never
    /// answers leaves some for files.
    static let callsMax = 32

    typealias Call = @Sendable () -> Void

    private struct State {
        var idle: [DispatchQueue]
        /// Calls for which no thread is free, in the order of arrival.
        var waiting: [Call] = []
    }

    private let state: Mutex<State>

    /// - Parameter label: What the threads are called in a debugger, with a number behind it.
    init(label: String) {
        state = Mutex(
            State(idle: (0..<Self.callsMax).map { DispatchQueue(label: "\(label).\($0)") })
        )
    }

    /// Makes a call on a thread of its own, when one is free.
    func run(_ call: @escaping Call) {
        let lane = state.withLock { state -> DispatchQueue? in
            if let lane = state.idle.popLast() { return lane }
            state.waiting.append(call)
            return nil
        }
        if let lane { begin(call, on: lane) }
    }

    private func begin(_ call: @escaping Call, on lane: DispatchQueue) {
        lane.async { [self] in
            call()
            let next = state.withLock { state -> Call? in
                if !state.waiting.isEmpty { return state.waiting.removeFirst() }
                state.idle.append(lane)
                return nil
            }
            if let next { begin(next, on: lane) }
        }
    }
}
