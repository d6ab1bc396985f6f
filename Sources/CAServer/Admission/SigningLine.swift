// SPDX-License-Identifier: Apache-2.0

package import ControlAPI
package import FoundationEssentials
package import Issuance
internal import Synchronization

/// The shell of `SigningAdmission`: batches wait here until it is their turn.
package final class SigningLine: Sendable {
    private struct State {
        var admission: SigningAdmission
        var next: UInt64 = 0
        var waiting: [UInt64: CheckedContinuation<Result<Void, APIError>, Never>] = [:]
        /// Decided before the caller began to wait.
        var decided: [UInt64: Result<Void, APIError>] = [:]

        /// Notes what was decided; returns who is to be told.
        mutating func decide(_ actions: [SigningAdmission.Action]) -> [(Waiter, Outcome)] {
            var ready: [(Waiter, Outcome)] = []
            for action in actions {
                let (id, outcome) = SigningLine.outcome(action)
                if let waiter = waiting.removeValue(forKey: id) {
                    ready.append((waiter, outcome))
                } else {
                    decided[id] = outcome
                }
            }
            return ready
        }
    }

    private typealias Outcome = Result<Void, APIError>
    private typealias Waiter = CheckedContinuation<Outcome, Never>

    private let state: Mutex<State>

    package init(limits: SigningAdmission.Limits) {
        state = Mutex(State(admission: SigningAdmission(limits: limits)))
    }

    /// Returns when the batch may be signed; `leave` must follow.
    ///
    /// - Parameters:
    ///   - agent: Who asks.
    ///   - count: How many certificates.
    ///   - expiresAt: When the first SVID that the batch renews expires; nil if it renews none.
    ///   - identities: Whom the certificates are for, one for each; of their shares it is taken.
    ///   - now: Time since boot.
    /// - Returns: The batch's place, for `leave`.
    /// - Throws: `APIError` (`exhausted`) when the agent's budget or the line is used up.
    package func enter(
        agent: String,
        count: Int,
        expiresAt: Date?,
        identities: [String] = [],
        now: Duration
    ) async throws(APIError) -> UInt64 {
        let id = state.withLock { state in
            state.next += 1
            return state.next
        }
        transition {
            $0.requested(
                SigningAdmission.Ticket(
                    id: id,
                    agent: agent,
                    count: count,
                    expiresAt: expiresAt,
                    identities: identities
                ),
                now: now
            )
        }
        let outcome = await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let decided = state.withLock { state -> Result<Void, APIError>? in
                    if let decided = state.decided.removeValue(forKey: id) { return decided }
                    if Task.isCancelled { return .failure(Self.cancelled) }
                    state.waiting[id] = continuation
                    return nil
                }
                if let decided { continuation.resume(returning: decided) }
            }
        } onCancel: {
            withdraw(id)
        }
        switch outcome {
        case .success: return id
        case .failure(let error): throw error
        }
    }

    /// Which requests have to wait for their identity's share (`SigningAdmission.waits`).
    package func waits(of identities: [String], agent: String, now: Duration) -> [Duration?] {
        state.withLock { $0.admission.waits(of: identities, agent: agent, now: now) }
    }

    /// Why a request was refused whose identity has to wait.
    package static func identityRate(_ retryAfter: Duration) -> APIError {
        APIError(
            .exhausted,
            APIError.identityRate,
            "more is asked for than one identity may have signed on one node; try again in "
                + "\(retryAfter)",
            retryAfter: retryAfter
        )
    }

    /// The answers to all requests: of those that had not to wait in order, else why not.
    package static func answers<Value>(
        _ admitted: [Result<Value, APIError>],
        waits: [Duration?]
    ) -> [Result<Value, APIError>] {
        var rest = admitted[...]
        return waits.compactMap { wait in
            wait.map { .failure(identityRate($0)) } ?? rest.popFirst()
        }
    }

    /// How many an agent may ask for now, before others of its requests take of it.
    package func budget(of agent: String, now: Duration) -> Int {
        state.withLock { $0.admission.budget(of: agent, now: now) }
    }

    /// The batch has been answered.
    package func leave(_ id: UInt64) {
        transition { $0.finished(id) }
    }

    private static let cancelled = APIError(
        .unavailable,
        "cancelled",
        "the caller went away before its turn"
    )

    private func withdraw(_ id: UInt64) {
        // One step: between two, the batch could be started for a caller who is gone, and its place
        // never given back.
        let (waiter, ready) = state.withLock { state in
            let waiter = state.waiting.removeValue(forKey: id)
            return (waiter, state.decide(state.admission.withdrawn(id)))
        }
        waiter?.resume(returning: .failure(Self.cancelled))
        for (waiter, outcome) in ready { waiter.resume(returning: outcome) }
    }

    private func transition(
        _ event: (inout SigningAdmission) -> [SigningAdmission.Action]
    ) {
        let ready = state.withLock { state in state.decide(event(&state.admission)) }
        for (waiter, outcome) in ready { waiter.resume(returning: outcome) }
    }

    private static func outcome(
        _ action: SigningAdmission.Action
    ) -> (UInt64, Result<Void, APIError>) {
        switch action {
        case .refuse(let id, let retryAfter):
            let error = APIError(
                .exhausted,
                APIError.signingRate,
                "more is asked for than may be signed; try again in \(retryAfter)",
                retryAfter: retryAfter
            )
            return (id, .failure(error))
        case .start(let id): return (id, .success(()))
        }
    }
}
