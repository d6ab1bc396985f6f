// SPDX-License-Identifier: Apache-2.0

internal import ControlAPI
internal import Synchronization

/// What somebody waits for whose question was handed to the connection.
///
/// It is apart from the call, so that a connection that drops the call answers whoever waits.
final class ServerAnswer<Value: Sendable>: Sendable {
    private enum State {
        case answered(Result<Value, APIError>)
        case open(CheckedContinuation<Result<Value, APIError>, Never>?)
    }

    private let state = Mutex(State.open(nil))

    /// The answer, as soon as there is one; it is asked for once.
    ///
    /// - Returns: That there is no server once the task is cancelled.
    func value() async -> Result<Value, APIError> {
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let known = state.withLock { state -> Result<Value, APIError>? in
                    if case .answered(let value) = state { return value }
                    state = .open(continuation)
                    return nil
                }
                if let known { continuation.resume(returning: known) }
            }
        } onCancel: {
            finish(.failure(ServerCall.serverAway))
        }
    }

    /// The first answer counts.
    func finish(_ value: Result<Value, APIError>) {
        let waiter = state.withLock {
            state -> CheckedContinuation<Result<Value, APIError>, Never>? in
            guard case .open(let waiter) = state else { return nil }
            state = .answered(value)
            return waiter
        }
        waiter?.resume(returning: value)
    }
}

extension ServerCall {
    /// What is answered where nobody can be asked.
    static let serverAway = APIError(
        .unavailable,
        "serverAway",
        "the agent has no connection to its server; try again"
    )
}
