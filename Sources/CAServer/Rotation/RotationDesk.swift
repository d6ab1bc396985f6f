// SPDX-License-Identifier: Apache-2.0

internal import Clocks
internal import ControlAPI
package import Datastore
internal import Issuance
package import SPIFFE
internal import Synchronization

/// Judges in the transaction of an act whether it may be done, and says by whom it is.
package typealias ActPermit = @Sendable (Transaction) throws -> Actor
/// Ends in the transaction of an act, behind its leaves, what waited for it.
package typealias ActSettlement = @Sendable (Transaction) throws -> Void

/// What admins ask of the rotation: its one task performs every step, so two never cross.
package final class RotationDesk: Sendable {
    /// Most orders that wait: admins are few, and each order takes a key and a commit.
    package static let ordersMax = 16

    /// A step that an admin wants.
    enum Step: Sendable {
        /// Take the wall clock's word, and let somebody sign whose certificate has begun.
        case acceptClock(isNow: Bool)
        /// Let the prepared authority of that ID sign.
        case activate(id: String)
        /// Make the next authority. One that is prepared already is the answer, or the refusal; a
        /// hurry leaves out the limit of one server.
        case prepare(acceptsPrepared: Bool, isUrgent: Bool)
    }

    /// What became of a step.
    enum Outcome: Sendable {
        /// The authority that it was about, as it is then.
        case authority(Authority)
        case clock(ClockAcceptanceResult)
    }

    /// A step, and whom to tell what became of it.
    struct Order: Sendable {
        let step: Step
        let permit: ActPermit
        /// Only of `activate`.
        let settle: ActSettlement
        fileprivate let answer: CheckedContinuation<Result<Outcome, APIError>, Never>

        func finish(_ result: Result<Outcome, APIError>) { answer.resume(returning: result) }
    }

    private struct State {
        var orders: [Order] = []
        /// Orders that wait for what the upstream says.
        var parked: [Order] = []
        var isClosed = false
        var haveRecordsChanged = false
    }

    private let state = Mutex(State())
    private let wake = Signal()

    /// Has a step done.
    ///
    /// - Returns: The authority as it is then.
    /// - Throws: `APIError`; then nothing has happened.
    func order(
        _ step: Step,
        _ permit: @escaping ActPermit,
        settling settle: @escaping ActSettlement = { _ in }
    ) async throws(APIError) -> Authority {
        guard case .authority(let authority) = try await outcome(of: step, permit, settle) else {
            throw Self.otherOutcome
        }
        return authority
    }

    /// Has the wall clock accepted, `isNow` if authorities may be revoked for it.
    ///
    /// - Throws: `APIError`; then nothing has happened.
    func acceptClock(
        isNow: Bool,
        _ permit: @escaping ActPermit
    ) async throws(APIError) -> ClockAcceptanceResult {
        let step = Step.acceptClock(isNow: isNow)
        guard case .clock(let result) = try await outcome(of: step, permit, { _ in }) else {
            throw Self.otherOutcome
        }
        return result
    }

    private static let otherOutcome = APIError(.fault, "orderMixedUp", "another order was answered")

    private func outcome(
        of step: Step,
        _ permit: @escaping ActPermit,
        _ settle: @escaping ActSettlement
    ) async throws(APIError) -> Outcome {
        let result = await withCheckedContinuation {
            (answer: CheckedContinuation<Result<Outcome, APIError>, Never>) in
            let refusal = state.withLock { state -> APIError? in
                guard !state.isClosed else {
                    return APIError(.unavailable, "serverEnds", "the server is ending; retry")
                }
                guard state.orders.count + state.parked.count < Self.ordersMax else {
                    return APIError(
                        .exhausted,
                        "tooManyOrders",
                        "\(Self.ordersMax) changes of authorities wait already; retry"
                    )
                }
                state.orders.append(
                    Order(step: step, permit: permit, settle: settle, answer: answer)
                )
                return nil
            }
            if let refusal {
                answer.resume(returning: .failure(refusal))
            } else {
                wake.signal()
            }
        }
        return try result.get()
    }

    /// Somebody tainted or revoked an authority.
    func recordsChanged() {
        state.withLock { $0.haveRecordsChanged = true }
        wake.signal()
    }

    /// Changed records could not be read: they are to be read at the next turn, whenever that is.
    func readLater() { state.withLock { $0.haveRecordsChanged = true } }

    /// An order cannot be done before the upstream has said something.
    func park(_ order: Order) {
        let isClosed = state.withLock { state in
            if !state.isClosed { state.parked.append(order) }
            return state.isClosed
        }
        if isClosed { order.finish(.failure(Self.ending)) }
    }

    /// The orders that were parked.
    func takeParked() -> [Order] {
        state.withLock { state in
            defer { state.parked = [] }
            return state.parked
        }
    }

    /// The upstream has said something.
    func wakeUp() { wake.signal() }

    private static let ending = APIError(.unavailable, "serverEnds", "the server is ending")

    /// What was ordered since the last time, and whether records were changed.
    func take() -> (orders: [Order], haveRecordsChanged: Bool) {
        state.withLock { state in
            defer {
                state.orders = []
                state.haveRecordsChanged = false
            }
            return (state.orders, state.haveRecordsChanged)
        }
    }

    /// Returns when there is something to take, or at `deadline`, in time since boot.
    func wait(until deadline: Duration, _ clock: any NodeClock) async {
        await wake.wait(until: deadline, clock)
    }

    /// Nobody takes orders any more.
    func close() {
        let orders = state.withLock { state in
            state.isClosed = true
            defer { (state.orders, state.parked) = ([], []) }
            return state.orders + state.parked
        }
        for order in orders { order.finish(.failure(Self.ending)) }
    }
}
