// SPDX-License-Identifier: Apache-2.0

internal import Clocks
package import ControlAPI
internal import ControlAPIProtos
package import Datastore
internal import DecisionLog
internal import Dispatch
internal import FoundationEssentials
internal import Logging
package import SPIFFE
internal import Synchronization
internal import Telemetry

/// Takes the agents' segments into the decision store, and keeps that within its limits.
///
/// No act of the server waits for it, and none fails with it: without a store uploads are refused,
/// and agents keep what they have (docs/decisions/0011-decision-log.md).
package final class DecisionKeeper: Sendable {
    /// The condition of the server's health that tells of it; readiness does not depend on it.
    package static let condition = "decisions"
    /// How often new segments are digested, old ones removed, and a closed store is tried.
    package static let interval: Duration = .seconds(60)
    /// Most bytes of segments that one agent may send in a second: 2,000 denials.
    package static let bytesPerSecondMax = 2 << 20
    /// Most bytes that one agent may send at once, when it was away.
    package static let bytesAtOnceMax = 16 << 20
    /// Most uploads that are worked on at a time, each with a few MiB of memory.
    package static let uploadsMax = 8
    /// Least bytes that an upload counts as: an empty segment costs rows and a leaf, too.
    ///
    /// Segments that are made at the agent's own pace never feel it.
    package static let chargedBytesMin = 64 * 1024
    /// When whoever met too many uploads may come again.
    static let crowdedRetry: Duration = .seconds(1)
    /// When whoever met no store may come again.
    static let closedRetry: Duration = .seconds(30)

    struct State {
        /// Nil while it cannot be used.
        var store: DecisionStore?
        /// The last sequence number that an audit leaf covers.
        var digested: UInt64 = 0
        var uploads = DecisionUploads(placesMax: DecisionKeeper.uploadsMax)
        /// Whether a leaf is being written, and who waits to write the next one.
        var isDigesting = false
        var digesters: [CheckedContinuation<Void, Never>] = []
        var problem: String?
        /// Whether the problem is that the disk has no room.
        var isShortOfRoom = false
    }

    let clock: any NodeClock
    let logger: Logger
    let retention: Duration
    let quotaBytes: UInt64
    let state = Mutex(State())
    let path: String
    let metrics: MetricRegistry
    private let health: Health
    private let limiter = SourceLimiter(
        rate: Double(bytesPerSecondMax),
        burst: Double(bytesAtOnceMax)
    )
    /// For the opening, which may wait for the disk.
    private let queue = DispatchQueue(label: "signet.server.decisions")

    /// A keeper whose store is not open yet.
    ///
    /// - Parameters:
    ///   - configuration: Where the store is, how large it may be and how long segments are kept.
    ///   - clock: Both clocks.
    ///   - logger: Where troubles are told.
    ///   - metrics: Of the server.
    ///   - health: With `condition` among what is noted.
    init(
        _ configuration: ServerConfiguration,
        clock: any NodeClock,
        logger: Logger,
        metrics: MetricRegistry,
        health: Health
    ) {
        path = configuration.decisionStorePath
        retention = configuration.decisionRetention
        quotaBytes = UInt64(configuration.decisionQuotaMiB) << 20
        self.clock = clock
        self.logger = logger
        self.metrics = metrics
        self.health = health
        metrics.set(.decisionStoreUp, to: 0)
        metrics.set(.decisionStoreBytes, to: 0)
        metrics.set(.decisionStoreOldest, to: 0)
    }

    /// The store, if it is open.
    package var store: DecisionStore? { state.withLock { $0.store } }

    /// The store.
    ///
    /// - Throws: `APIError` (`unavailable`) while it cannot be used.
    func requireStore() throws(APIError) -> DecisionStore {
        if let store { return store }
        let problem = state.withLock { $0.problem } ?? "it is being opened"
        throw APIError(
            .unavailable,
            "decisionStore",
            "the decision store cannot be used: \(problem)",
            retryAfter: Self.closedRetry
        )
    }

    // MARK: - Uploads

    /// Stores a segment of a verified agent that may speak.
    ///
    /// - Throws: `APIError` with the rule that forbids it, and when to come again.
    package func store(_ bytes: [UInt8], of agent: SPIFFEID) async throws(APIError) {
        do throws(APIError) {
            let outcome = try await take(bytes, of: agent)
            metrics.increment(.decisionSegments, outcome)
        } catch {
            let outcome =
                switch error.reason {
                case Self.noRoom: "noRoom"
                default: error.kind == .exhausted ? "later" : "refused"
                }
            metrics.increment(.decisionSegments, outcome)
            throw error
        }
    }

    private func take(
        _ bytes: [UInt8],
        of agent: SPIFFEID
    ) async throws(APIError) -> String {
        let store = try requireStore()
        let wait = limiter.take(
            max(bytes.count, Self.chargedBytesMin),
            of: agent.description,
            now: clock.bootTime
        )
        if let wait {
            throw APIError(
                .exhausted,
                "decisionRate",
                "more of the decision log is sent than one agent may; send on in \(wait)",
                retryAfter: wait
            )
        }
        try enter(agent)
        defer { state.withLock { $0.uploads.left(agent.description) } }
        let segment: NewDecisionSegment
        do throws(DecisionSegmentError) {
            segment = try NewDecisionSegment(DecisionSegment(parsing: bytes), bytes, of: agent)
        } catch {
            throw APIError(.invalidArgument, "segmentMalformed", "the segment is refused: \(error)")
        }
        switch try await put(segment, into: store) {
        case .differs:
            throw APIError(
                .failedPrecondition,
                "segmentDiffers",
                "another segment \(segment.number) of this spool is stored"
            )
        case .known: return "known"
        case .noRoom:
            let problem = shortage() ?? "its file system is nearly full"
            short(of: problem)
            throw APIError(
                .unavailable,
                Self.noRoom,
                "the decision store must not grow: \(problem)",
                retryAfter: Self.closedRetry
            )
        case .stored:
            metrics.increment(.decisionBytes, by: bytes.count)
            metrics.increment(.decisionStored, by: segment.records)
            metrics.increment(.decisionLosses, by: Int(clamping: segment.lost))
            return "stored"
        }
    }

    private func enter(_ agent: SPIFFEID) throws(APIError) {
        switch state.withLock({ $0.uploads.entered(agent.description) }) {
        case .entered: return
        case .crowded:
            throw APIError(
                .exhausted,
                "decisionUploads",
                "too many agents send their decision log at this moment; try again",
                retryAfter: Self.crowdedRetry
            )
        case .isThere:
            throw APIError(
                .exhausted,
                "decisionUploads",
                "another segment of this agent is being stored; send one at a time",
                retryAfter: Self.crowdedRetry
            )
        }
    }

    private func put(
        _ segment: NewDecisionSegment,
        into store: DecisionStore
    ) async throws(APIError) -> DecisionStoring {
        do throws(DatastoreError) {
            let outcome = try await store.store(
                segment,
                at: clock.wallTime,
                mayGrow: shortage() == nil
            )
            if outcome != .noRoom { works() }
            return outcome
        } catch {
            failed(error, store)
            throw APIError(
                .unavailable,
                "decisionStore",
                "the decision store takes nothing: \(error)",
                retryAfter: Self.closedRetry
            )
        }
    }

    // MARK: - Opening

    /// Opens the store, tells it how far the audit log covers it, digests and removes, each minute
    /// until cancelled.
    package func run(_ core: ServerCore) async {
        while !Task.isCancelled {
            await open(core)
            await digest(core)
            await trim(core)
            try? await clock.sleep(untilBoot: clock.bootTime + Self.interval)
        }
    }

    private func open(_ core: ServerCore) async {
        guard store == nil else { return }
        do {
            let opened = try await opened()
            let digested = try await lastDigest(of: opened.id, core)
            if let digested {
                // The file may have been put back to a state before that.
                try await opened.goOn(after: digested)
                try await opened.digested(through: digested)
            }
            try await opened.undigested(after: digested ?? 0)
            state.withLock { state in
                state.store = opened
                state.digested = digested ?? 0
            }
            works()
        } catch {
            // A server that ends interrupts it, which ails nobody.
            if !Task.isCancelled { told(of: "\(error)") }
        }
    }

    private func opened() async throws -> DecisionStore {
        var generator = SystemRandomness()
        let id = (0..<DecisionStore.idBytes).map { _ in
            UInt8.random(in: .min ... .max, using: &generator)
        }
        // Beside the quota there is room for what is stored until the oldest is removed.
        let (path, bytesMax) = (path, Int(clamping: quotaBytes / 4 * 5))
        return try await withCheckedThrowingContinuation { continuation in
            queue.async {
                continuation.resume(
                    with: Result {
                        try DecisionStore(path: path, newID: id, bytesMax: bytesMax)
                    }
                )
            }
        }
    }

    /// Lets go of the file.
    package func close() {
        let store = state.withLock { state in
            defer { state.store = nil }
            return state.store
        }
        // After what is closed there already.
        queue.sync { try? store?.close() }
    }

    // MARK: - What ails it

    func works() {
        let isMended = state.withLock { state in
            defer { (state.problem, state.isShortOfRoom) = (nil, false) }
            return state.problem != nil
        }
        metrics.set(.decisionStoreUp, to: 1)
        health.met(Self.condition)
        if isMended { logger.notice("the decision store can be used again") }
    }

    /// The store refused something; after what leaves no ground to write on it is opened anew.
    func failed(_ error: DatastoreError, _ store: DecisionStore) {
        // Whoever still asks while the server ends finds it closed, which ails nobody.
        guard state.withLock({ $0.store === store }) else { return }
        told(of: error.description)
        guard error.endsWriting || error == .closed else { return }
        let isCurrent = state.withLock { state in
            guard state.store === store else { return false }
            state.store = nil
            return true
        }
        // It waits for who reads.
        if isCurrent { queue.async { try? store.close() } }
    }

    func told(of problem: String) {
        let isNew = state.withLock { state in
            defer { state.problem = problem }
            return state.problem == nil
        }
        metrics.set(.decisionStoreUp, to: 0)
        health.unmet(Self.condition, reason: problem)
        if isNew {
            logger.error(
                "the decision store cannot be used; agents keep their segments meanwhile",
                metadata: ["file": "\(path)", "error": "\(problem)"]
            )
        }
    }
}

extension NewDecisionSegment {
    fileprivate init(_ segment: DecisionSegment, _ bytes: [UInt8], of agent: SPIFFEID) {
        let times = segment.records.map { record in
            record.decision.timeUnixMilliseconds == 0
                ? record.heardAtUnixMilliseconds : record.decision.timeUnixMilliseconds
        }
        let made = Int64(clamping: segment.header.madeAtUnixMilliseconds)
        let (first, last) = (times.min() ?? made, times.max() ?? made)
        self.init(
            agent: agent.description,
            spool: segment.header.spool,
            number: segment.header.number,
            digest: segment.digest,
            content: bytes,
            records: segment.records.count,
            lost: segment.header.lost,
            decisions: segment.records.compactMap { record in
                if case .decision(let decision) = record.content { decision.id } else { nil }
            },
            times: Date(unixMilliseconds: first)...Date(unixMilliseconds: last)
        )
    }
}
