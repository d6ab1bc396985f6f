// SPDX-License-Identifier: Apache-2.0

package import ControlAPI
package import FoundationEssentials
package import NodeSync
package import SPIFFE
internal import Synchronization

/// A JWT-SVID that somebody waits for, or that is renewed beside.
package final class TokenFlight: Sendable {
    private typealias Waiter = CheckedContinuation<Result<KeptToken, APIError>?, Never>

    private struct State {
        var result: Result<KeptToken, APIError>?
        var waiting: [UInt64: Waiter] = [:]
        var nextWaiter: UInt64 = 0
    }

    package let key: TokenKey
    package let grant: TokenGrant
    /// The user whose process asked first.
    package let uid: UInt32
    /// Whether there is a token already: then nobody has to wait, and everybody would lose something.
    let isRenewal: Bool
    /// In time since boot.
    let askedAt: Duration
    private let state = Mutex(State())

    init(_ key: TokenKey, _ grant: TokenGrant, uid: UInt32, isRenewal: Bool, askedAt: Duration) {
        self.key = key
        self.grant = grant
        self.uid = uid
        self.isRenewal = isRenewal
        self.askedAt = askedAt
    }

    /// What came of it, as soon as that is known; every flight ends.
    ///
    /// - Returns: Nil if the task was cancelled before.
    package func value() async -> Result<KeptToken, APIError>? {
        let id = state.withLock { state in
            state.nextWaiter += 1
            return state.nextWaiter
        }
        return await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let (isKnown, known) = state.withLock { state in
                    if state.result == nil, !Task.isCancelled {
                        state.waiting[id] = continuation
                        return (false, state.result)
                    }
                    return (true, state.result)
                }
                if isKnown { continuation.resume(returning: known) }
            }
        } onCancel: {
            let waiter = state.withLock { $0.waiting.removeValue(forKey: id) }
            waiter?.resume(returning: nil)
        }
    }

    func finish(_ result: Result<KeptToken, APIError>) {
        let waiting = state.withLock { state -> [Waiter] in
            guard state.result == nil else { return [] }
            state.result = result
            defer { state.waiting = [:] }
            return Array(state.waiting.values)
        }
        for continuation in waiting { continuation.resume(returning: result) }
    }
}

/// One request to the server.
///
/// It is answered and then given up, so that the next one can be made; both happen in the end if
/// nobody holds it any more.
package final class TokenCall: Sendable {
    /// One for each flight, in their order.
    package typealias Results = [Result<KeptToken, APIError>]

    package let flights: [TokenFlight]
    private let onAnswer: @Sendable (Results) -> Void
    private let onRelease: @Sendable () -> Void
    private let progress = Mutex((isAnswered: false, isReleased: false))

    init(
        _ flights: [TokenFlight],
        onAnswer: @escaping @Sendable (Results) -> Void,
        onRelease: @escaping @Sendable () -> Void
    ) {
        self.flights = flights
        self.onAnswer = onAnswer
        self.onRelease = onRelease
    }

    deinit {
        fail(Self.serverAway)
        release()
    }

    /// Answers each flight, in their order; the first answer counts.
    package func finish(_ results: Results) {
        let isFirst = progress.withLock { progress in
            defer { progress.isAnswered = true }
            return !progress.isAnswered
        }
        if isFirst { onAnswer(results) }
    }

    /// Answers all with the same error.
    func fail(_ error: APIError) { finish(flights.map { _ in .failure(error) }) }

    /// Lets the next request be made.
    package func release() {
        let isFirst = progress.withLock { progress in
            defer { progress.isReleased = true }
            return !progress.isReleased
        }
        if isFirst { onRelease() }
    }

    static let serverAway = APIError(
        .unavailable,
        "serverAway",
        "the agent has no connection to its server, and no token at hand; try again"
    )
}

/// Flights of several users, taken in turn.
private struct Turns {
    private var queues: [UInt32: [TokenFlight]] = [:]
    /// Users with something in their queue; the first is next.
    private var users: [UInt32] = []

    mutating func append(_ flight: TokenFlight) {
        if queues[flight.uid] == nil { users.append(flight.uid) }
        queues[flight.uid, default: []].append(flight)
    }

    /// Those that were taken and not served are the next again, in their order.
    mutating func putBack(_ flights: [TokenFlight]) {
        for flight in flights.reversed() {
            users.removeAll { $0 == flight.uid }
            users.insert(flight.uid, at: 0)
            queues[flight.uid, default: []].insert(flight, at: 0)
        }
    }

