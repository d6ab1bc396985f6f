// SPDX-License-Identifier: Apache-2.0

internal import GRPCNIOTransportHTTP2Posix
internal import Synchronization

/// Where a server listens, for those who wait until it does.
///
/// The library's own answer never comes to who waits for a server that was ended before it began.
final class ListeningPlace: Sendable {
    typealias Address = GRPCNIOTransportHTTP2Posix.SocketAddress

    private struct State {
        /// nil: not known yet; nil within: it does not listen any more.
        var address: Address??
        var waiters: [Int: CheckedContinuation<Address?, Never>] = [:]
        var count = 0
        var isBeginning = false
        /// Whether it was ended, maybe before it began.
        var isEnded = false
        /// What waits until it is known whether it listens.
        var held: [@Sendable () -> Void] = []
    }

    private let state = Mutex(State())

    /// Its listener is about to be made.
    ///
    /// - Returns: Whether it may be: not where it was ended already.
    func begin() -> Bool {
        state.withLock { state in
            state.isBeginning = !state.isEnded
            return state.isBeginning
        }
    }

    /// Says where it listens, or that it does not any more.
    func tell(_ address: Address?) {
        let (waiters, held) = state.withLock { state in
            defer { (state.waiters, state.held, state.isBeginning) = ([:], [], false) }
            state.address = .some(address)
            return (state.waiters.values, state.held)
        }
        for waiter in waiters { waiter.resume(returning: address) }
        for body in held { body() }
    }

    /// Runs `body`, which ends it, when no listener is being made: NIO does not expect that one is
    /// closed in that moment.
    func end(_ body: @escaping @Sendable () -> Void) {
        let isHeld = state.withLock { state in
            state.isEnded = true
            guard state.isBeginning else { return false }
            state.held.append(body)
            return true
        }
        if !isHeld { body() }
    }

    /// Waits until it is said.
    ///
    /// - Returns: nil of a server that does not listen, or when the task is cancelled.
    func wait() async -> Address? {
        let number = state.withLock { state in
            state.count += 1
            return state.count
        }
        return await withTaskCancellationHandler {
            await withCheckedContinuation { waiter in
                let told: Address?? = state.withLock { state in
                    if let address = state.address { return .some(address) }
                    if Task.isCancelled { return .some(nil) }
                    state.waiters[number] = waiter
                    return nil
                }
                if let told { waiter.resume(returning: told) }
            }
        } onCancel: {
            state.withLock { $0.waiters.removeValue(forKey: number) }?.resume(returning: nil)
        }
    }
}
