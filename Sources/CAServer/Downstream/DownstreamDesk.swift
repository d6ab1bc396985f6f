// SPDX-License-Identifier: Apache-2.0

package import Clocks
package import ControlAPI
package import SPIFFE
internal import Synchronization

/// Hands what agents ask for servers below to the one task that has it certified.
///
/// One at a time, and of an entry one that waits: whoever has asked first is next, and an upstream that
/// is slow for one keeps nobody out who asks less often. What the task has begun it commits, whether
/// its agent still waits or not, so that no call can be broken off between signature and record.
package final class DownstreamDesk: Sendable {
    /// Most orders that wait, of as many entries.
    package static let waitingMax = 64
    /// How long an order waits: its agent waits no longer either.
    package static let waitDuration: Duration = .seconds(30)

    /// What becomes of an order: DER of the certificate and of those above it.
    package typealias Answer = Result<[[UInt8]], APIError>

    /// An order, and whom to tell what became of it.
    package struct Order: Sendable {
        package let order: DownstreamOrder
        package let peer: VerifiedPeer
        fileprivate let until: Duration
        fileprivate let answer: CheckedContinuation<Answer, Never>
    }

    private struct State {
        var waiting: [Order] = []
        /// The entry of the order that is under way.
        var underWay: String?
        var isClosed = false
    }

    private let state = Mutex(State())
    private let wake = Signal()

    package init() {}

    /// Has an authority certified.
    ///
    /// - Parameters:
    ///   - order: What is asked for.
    ///   - peer: The agent that asks.
    ///   - now: Time since boot.
    /// - Returns: What the agent is given.
    /// - Throws: `APIError`: also `downstreamBusy` while another order of the entry waits or is under
    ///   way, while too many wait, and when its turn has not come in `waitDuration`.
    package func certify(
        _ order: DownstreamOrder,
        for peer: VerifiedPeer,
        now: Duration
    ) async throws(APIError) -> [[UInt8]] {
        let result = await withCheckedContinuation {
            (answer: CheckedContinuation<Answer, Never>) in
            let refusal = state.withLock { state -> APIError? in
                guard !state.isClosed else { return Self.ending }
                let isKnown =
                    state.underWay == order.entryID
                    || state.waiting.contains { $0.order.entryID == order.entryID }
                guard !isKnown, state.waiting.count < Self.waitingMax else { return Self.busy }
                state.waiting.append(
                    Order(
                        order: order,
                        peer: peer,
                        until: now + Self.waitDuration,
                        answer: answer
                    )
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

    /// The next order, which `finish` has to follow; nil if the task was cancelled.
    package func next(_ clock: any NodeClock) async -> Order? {
        while !Task.isCancelled {
            let order = state.withLock { state -> Order? in
                guard !state.waiting.isEmpty else { return nil }
                let order = state.waiting.removeFirst()
                state.underWay = order.order.entryID
                return order
            }
            guard let order else {
                await wake.wait()
                continue
            }
            if clock.bootTime < order.until { return order }
            finish(order, .failure(Self.busy))
        }
        return nil
    }

    /// Tells what became of an order, and takes the next one.
    package func finish(_ order: Order, _ answer: Answer) {
        state.withLock { $0.underWay = nil }
        order.answer.resume(returning: answer)
    }

    /// Nobody takes orders any more.
    package func close() {
        let orders = state.withLock { state in
            state.isClosed = true
            defer { state.waiting = [] }
            return state.waiting
        }
        for order in orders { finish(order, .failure(Self.ending)) }
    }

    private static let ending = APIError(.unavailable, "serverEnds", "the server is ending; retry")

    private static let busy = APIError(
        .unavailable,
        "downstreamBusy",
        "authorities of other servers are being certified, one at a time; ask again in some seconds, "
            + "with the same key",
        retryAfter: .seconds(5)
    )
}