    mutating func next() -> TokenFlight? {
        guard !users.isEmpty else { return nil }
        let uid = users.removeFirst()
        guard var queue = queues.removeValue(forKey: uid), !queue.isEmpty else { return next() }
        let flight = queue.removeFirst()
        if !queue.isEmpty {
            queues[uid] = queue
            users.append(uid)
        }
        return flight
    }
}

/// The JWT-SVIDs of a node: what is kept, who waits, and in which order the server is asked
/// (docs/decisions/0017-jwt-keys-and-services.md).
package final class TokenDesk: Sendable {
    /// Most requests of one user that wait for the server, so that audiences out of a generator do not
    /// keep others from being served.
    package static let waitingPerUserMax = 32
    /// Most tokens in one request to the server, as many as it takes.
    package static let tokensPerCallMax = 100
    /// Longest time that somebody waits while the server says that the node asks for too much.
    package static let waitMax: Duration = .seconds(10)
    /// How long the server is not asked again for what it has refused.
    package static let refusalKept: Duration = .seconds(5)
    /// The same if it could not answer.
    package static let failureKept: Duration = .seconds(1)
    /// Most refusals that are kept.
    package static let refusalsMax = 1_024
    /// Renewals that come before first tokens in a request to the server, which has a budget of twenty
    /// a second; the others come after them.
    static let renewalsFirst = 16

    fileprivate struct State {
        var memory = TokenMemory()
        /// What is asked for, sent or not.
        var flights: [TokenKey: TokenFlight] = [:]
        /// What was refused lately, and until when that is the answer.
        var refused: [TokenKey: (error: APIError, until: Duration)] = [:]
        /// What is not sent yet.
        var renewals = Turns()
        var missing = Turns()
        /// Identities that the server gives no more for now, with what is not asked for meanwhile.
        var resting: [SPIFFEID: [TokenFlight]] = [:]
        var isAsking = false
        var waitingByUser: [UInt32: Int] = [:]
    }

    /// What there is for a request at once, and what has to be waited for.
    package struct Found: Sendable {
        package var tokens: [TokenKey: KeptToken] = [:]
        package var flights: [TokenFlight] = []
        /// Why there is none of the others, for one of them.
        package var refusal: APIError?
    }

    private let state = Mutex(State())

    package init() {}

    package var keptCount: Int { state.withLock { $0.memory.count } }

    /// Looks for tokens, and notes what is to be asked for; if something is to be waited for, `leave`
    /// must follow.
    ///
    /// - Parameters:
    ///   - wanted: What is asked for.
    ///   - uid: The user of the process that asks.
    ///   - now: The wall clock.
    ///   - boot: Time since boot.
    ///   - judge: How a kept token stands.
    /// - Returns: What was found.
    /// - Throws: `APIError` (`exhausted`) if too many requests of the user wait.
    package func find(
        _ wanted: [(key: TokenKey, grant: TokenGrant)],
        uid: UInt32,
        now: Date,
        boot: Duration,
        _ judge: (TokenKey, KeptToken) -> TokenMemory.Standing
    ) throws(APIError) -> Found {
        let found: Found? = state.withLock { state in
            state.memory.expire(now: now)
            var found = Found()
            var missing: [(key: TokenKey, grant: TokenGrant)] = []
            for one in wanted {
                let refusal = state.refusal(of: one.key, boot: boot)
                switch state.memory.answer(for: one.key, now: now, boot: boot, judge) {
                case .none:
                    if let refusal { found.refusal = refusal } else { missing.append(one) }
                case .token(let token, let isFresh):
                    found.tokens[one.key] = token
                    guard !isFresh, refusal == nil else { continue }
                    _ = state.flight(for: one, uid: uid, isRenewal: true, boot)
                }
            }
            guard !missing.isEmpty else { return found }
            let waiting = state.waitingByUser[uid, default: 0]
            // Who holds a token of another identity gets that.
            guard waiting < Self.waitingPerUserMax else {
                return found.tokens.isEmpty ? nil : found
            }
            state.waitingByUser[uid] = waiting + 1
            found.flights = missing.map {
                state.flight(for: $0, uid: uid, isRenewal: false, boot)
            }
            return found
        }
        guard let found else {
            throw APIError(
                .exhausted,
                "tokensWaiting",
                "\(Self.waitingPerUserMax) requests of this user wait for tokens; try again"
            )
        }
        return found
    }

    /// A request that `find` let wait does not wait any more.
    package func leave(uid: UInt32) {
        state.withLock { state in
            let left = state.waitingByUser[uid, default: 1] - 1
            state.waitingByUser[uid] = left > 0 ? left : nil
        }
    }

    /// What the server is to be asked now, filled in turn from the users; nil if there is nothing, or a
    /// request is under way.
    ///
    /// Some renewals come first, then first tokens, then the other renewals: neither kind keeps the
    /// other from being served.
    package func next() -> [TokenFlight]? {
        state.withLock { state in
            guard !state.isAsking else { return nil }
            var flights: [TokenFlight] = []
            while flights.count < Self.renewalsFirst, let flight = state.take(\.renewals) {
                flights.append(flight)
            }
            while flights.count < Self.tokensPerCallMax,
                let flight = state.take(\.missing) ?? state.take(\.renewals)
            {
                flights.append(flight)
            }
            state.isAsking = !flights.isEmpty
            return flights.isEmpty ? nil : flights
        }
    }

    /// The server has answered, or cannot.
    ///
    /// What it refuses because the node asks for too much is asked for again, before everything else
    /// of its kind, for `waitMax` in all. If one identity does, all of that one waits until `rested`,
    /// and nothing of the others.
    package func answered(
        _ flights: [TokenFlight],
        _ results: TokenCall.Results,
        boot: Duration
    ) {
        var done: [(TokenFlight, Result<KeptToken, APIError>)] = []
        state.withLock { state in
            var again: [TokenFlight] = []
            for (flight, result) in zip(flights, results) {
                let reason = if case .failure(let error) = result { error.reason } else { "" }
                let mayWait = boot < flight.askedAt + Self.waitMax
                if reason == APIError.signingRate, mayWait {
                    again.append(flight)
                    continue
                }
                if reason == APIError.identityRate {
                    state.resting[flight.key.spiffeID, default: []] += mayWait ? [flight] : []
                    if mayWait { continue }
                }
                state.flights[flight.key] = nil
                switch result {
                case .failure(let error): state.keep(error, of: flight.key, boot: boot)
                case .success(let token):
                    state.memory.keep(token, for: flight.key, uid: flight.uid)
                }
                done.append((flight, result))
            }
            state.renewals.putBack(again.filter(\.isRenewal))
            state.missing.putBack(again.filter { !$0.isRenewal })
        }
        for (flight, result) in done { flight.finish(result) }
    }

    /// The next request may be made.
    package func released() { state.withLock { $0.isAsking = false } }

    /// The identities may be asked for again, after what waits already.
    package func rested(_ identities: Set<SPIFFEID>) {
        state.withLock { state in
            for identity in identities {
                for flight in state.resting.removeValue(forKey: identity) ?? [] {
                    state.append(flight)
                }
            }
        }
    }
}

