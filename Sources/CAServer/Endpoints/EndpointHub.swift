// SPDX-License-Identifier: Apache-2.0

internal import Clocks
internal import NodeSync
internal import Synchronization
internal import Telemetry

/// The shell of `EndpointDirectory`, with a lock of its own: revocations and acknowledgements do not
/// wait for lists of endpoints.
final class EndpointHub: Sendable {
    private struct State {
        var directory: EndpointDirectory
        /// Listeners that are up and no endpoints, and why, by the stream that told of them.
        var unusable: [SessionID: [UnusableListener]] = [:]
    }

    private let clock: any NodeClock
    private let timer: DeadlineTimer
    private let metrics: MetricRegistry
    private let state: Mutex<State>

    init(clock: any NodeClock, metrics: MetricRegistry) {
        self.clock = clock
        self.metrics = metrics
        timer = DeadlineTimer(clock: clock)
        state = Mutex(State(directory: EndpointDirectory(startedAt: clock.bootTime)))
    }

    /// The server starts: nothing is whole before these agents were heard.
    func begin(awaiting agents: Set<AgentName>) {
        let now = clock.bootTime
        change { $0.directory = EndpointDirectory(startedAt: now, awaiting: agents) }
    }

    /// Calls `tell` with the streams that are to take what they are told, until cancelled.
    func run(_ tell: @Sendable ([SessionID]) -> Void) async {
        await timer.run {
            let now = self.clock.bootTime
            tell(self.change { $0.directory.timerFired(now: now) })
        }
    }

    /// A stream was opened; `reports` says whether its agent reports even that it has no proxies.
    func opened(_ session: SessionID, by agent: AgentName, reports: Bool) {
        let now = clock.bootTime
        change { $0.directory.opened(session, by: agent, reports: reports, now: now) }
    }

    func ended(_ session: SessionID) {
        let now = clock.bootTime
        change { state in
            state.unusable[session] = nil
            state.directory.ended(session, now: now)
        }
    }

    func removed(_ agent: AgentName) {
        let now = clock.bootTime
        change { state in
            state.unusable = state.unusable.filter { $0.value.first?.agent != agent }
            state.directory.removed(agent, now: now)
        }
    }

    /// What a report comes to, and what its agent is to be told.
    ///
    /// - Parameters:
    ///   - observation: Of the newest report.
    ///   - session: The agent's stream.
    ///   - hasReported: Whether there was one on it.
    ///   - isTold: Whether the agent knows the message.
    /// - Returns: false if there was not room for all of it.
    func observed(
        _ observation: Observation,
        on session: SessionID,
        hasReported: Bool,
        isTold: Bool
    ) -> Bool {
        let now = clock.bootTime
        let (refused, fits) = change { state in
            // Its stream may have ended, or have been replaced, while this was derived.
            if state.directory.isOpen(session) {
                state.unusable[session] =
                    observation.unusable.isEmpty ? nil : observation.unusable
            }
            return (
                hasReported
                    ? state.directory.reported(observation.report, on: session, now: now) : 0,
                state.directory.needs(isTold ? observation.needs : [:], on: session, now: now)
            )
        }
        if refused > 0 { metrics.increment(.endpointsRefused, by: refused) }
        return refused == 0 && fits
    }

    /// What a stream is told next, and whether there is more.
    func take(_ session: SessionID, bytesMax: Int) -> (lists: [ObservedEndpoints], isMore: Bool) {
        change { $0.directory.take(session, bytesMax: bytesMax) }
    }

    /// Every endpoint of a namespace, and what is up in it and is none.
    func statuses(namespace: String) -> (endpoints: [EndpointStatus], unusable: [UnusableListener])
    {
        state.withLock { state in
            (
                state.directory.statuses(namespace: namespace),
                state.unusable.values.joined()
                    .filter { ProxyReference($0.place.proxy).namespace == namespace }
                    .sorted { ($0.agent, $0.place) < ($1.agent, $1.place) }
            )
        }
    }

    @discardableResult
    private func change<Result: Sendable>(
        _ body: @Sendable (inout State) -> Result
    ) -> Result {
        let (result, deadline, count) = state.withLock { state in
            let result = body(&state)
            return (result, state.directory.deadline, state.directory.count)
        }
        metrics.set(.observedEndpoints, to: Double(count))
        if let deadline { timer.schedule(noLaterThan: deadline) }
        return result
    }
}
