// SPDX-License-Identifier: Apache-2.0

internal import Clocks
internal import ControlAPI
internal import Datastore
package import FoundationEssentials
package import SPIFFE
internal import Synchronization

/// What came of one fetch.
package struct FetchReport: Sendable {
    /// A word for metrics: `taken`, or the rule that failed.
    package let result: String
    /// What an operator should know; nil: nothing is wrong.
    package let problem: String?
    package let outcome: FederationSchedule.Outcome
    /// Whether the endpoint served what is not believed.
    package var isRefused = false
    /// Whether other keys came with the number of before; nil: no other keys came.
    package var isSequenceReused: Bool?
    /// Why who asked for it must not.
    var denial: APIError?
    /// Whether a leaf tells of the refusal.
    var isOnRecord = false

    init(_ result: String, _ problem: String?, _ outcome: FederationSchedule.Outcome) {
        self.result = result
        self.problem = problem
        self.outcome = outcome
    }
}

/// How the fetches of a trust domain stand since the start of the server.
package struct PartnerStanding: Sendable {
    package var lastFetchAt: Date?
    package var lastResult = ""
    /// What is wrong with the last fetch.
    package var problem: String?
    package var failuresInRow = 0
    package var isRefused = false
    package var isSequenceReused = false
    package var nextFetchAt: Date?
    /// When a leaf told of a refusal last, by its reason.
    var refusalsOnRecord: [String: Duration] = [:]
}

/// Where the task that fetches bundles is told of documents, wishes and ends of fetches, and says
/// how it stands.
package final class FederationDesk: Sendable {
    /// Most admins who wait for a fetch: each trust domain is fetched for one each 10 s.
    package static let wishesMax = 64

    /// An admin who waits for a fetch.
    struct Wish: Sendable {
        let trustDomain: TrustDomain
        let acceptsOlder: Bool
        let permit: ActPermit
        fileprivate let answer: CheckedContinuation<Result<FetchReport, APIError>, Never>

        func finish(_ result: Result<FetchReport, APIError>) { answer.resume(returning: result) }
    }

    /// A fetch that has ended.
    struct Ended: Sendable {
        let fetch: FederationSchedule.Fetch
        let report: FetchReport
        let wishes: [Wish]
    }

    private struct State {
        var ended: [Ended] = []
        var wishes: [Wish] = []
        var isClosed = false
        var standings: [TrustDomain: PartnerStanding] = [:]
    }

    private let state = Mutex(State())
    private let wake = Signal()

    package init() {}

    /// Documents of the kind FederatedTrustDomain may have changed.
    func documentsChanged() { wake.signal() }

    /// A fetch has ended.
    func ended(_ ended: Ended) {
        state.withLock { $0.ended.append(ended) }
        wake.signal()
    }

    /// Has a bundle fetched now.
    ///
    /// - Parameters:
    ///   - trustDomain: Whose.
    ///   - acceptsOlder: Whether what its sequence alone forbids is taken.
    ///   - permit: Judges the admin in the transaction that takes it.
    /// - Returns: What came of it, after 30 s at most.
    /// - Throws: `APIError`: nothing names the trust domain, it is too soon, or the server ends.
    func refresh(
        _ trustDomain: TrustDomain,
        acceptsOlder: Bool,
        _ permit: @escaping ActPermit
    ) async throws(APIError) -> FetchReport {
        let result = await withCheckedContinuation {
            (answer: CheckedContinuation<Result<FetchReport, APIError>, Never>) in
            let refusal = state.withLock { state -> APIError? in
                guard !state.isClosed else { return Self.serverEnds }
                guard state.wishes.count < Self.wishesMax else {
                    return APIError(.exhausted, "tooManyRefreshes", "too many wait; retry")
                }
                state.wishes.append(
                    Wish(
                        trustDomain: trustDomain,
                        acceptsOlder: acceptsOlder,
                        permit: permit,
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

    /// What has ended and what is wished since the last time.
    func take() -> (ended: [Ended], wishes: [Wish]) {
        state.withLock { state in
            defer { (state.ended, state.wishes) = ([], []) }
            return (state.ended, state.wishes)
        }
    }

    /// How fetches stand, for `signet federation show`.
    package var standings: [TrustDomain: PartnerStanding] {
        get { state.withLock { $0.standings } }
        set { state.withLock { $0.standings = newValue } }
    }

    /// Returns when there is something to take, or at `deadline`, in time since boot.
    func wait(until deadline: Duration, _ clock: any NodeClock) async {
        await withTaskGroup(of: Void.self) { group in
            group.addTask { try? await clock.sleep(untilBoot: deadline) }
            group.addTask { await self.wake.wait() }
            await group.next()
            group.cancelAll()
        }
    }

    /// Nobody fetches any more: whoever waits is told so.
    func close() {
        let wishes = state.withLock { state in
            state.isClosed = true
            defer { (state.ended, state.wishes) = ([], []) }
            return state.wishes + state.ended.flatMap(\.wishes)
        }
        for wish in wishes { wish.finish(.failure(Self.serverEnds)) }
    }

    static let serverEnds = APIError(.unavailable, "serverEnds", "the server is ending; retry")
}