extension TokenDesk.State {
    fileprivate mutating func refusal(of key: TokenKey, boot: Duration) -> APIError? {
        guard let known = refused[key] else { return nil }
        guard boot < known.until else {
            refused[key] = nil
            return nil
        }
        return known.error
    }

    fileprivate mutating func keep(_ error: APIError, of key: TokenKey, boot: Duration) {
        if refused.count >= TokenDesk.refusalsMax {
            refused = refused.filter { boot < $0.value.until }
        }
        guard refused.count < TokenDesk.refusalsMax else { return }
        let isFailure = error.kind == .unavailable
        let kept = isFailure ? TokenDesk.failureKept : TokenDesk.refusalKept
        refused[key] = (error, boot + kept)
    }

    /// What is asked for already, or from now on.
    fileprivate mutating func flight(
        for one: (key: TokenKey, grant: TokenGrant),
        uid: UInt32,
        isRenewal: Bool,
        _ boot: Duration
    ) -> TokenFlight {
        if let known = flights[one.key] { return known }
        let flight = TokenFlight(
            one.key,
            one.grant,
            uid: uid,
            isRenewal: isRenewal,
            askedAt: boot
        )
        flights[one.key] = flight
        append(flight)
        return flight
    }

    fileprivate mutating func append(_ flight: TokenFlight) {
        if flight.isRenewal { renewals.append(flight) } else { missing.append(flight) }
    }

    /// The next of a queue; what is of an identity that rests is laid aside.
    fileprivate mutating func take(
        _ queue: WritableKeyPath<TokenDesk.State, Turns>
    ) -> TokenFlight? {
        while let flight = self[keyPath: queue].next() {
            guard let aside = resting[flight.key.spiffeID] else { return flight }
            resting[flight.key.spiffeID] = aside + [flight]
        }
        return nil
    }
}
