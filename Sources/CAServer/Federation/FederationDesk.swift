// SPDX-License-Identifier: Apache-2.0

internal import Clocks
internal import ControlAPI
internal import Datastore
package import FoundationEssentials
internal import Logging
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
    /// Whether it says nothing of the partner: the document was changed during the fetch.
    var isSuperseded = false
    /// Whether agents are told of a bundle that they were not told of when the fetch began.
    var isShownAnew = false
    /// What the log has beside the result.
    var details: Logger.Metadata = [:]

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

/// An admin who waits for a fetch, and may leave before he is answered.
final class RefreshCaller: Sendable {
    typealias Answer = Result<FetchReport, APIError>

    private struct State {
        var answer: Answer?
        var hasLeft = false
        var waiter: CheckedContinuation<Answer, Never>?
    }

    private let state = Mutex(State())

    /// Whether nobody waits for the answer any more.
    var hasLeft: Bool { state.withLock { $0.hasLeft } }

    /// He has hung up.
    func leave() {
        state.withLock { $0.hasLeft = true }
        finish(.failure(APIError(.unavailable, "callerLeft", "the caller has hung up")))
    }

    /// Answers him; only the first call counts.
    func finish(_ answer: Answer) {
        let waiter = state.withLock { state -> CheckedContinuation<Answer, Never>? in
            guard state.answer == nil else { return nil }
            state.answer = answer
            defer { state.waiter = nil }
            return state.waiter
        }
        waiter?.resume(returning: answer)
    }

    /// What he is answered; one task waits.
    fileprivate func answer() async -> Answer {
        await withCheckedContinuation { continuation in
            let answer = state.withLock { state -> Answer? in
                if state.answer == nil { state.waiter = continuation }
                return state.answer
            }
            if let answer { continuation.resume(returning: answer) }
        }
    }
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
        let caller: RefreshCaller
        private let permit: ActPermit

        fileprivate init(
            trustDomain: TrustDomain,
            acceptsOlder: Bool,
            caller: RefreshCaller,
            permit: @escaping ActPermit
        ) {
            self.trustDomain = trustDomain
            self.acceptsOlder = acceptsOlder
            self.caller = caller
            self.permit = permit
        }

        /// The admin, if he still waits: what he alone may have taken is not taken without him.
        ///
        /// - Throws: why he must not.
        func admin(in transaction: Transaction) throws -> Actor? {
            caller.hasLeft ? nil : try permit(transaction)
        }

        func finish(_ result: Result<FetchReport, APIError>) { caller.finish(result) }
    }

    /// A fetch that has ended.
    struct Ended: Sendable {
        let fetch: FederationSchedule.Fetch
        let report: FetchReport
        let wish: Wish?
    }

    private struct State {
        var ended: [Ended] = []
        var wishes: [Wish] = []
        var isClosed = false
        var standings: [TrustDomain: PartnerStanding] = [:]
    }

    /// What documents say, for whoever reads them.
    let specs = FederationSpecs()
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
    ///   - caller: Who waits for it.
    ///   - permit: Judges the admin in the transaction that takes it.
    /// - Returns: What came of it: after twice `HTTPSClient.timeMax` at most while no more admins wait
    ///   than `FederationSchedule.fetchesMax`, else when those who asked before are served.
    /// - Throws: `APIError`: nothing names the trust domain, it is too soon, the caller has left, or
    ///   the server ends.
    func refresh(
        _ trustDomain: TrustDomain,
        acceptsOlder: Bool,
        for caller: RefreshCaller,
        _ permit: @escaping ActPermit
    ) async throws(APIError) -> FetchReport {
        let wish = Wish(
            trustDomain: trustDomain,
            acceptsOlder: acceptsOlder,
            caller: caller,
            permit: permit
        )
        let refusal = state.withLock { state -> APIError? in
            guard !state.isClosed else { return Self.serverEnds }
            guard state.wishes.count < Self.wishesMax else {
                return APIError(.exhausted, "tooManyRefreshes", "too many wait; retry")
            }
            state.wishes.append(wish)
            return nil
        }
        if let refusal { throw refusal }
        wake.signal()
        return try await caller.answer().get()
    }

    /// Who waits for a fetch has hung up: if it has not begun, it is made as any other.
    func left(_ caller: RefreshCaller) {
        caller.leave()
        wake.signal()
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
        await wake.wait(until: deadline, clock)
    }

    /// Nobody fetches any more: whoever waits is told so.
    func close() {
        let wishes = state.withLock { state in
            state.isClosed = true
            defer { (state.ended, state.wishes) = ([], []) }
            return state.wishes + state.ended.compactMap(\.wish)
        }
        for wish in wishes { wish.finish(.failure(Self.serverEnds)) }
    }

    static let serverEnds = APIError(.unavailable, "serverEnds", "the server is ending; retry")
}
