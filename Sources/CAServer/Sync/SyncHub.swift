// SPDX-License-Identifier: Apache-2.0

package import Clocks
package import ControlAPI
package import ControlAPIProtos
package import Datastore
package import FoundationEssentials
package import Logging
package import NodeSync
package import SPIFFE
internal import SwiftProtobuf
internal import Synchronization
package import Telemetry

/// What a stream's writer does next.
package enum StreamCommand: Sendable {
    case delta(from: UInt64)
    case snapshot
    case watermark(to: UInt64)
    case query(Signet_Node_V1alpha1_Query)
    /// The agent reported its proxies: see what comes of it.
    case observe
    /// There are lists of endpoints to be told.
    case endpoints
}

/// What the hub tells one stream.
package struct StreamOrders: Sendable {
    package let session: SessionID
    /// What to write, in order.
    package let commands: AsyncStream<StreamCommand>
    /// Yields when the stream must end at once, whatever is being written: a writer whose peer does
    /// not read would never come to a command.
    package let closing: AsyncStream<SyncPublisher.CloseReason>
}

/// The shell of `SyncPublisher`: it owns the streams of all agents.
///
/// Commits are announced by `poke`; one task then reads what changed since the last number, so
/// nothing is missed or told out of order, however the commits' tasks are scheduled.
package final class SyncHub: Sendable {
    /// Questions that may wait for an agent at a time.
    package static let queriesMax = 256
    /// Callers that may wait for agents at a time: each keeps a stream and a place here for up to
    /// an hour.
    package static let waitsMax = 256
    /// Longest version of an agent that is remembered, in bytes.
    package static let versionBytesMax = 64
    /// How long after a failure changes are read again.
    static let retryDelay: Duration = .seconds(1)

    package let epoch: Epoch
    let state: Mutex<SyncHubState>
    private let datastore: ServerStore
    let clock: any NodeClock
    private let timer: DeadlineTimer
    private let changed = Signal()
    private let logger: Logger
    let metrics: MetricRegistry
    let endpoints: EndpointHub
    /// Whom to tell that lists may have to tell of a change.
    let listDesk = RevocationListDesk()

    /// Begins at the revision that the datastore holds.
    package init(
        datastore: ServerStore,
        revision: Revision,
        clock: any NodeClock,
        logger: Logger,
        metrics: MetricRegistry
    ) {
        epoch = revision.epoch
        self.datastore = datastore
        self.clock = clock
        self.logger = logger
        self.metrics = metrics
        timer = DeadlineTimer(clock: clock)
        endpoints = EndpointHub(clock: clock, metrics: metrics)
        state = Mutex(
            SyncHubState(
                publisher: SyncPublisher(
                    epoch: revision.epoch,
                    committedNumber: revision.number
                ),
                recentFrom: revision.number + 1
            )
        )
    }

    /// Tells that something was committed; never blocks.
    package func poke() {
        state.withLock { $0.pokedAt = $0.pokedAt ?? clock.bootTime }
        changed.signal()
    }

    /// Serves timers and commits until cancelled.
    package func run() async {
        await withTaskGroup(of: Void.self) { group in
            group.addTask { [self] in
                await timer.run {
                    self.transition { $0.publisher.timerFired(now: self.clock.bootTime) }
                }
            }
            group.addTask { [self] in
                await endpoints.run { sessions in
                    for session in sessions { self.command(session, .endpoints) }
                }
            }
            group.addTask { [self] in
                while !Task.isCancelled {
                    await changed.wait()
                    guard !Task.isCancelled else { return }
                    await publish()
                }
            }
        }
    }

    private func publish() async {
        let (last, since) = state.withLock { state in
            defer { state.pokedAt = nil }
            return (state.publisher.committedNumber, state.pokedAt ?? clock.bootTime)
        }
        do {
            let (revision, changes) = try await datastore.read { transaction in
                try SyncContent.committed(after: last, in: transaction)
            }
            guard revision.number > last else { return }
            metrics.set(.revision, to: Double(revision.number))
            if changes.contains(where: \.concernsLists) { listDesk.changed() }
            transition { state in
                var actions: [SyncPublisher.Action] = []
                let now = self.clock.bootTime
                for change in changes {
                    let agents = state.affected(by: change)
                    state.note(change.number, agents, change.proxies)
                    actions += state.publisher.committed(
                        change.number,
                        affected: agents,
                        urgent: change.isUrgent,
                        now: now
                    )
                    actions += state.measure(change.number, agents, since: since, now: now)
                    state.narrow(to: change, among: agents)
                }
                self.metrics.set(.proxiesAttached, to: Double(state.observed.count))
                if state.publisher.committedNumber < revision.number {
                    actions += state.publisher.committed(
                        revision.number,
                        affected: .agents([]),
                        urgent: false,
                        now: now
                    )
                }
                return actions + state.startEarlyWaits(now: now)
            }
        } catch {
            logger.error("changes cannot be read", metadata: ["error": "\(error)"])
            // Nothing is lost: the next reading begins after the last number that was published.
            try? await clock.sleep(untilBoot: clock.bootTime + Self.retryDelay)
            changed.signal()
        }
    }

    // MARK: - Streams

    /// Opens the stream of a verified agent.
    package func connect(
        _ agent: AgentName,
        hello: SyncHello,
        version: String,
        selectors: Set<Selector>,
        scopeChangedAt: UInt64
    ) -> StreamOrders {
        let (commands, command) = AsyncStream.makeStream(of: StreamCommand.self)
        let (closing, close) = AsyncStream.makeStream(of: SyncPublisher.CloseReason.self)
        let session = state.withLock { state in
            let session = SessionID(state.nextNumber)
            state.nextNumber += 1
            state.outlets[session] = SyncHubState.Outlet(commands: command, closing: close)
            let bytes = version.utf8.prefix(Self.versionBytesMax)
            state.versions[agent] = String(decoding: bytes, as: UTF8.self)
            return session
        }
        metrics.adjust(.agentsConnected, by: 1)
        endpoints.opened(
            session,
            by: agent,
            reports: hello.capabilities.contains(SyncCapability.observedEndpoints)
        )
        transition { state in
            state.publisher.connected(
                agent,
                session: session,
                have: hello.have,
                selectors: selectors,
                capabilities: hello.capabilities,
                scopeChangedAt: scopeChangedAt,
                now: self.clock.bootTime
            )
        }
        return StreamOrders(session: session, commands: commands, closing: closing)
    }

    /// The stream ended.
    package func disconnected(_ session: SessionID) {
        let now = clock.wallTime
        var settled: [CheckedContinuation<Void, Never>] = []
        let (outlet, unanswered) = state.withLock { state in
            if let agent = state.publisher.agent(of: session) { state.departed[agent.name] = now }
            settled = state.forgetProxies(of: session)
            metrics.set(.proxiesAttached, to: Double(state.observed.count))
            let unanswered = state.queries.filter { $0.value.session == session }
            for id in unanswered.keys { state.queries[id] = nil }
            return (state.outlets.removeValue(forKey: session), unanswered.values.map(\.answer))
        }
        outlet?.finish()
        if outlet != nil { metrics.adjust(.agentsConnected, by: -1) }
        for answer in unanswered { answer.resume(returning: nil) }
        for watch in settled { watch.resume() }
        endpoints.ended(session)
        transition { $0.publisher.disconnected(session, now: self.clock.bootTime) }
    }

    /// Gives a stream something more to do; nothing if it has ended.
    func command(_ session: SessionID, _ command: StreamCommand) {
        state.withLock { _ = $0.outlets[session]?.commands.yield(command) }
    }

    /// A delta or snapshot up to `number` was written.
    package func sent(_ session: SessionID, to number: UInt64) {
        transition { $0.publisher.sent(session, to: number, now: self.clock.bootTime) }
    }

    /// The agent said what it has applied.
    package func acknowledged(_ session: SessionID, _ acknowledgement: SyncAcknowledgement) {
        transition {
            $0.publisher.acknowledged(session, acknowledgement, now: self.clock.bootTime)
        }
    }

    /// A node was banned or evicted: its stream ends now.
    package func removed(_ agent: AgentName) {
        endpoints.removed(agent)
        transition { state in
            state.versions[agent] = nil
            return state.publisher.removed(agent, now: self.clock.bootTime)
        }
    }

    /// A node is known from the datastore.
    ///
    /// - Parameters:
    ///   - agent: Its name.
    ///   - selectors: Its node selectors.
    ///   - mayBeLive: Whether it may have been connected to the process before this one, which
    ///     nothing tells: until it is back, or has been silent for as long as any other, it is
    ///     waited for, so that a restart lets no authority sign too early.
    package func remembered(_ agent: AgentName, selectors: Set<Selector>, mayBeLive: Bool) {
        state.withLock {
            $0.publisher.remembered(
                agent,
                selectors: selectors,
                lastSeen: mayBeLive ? clock.bootTime : nil
            )
        }
    }

    /// The agents whose stream has ended since the last call, and when.
    package func takeDeparted() -> [String: Date] {
        state.withLock { state in
            defer { state.departed = [:] }
            return state.departed
        }
    }

    // MARK: - Questions

    /// Whether the agent's stream is open, what it applied, and its version.
    package func presence(
        of agent: AgentName
    ) -> (presence: AgentPresence, version: String) {
        state.withLock { ($0.publisher.presence(of: agent), $0.versions[agent] ?? "") }
    }

    package var connectedCount: Int { state.withLock { $0.outlets.count } }

    /// Who has applied a number, among those it concerns or among all agents.
    package func appliedState(of number: UInt64, amongAll: Bool = false) -> AppliedState {
        state.withLock { state in
            state.publisher.appliedState(
                of: number,
                among: amongAll ? .all : state.concerned(by: number),
                now: clock.bootTime
            )
        }
    }

    /// The connected agents that did not say in their Hello that they have a capability.
    package func agents(lacking capability: String) -> [AgentName] {
        state.withLock { $0.publisher.connectedAgents(lacking: capability) }
    }

    /// What the agent could not take of what it was sent.
    package func refusals(of agent: AgentName) -> [ResourceRefusal] {
        state.withLock { $0.publisher.refusals(of: agent) }
    }

    /// How many callers wait for agents.
    package var waitCount: Int { state.withLock { $0.waiters } }

    /// Returns when every live agent concerned has applied `number`, or at the deadline.
    ///
    /// - Parameters:
    ///   - number: What they must have applied.
    ///   - deadline: When to return at the latest, in time since boot.
    ///   - gone: Ends when nobody wants to know any more.
    /// - Returns: Who has applied it, when it returns.
    /// - Throws: `APIError` (`exhausted`) when too many wait already.
    package func waitUntilApplied(
        _ number: UInt64,
        deadline: Duration,
        gone: AsyncStream<Void>? = nil
    ) async throws(APIError) -> AppliedState {
        let id: WaitID? = state.withLock { state in
            guard state.waiters < Self.waitsMax else { return nil }
            state.waiters += 1
            state.nextNumber += 1
            return WaitID(state.nextNumber)
        }
        guard let id else {
            throw APIError(
                .exhausted,
                "waitsTooMany",
                "\(Self.waitsMax) callers wait for agents already; try again later"
            )
        }
        defer { state.withLock { $0.waiters -= 1 } }
        return await withTaskGroup(of: AppliedState?.self) { group in
            group.addTask { [self] in
                await withTaskCancellationHandler {
                    await withCheckedContinuation {
                        (continuation: CheckedContinuation<AppliedState, Never>) in
                        transition { state in
                            guard !Task.isCancelled else {
                                continuation.resume(
                                    returning: state.publisher.appliedState(
                                        of: number,
                                        among: state.concerned(by: number),
                                        now: self.clock.bootTime
                                    )
                                )
                                return []
                            }
                            state.waits[id] = continuation
                            state.early.append((id, number))
                            return state.startEarlyWaits(now: self.clock.bootTime)
                        }
                    }
                } onCancel: {
                    self.endWait(id, number)
                }
            }
            group.addTask { [self] in
                try? await clock.sleep(untilBoot: deadline)
                return nil
            }
            if let gone {
                group.addTask {
                    for await _ in gone {}
                    return nil
                }
            }
            let first = await group.next() ?? nil
            group.cancelAll()
            return first ?? appliedState(of: number)
        }
    }

    private func endWait(_ id: WaitID, _ number: UInt64) {
        let (continuation, applied) = state.withLock { state in
            state.publisher.waitEnded(id)
            state.early.removeAll { $0.id == id }
            let applied = state.publisher.appliedState(
                of: number,
                among: state.concerned(by: number),
                now: clock.bootTime
            )
            return (state.waits.removeValue(forKey: id), applied)
        }
        continuation?.resume(returning: applied)
    }

    /// Asks an agent on its stream; nil when it is away or does not answer in time.
    package func ask(
        _ agent: AgentName,
        _ kind: Signet_Node_V1alpha1_Query.OneOf_Kind,
        deadline: Duration,
        limit: UInt32
    ) async -> Signet_Node_V1alpha1_QueryReply? {
        let number = state.withLock { state in
            state.nextNumber += 1
            return state.nextNumber
        }
        let query = Signet_Node_V1alpha1_Query.with {
            $0.id = number
            $0.kind = kind
            $0.limit = limit
            $0.deadlineMilliseconds = 5000
        }
        return await withTaskGroup(of: Signet_Node_V1alpha1_QueryReply?.self) { group in
            group.addTask { [self] in
                // The end of the wait is a cancellation, so it is noticed before the question is
                // registered and after.
                await withTaskCancellationHandler {
                    await withCheckedContinuation { register(query, to: agent, $0) }
                } onCancel: {
                    withdraw(number)
                }
            }
            group.addTask { [self] in
                try? await clock.sleep(untilBoot: deadline)
                return nil
            }
            let first = await group.next() ?? nil
            group.cancelAll()
            return first
        }
    }

    private func register(
        _ query: Signet_Node_V1alpha1_Query,
        to agent: AgentName,
        _ answer: CheckedContinuation<Signet_Node_V1alpha1_QueryReply?, Never>
    ) {
        let isAsked = state.withLock { state in
            guard !Task.isCancelled, state.queries.count < Self.queriesMax,
                let session = state.publisher.presence(of: agent).session,
                let outlet = state.outlets[session]
            else { return false }
            state.queries[query.id] = SyncHubState.PendingQuery(session: session, answer: answer)
            outlet.commands.yield(.query(query))
            return true
        }
        if !isAsked { answer.resume(returning: nil) }
    }

    private func withdraw(_ id: UInt64) {
        let pending = state.withLock { $0.queries.removeValue(forKey: id) }
        pending?.answer.resume(returning: nil)
    }

    /// An agent answered; an answer to a question that another stream was asked is ignored.
    package func answered(
        _ id: UInt64,
        from session: SessionID,
        _ reply: Signet_Node_V1alpha1_QueryReply
    ) {
        let pending = state.withLock { state in
            state.queries[id]?.session == session ? state.queries.removeValue(forKey: id) : nil
        }
        pending?.answer.resume(returning: reply)
    }

    // MARK: - Actions

    private func transition(_ event: (inout SyncHubState) -> [SyncPublisher.Action]) {
        let settled = state.withLock { state in
            let actions = event(&state)
            return state.perform(actions, timer: timer, now: clock.bootTime)
        }
        for (continuation, applied) in settled.waits { continuation.resume(returning: applied) }
        for watch in settled.watches { watch.resume() }
        for took in settled.measured { metrics.observe(.syncConvergenceDuration, took) }
    }
}
