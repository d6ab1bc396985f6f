// SPDX-License-Identifier: Apache-2.0

internal import Clocks
internal import ControlAPI
internal import SPIFFE
internal import Synchronization

/// Hands what agents ask for servers below to the one task that has it certified.
///
/// One at a time: whoever has more entries than others takes no more of the upstream. What the task has
/// begun it commits, whether its agent still waits or not, so that no call can be broken off between
/// signature and record.
package final class DownstreamDesk: Sendable {
    /// What becomes of an order: DER of the certificate and of those above it.
    typealias Answer = Result<[[UInt8]], APIError>

    /// An order, and whom to tell what became of it.
    struct Order: Sendable {
        let order: DownstreamOrder
        let peer: VerifiedPeer
        fileprivate let answer: CheckedContinuation<Answer, Never>
    }

    private struct State {
        var waiting: Order?
        var isBusy = false
        var isClosed = false
    }

    private let state = Mutex(State())
    private let wake = Signal()

    /// Has an authority certified.
    ///
    /// - Parameters:
    ///   - order: What is asked for.
    ///   - peer: The agent that asks.
    /// - Returns: What the agent is given.
    /// - Throws: `APIError`: also `downstreamBusy` while another one is being certified.
    func certify(
        _ order: DownstreamOrder,
        for peer: VerifiedPeer
    ) async throws(APIError) -> [[UInt8]] {
        let result = await withCheckedContinuation {
            (answer: CheckedContinuation<Answer, Never>) in
            let refusal = state.withLock { state -> APIError? in
                guard !state.isClosed else { return Self.ending }
                guard !state.isBusy else { return Self.busy }
                state.isBusy = true
                state.waiting = Order(order: order, peer: peer, answer: answer)
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

    /// The next order, which `finish` has to follow; nil if the task was cancelled.
    func next() async -> Order? {
        while !Task.isCancelled {
            let order = state.withLock { state in
                defer { state.waiting = nil }
                return state.waiting
            }
            if let order { return order }
            await wake.wait()
        }
        return nil
    }

    /// Tells what became of an order, and takes the next one.
    func finish(_ order: Order, _ answer: Answer) {
        state.withLock { $0.isBusy = false }
        order.answer.resume(returning: answer)
    }

    /// Nobody takes orders any more.
    func close() {
        let order = state.withLock { state in
            state.isClosed = true
            defer { state.waiting = nil }
            return state.waiting
        }
        if let order { finish(order, .failure(Self.ending)) }
    }

    private static let ending = APIError(.unavailable, "serverEnds", "the server is ending; retry")

    private static let busy = APIError(
        .unavailable,
        "downstreamBusy",
        "an authority of another server is being certified, and there is one at a time; ask again in "
            + "some seconds, with the same key",
        retryAfter: .seconds(5)
    )
}
