// SPDX-License-Identifier: Apache-2.0

internal import Dispatch
internal import HTTPSemantics
internal import Synchronization

/// Looks names up on threads of its own, as the system's resolver blocks and cannot be stopped.
final class NameResolver: Sendable {
    /// Most look-ups at a time: as many as fetches.
    static let lookupsMax = 4
    /// Most names that wait for a thread: each fetch has one, and what waits for too long is gone.
    static let waitingMax = 64

    typealias Answer = Result<[IPAddress], BundleFetchError>

    private struct State {
        /// Who waits for which name, by a number of his own.
        var waiters: [String: [UInt64: CheckedContinuation<Answer, Never>]] = [:]
        /// Names for which no thread is free, in the order of arrival.
        var queue: [String] = []
        var running: Set<String> = []
        var idle: [DispatchQueue]
        var lastNumber: UInt64 = 0
    }

    private let look: @Sendable (String) -> Answer
    private let state: Mutex<State>

    /// - Parameter look: Looks one name up; it may block.
    init(look: @escaping @Sendable (String) -> Answer) {
        self.look = look
        state = Mutex(
            State(idle: (0..<Self.lookupsMax).map { DispatchQueue(label: "signet.names.\($0)") })
        )
    }

    /// The addresses of a name.
    ///
    /// A name that is being looked up is not looked up twice: whoever serves it slowly holds one
    /// thread.
    ///
    /// - Returns: What the resolver said; `timedOut` when the task is cancelled.
    func addresses(of name: String) async -> Answer {
        let number = state.withLock { state in
            state.lastNumber += 1
            return state.lastNumber
        }
        return await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                wait(continuation, number, for: name)
            }
        } onCancel: {
            let waiter = state.withLock { state in
                let waiter = state.waiters[name]?.removeValue(forKey: number)
                if state.waiters[name]?.isEmpty == true, !state.running.contains(name) {
                    state.waiters[name] = nil
                    state.queue.removeAll { $0 == name }
                }
                return waiter
            }
            waiter?.resume(returning: .failure(Self.tooSlow(name)))
        }
    }

    private func wait(
        _ continuation: CheckedContinuation<Answer, Never>,
        _ number: UInt64,
        for name: String
    ) {
        let isWaiting = state.withLock { state in
            // A cancellation that came before this finds nobody to wake.
            guard !Task.isCancelled else { return false }
            if state.waiters[name] == nil, !state.running.contains(name) {
                guard state.queue.count < Self.waitingMax else { return false }
                state.queue.append(name)
            }
            state.waiters[name, default: [:]][number] = continuation
            return true
        }
        guard isWaiting else {
            continuation.resume(returning: .failure(Self.tooSlow(name)))
            return
        }
        begin()
    }

    /// Gives names to threads that have none.
    private func begin() {
        let begun = state.withLock { state -> (String, DispatchQueue)? in
            guard !state.queue.isEmpty, let thread = state.idle.popLast() else { return nil }
            let name = state.queue.removeFirst()
            state.running.insert(name)
            return (name, thread)
        }
        guard let (name, thread) = begun else { return }
        thread.async {
            let answer = self.look(name)
            let waiters = self.state.withLock { state in
                state.running.remove(name)
                state.idle.append(thread)
                return state.waiters.removeValue(forKey: name) ?? [:]
            }
            for waiter in waiters.values { waiter.resume(returning: answer) }
            self.begin()
        }
    }

    private static func tooSlow(_ name: String) -> BundleFetchError {
        BundleFetchError(.timedOut, "no name server answers for \(name)")
    }
}
