// SPDX-License-Identifier: Apache-2.0

internal import Authorization
package import Clocks
package import ControlAPI
package import ControlAPIProtos
internal import FoundationEssentials
package import Logging
internal import NodeSync
internal import Reactor
internal import Routing
internal import SPIFFE
internal import SwiftProtobuf
internal import Synchronization

/// Brings into force what the agent says: it makes snapshots and hands them to the engine.
///
/// Trust and states are taken one after the other, so that a snapshot is always made of the newest
/// of both.
package final class EngineControl: TrafficEngine {
    fileprivate struct State {
        var builder: SnapshotBuilder
        /// Nil before the first.
        var trust: ProxyTrust?
        var observed: ProxyEndpoints = [:]
        /// In force; nil before the first.
        var configuration: ProxyConfiguration?
        /// The agent was not heard for too long: nothing is accepted or opened.
        var isSuspended = false
        /// What is known could not be brought into force; tried again with the next tick.
        var isUnsettled = false
        /// Those that lack a certificate.
        var closed = ClosedListeners()
        /// The listeners that accept connections, with their identities.
        var open: [String: SPIFFEID] = [:]
        /// When the earliest certificate in force ends, so that it is presented no longer.
        var endsAt: Date?
        /// When the last certificate has ended that is not presented for that; before it, by a clock
        /// that was set back, one of them is good again.
        var endedAt: Date?
    }

    private let engine: ProxyEngine
    private let decisions: DecisionMemory
    private let clock: any NodeClock
    private let logger: Logger
    private let gatherer = Mutex<(@Sendable () -> Void)?>(nil)
    private let listener = Mutex<(@Sendable ([ProxyListening]) -> Void)?>(nil)
    private let state: Mutex<State>

    /// A control that knows nothing yet; the engine listens nowhere.
    ///
    /// - Parameters:
    ///   - engine: What carries the traffic.
    ///   - decisions: What remembers denials.
    ///   - clock: The wall clock.
    ///   - logger: Where failures are told.
    ///   - recording: Which requests the engine records.
    package init(
        _ engine: ProxyEngine,
        decisions: DecisionMemory,
        clock: any NodeClock,
        logger: Logger,
        recording: ProxyRecording = .denials
    ) {
        self.engine = engine
        self.decisions = decisions
        self.clock = clock
        self.logger = logger
        let builder = SnapshotBuilder(provider: engine.provider, recording: recording)
        state = Mutex(State(builder: builder))
    }

    /// Names who is told which inbound listeners accept connections, after each change.
    package func tellListening(_ listener: @escaping @Sendable ([ProxyListening]) -> Void) {
        self.listener.withLock { $0 = listener }
    }

    /// Names who takes the records that the loops have made, before a decision is looked up: a
    /// person asks sooner than they are taken by themselves.
    func gatherBeforeDecisions(_ gatherer: @escaping @Sendable () -> Void) {
        self.gatherer.withLock { $0 = gatherer }
    }

    private func listening(_ listeners: [ProxyListening]) {
        listener.withLock { $0 }?(listeners)
    }

    // MARK: - TrafficEngine

    package func trust(_ trust: ProxyTrust) async {
        await settle { state in
            state.trust = trust
            return state.configuration
        }
    }

    package func apply(_ configuration: ProxyConfiguration) async -> String? {
        let (result, done) = AsyncStream.makeStream(of: Void.self)
        var generation: UInt64 = 0
        let problem: String? = state.withLock { state in
            guard let trust = state.trust else { return "a state came before trust" }
            do {
                // Made even if nothing is served, because the answer says whether it can be.
                var snapshot = try state.builder.snapshot(
                    of: configuration,
                    under: trust,
                    observed: state.observed,
                    now: clock.wallTime
                )
                if state.isSuspended {
                    snapshot = state.builder.empty(revision: configuration.revision.number)
                }
                try engine.apply(snapshot) { done.finish() }
                generation = snapshot.generation
                bring(snapshot, configuration, into: &state)
                return nil
            } catch {
                return "\(error)"
            }
        }
        guard problem == nil else { return problem }
        for await _ in result {}
        engine.forget(before: generation)
        return nil
    }

    package func endpoints(_ endpoints: ProxyEndpoints) async {
        await settle { state in
            var all = state.observed.merging(endpoints) { $1 }
            if all.count > EndpointDirectory.portsMax {
                let proxy = state.configuration?.state.proxy
                let named = Set(proxy?.outbound.map(\.service) ?? [])
                all = all.filter { port, _ in
                    endpoints[port] != nil
                        || port.namespace == proxy?.namespace && named.contains(port.service)
                }
            }
            guard all != state.observed else { return nil }
            state.observed = all
            return state.configuration
        }
    }

    package func answer(
        _ question: ProxyQuestion,
        limit: Int
    ) async -> Signet_Node_V1alpha1_ProxyQueryReply {
        switch question {
        case .connections:
            let all = await withCheckedContinuation { done in
                engine.connections(limit: limit) { done.resume(returning: $0) }
            }
            let places = Dictionary(
                all.map { ($0.listener, identity(ofListener: $0.listener)) }
            ) { first, _ in first }
            let rows = all.lazy.map { $0.message(identity: places[$0.listener] ?? "") }
            return .with { $0.connections = .init(rows, limit: limit) }
        case .counters:
            let counters = await withCheckedContinuation { done in
                engine.counters { done.resume(returning: $0) }
            }
            let listeners = state.withLock { $0.areOpen }
            return .with { $0.counters = counters.message(listeners) }
        case .decision(let id):
            gatherer.withLock { $0 }?()
            guard let explanation = decisions.explanation(of: id) else {
                return .with {
                    $0.refusal = .with {
                        $0.code = "decisionForgotten"
                        $0.message =
                            "the proxy remembers its \(DecisionMemory.denialsMax) newest denials, "
                            + "and \(id) is none of them; its log may have it"
                    }
                }
            }
            return .with { $0.decision = explanation }
        }
    }

    // MARK: - Time

    /// Presents no certificate that has ended, and again one that has not, after all; called now and
    /// then.
    package func expire() async {
        let now = clock.wallTime
        await settle { state in
            let hasEnded = state.endsAt.map { $0 <= now } ?? false
            let isGoodAgain = state.endedAt.map { $0 > now } ?? false
            guard state.isUnsettled || hasEnded || isGoodAgain else { return nil }
            return state.configuration
        }
    }

    /// Accepts and opens nothing while the agent is silent for too long, and goes on afterwards.
    package func suspend(_ isSuspended: Bool) async {
        await settle { state in
            guard state.isSuspended != isSuspended else { return nil }
            state.isSuspended = isSuspended
            logger.warning(
                isSuspended ? "the agent is silent for too long" : "the agent is heard again"
            )
            return state.configuration
        }
    }

    // MARK: - Names

    /// A listener as the metrics name it.
    struct Place {
        let isInbound: Bool
        let identity: SPIFFEID
        /// What it sends to, `namespace/name`; nil for an inbound one.
        let service: String?
    }

    /// Where a listener of the state in force stands, or an inbound one that was there lately, whose
    /// decisions are told still; nil if it is not known.
    func place(ofListener name: String) -> Place? {
        let proxy = state.withLock { $0.configuration?.state.proxy }
        if let listener = proxy?.inbound.first(where: { $0.name == name }) {
            return Place(isInbound: true, identity: listener.identity, service: nil)
        }
        if let proxy, let listener = proxy.outbound.first(where: { $0.name == name }) {
            return Place(
                isInbound: false,
                identity: listener.identity,
                service: "\(proxy.namespace)/\(listener.service)"
            )
        }
        return decisions.listener(named: name).map {
            Place(isInbound: true, identity: $0.identity, service: nil)
        }
    }

    /// The identity that a listener speaks for; empty if it is not known.
    func identity(ofListener name: String) -> String {
        place(ofListener: name)?.identity.description ?? ""
    }

    /// The rule that decided; nil if none did or its snapshot is gone.
    func cause(
        of outcome: Decision.Outcome,
        listener: String,
        revision: UInt64
    ) -> AccessVerdict.Cause? {
        decisions.policies(ofListener: listener, revision: revision)?.verdict(of: outcome).cause
    }

    // MARK: - Steps

    /// Makes what is in force again, under what is known now.
    private func settle(_ change: (inout State) -> ProxyConfiguration?) async {
        let (result, done) = AsyncStream.makeStream(of: Void.self)
        let generation: UInt64? = state.withLock { state in
            guard let configuration = change(&state), let trust = state.trust else { return nil }
            do {
                let snapshot =
                    state.isSuspended
                    ? state.builder.empty(revision: configuration.revision.number)
                    : try state.builder.snapshot(
                        of: configuration,
                        under: trust,
                        observed: state.observed,
                        now: clock.wallTime
                    )
                try engine.apply(snapshot) { done.finish() }
                bring(snapshot, configuration, into: &state)
                return snapshot.generation
            } catch {
                // What was taken away must not be served because something else went wrong.
                state.isUnsettled = true
                logger.critical("nothing is served any more", metadata: ["reason": "\(error)"])
                let snapshot = state.builder.empty(revision: configuration.revision.number)
                do { try engine.apply(snapshot) { done.finish() } } catch { return nil }
                state.open = [:]
                listening([])
                return snapshot.generation
            }
        }
        guard let generation else { return }
        for await _ in result {}
        engine.forget(before: generation)
    }

    private func bring(
        _ snapshot: ProxySnapshot,
        _ configuration: ProxyConfiguration,
        into state: inout State
    ) {
        state.configuration = configuration
        state.isUnsettled = false
        let open =
            snapshot.inbound.map { ($0.listener.name, $0.listener.identity) }
            + snapshot.outbound.map { ($0.listener.name, $0.listener.identity) }
        state.open = Dictionary(open) { first, _ in first }
        state.endsAt = open.compactMap { configuration.identities[$0.1]?.notAfter }.min()
        state.endedAt = snapshot.unserved.filter { $0.lack == .ended }
            .compactMap { configuration.identities[$0.identity]?.notAfter }.max()
        for change in state.closed.changed(open: state.open, unserved: snapshot.unserved) {
            tell(change)
        }
        decisions.remember(snapshot, revision: configuration.revision)
        listening(
            snapshot.inbound.map {
                ProxyListening(
                    listener: $0.listener.name,
                    identity: $0.listener.identity,
                    address: $0.listener.address
                )
            }
        )
    }

    /// Clients of a listener that is closed are refused by the kernel, so that nothing else tells.
    private func tell(_ change: ClosedListeners.Change) {
        switch change {
        case .closed(let listener):
            logger.warning(
                "a listener is closed: no certificate for \(listener.identity)",
                metadata: ["listener": "\(listener.name)", "reason": "\(listener.lack.rawValue)"]
            )
        case .opened(let name, let identity):
            logger.notice(
                "a listener is open again: there is a certificate for \(identity)",
                metadata: ["listener": "\(name)"]
            )
        }
    }
}

extension EngineControl.State {
    /// Whether each listener of the state in force accepts connections.
    fileprivate var areOpen: [String: Bool] {
        guard let proxy = configuration?.state.proxy else { return [:] }
        let names = proxy.inbound.map(\.name) + proxy.outbound.map(\.name)
        return Dictionary(names.map { ($0, open[$0] != nil) }) { first, _ in first }
    }
}

extension Signet_Node_V1alpha1_ProxyConnections {
    /// Most bytes of one answer: half of what an agent takes, which ends the stream of who sends
    /// more.
    package static let bytesMax = 512 * 1024

    /// The first rows that a question and a message have room for.
    package init(_ rows: some Sequence<Signet_Node_V1alpha1_ProxyConnection>, limit: Int) {
        self.init()
        var bytes = 0
        for row in rows {
            let encoded: [UInt8]? = try? row.serializedBytes()
            // Tag and length of the row.
            bytes += (encoded?.count ?? Self.bytesMax) + 8
            guard connections.count < limit, bytes <= Self.bytesMax else {
                truncated = true
                return
            }
            connections.append(row)
        }
    }
}

extension ConnectionStatus {
    fileprivate func message(identity: String) -> Signet_Node_V1alpha1_ProxyConnection {
        .with {
            $0.direction = isInbound ? "inbound" : "outbound"
            $0.listener = listener
            $0.identity = identity
            $0.peer = peer?.description ?? ""
            $0.peerAddress = peerAddress.map { "\($0)" } ?? ""
            $0.protocol = isHTTP ? "http" : "tcp"
            $0.bytesReceived = bytesIn
            $0.bytesSent = bytesOut
            $0.peerNotAfterUnixSeconds =
                peerNotAfter.map { Int64($0.timeIntervalSince1970) } ?? 0
            $0.state = isDownstream ? state.rawValue : "server: \(state.rawValue)"
            $0.ageMilliseconds = ageMilliseconds
            $0.requests = requests
        }
    }
}

extension ProxyCounters {
    /// The wire form: samples by name.
    ///
    /// - Parameter listeners: Whether each listener accepts connections.
    /// - Returns: All samples.
    fileprivate func message(_ listeners: [String: Bool]) -> Signet_Node_V1alpha1_ProxyCounters {
        .with { message in
            message.samples = [
                "accepted": Double(accepted), "bytes_in": Double(bytesIn),
                "bytes_out": Double(bytesOut), "connected": Double(connected),
                "dropped_records": Double(droppedRecords), "handshakes": Double(handshakes),
                "live": Double(live), "long_turns": Double(longTurns), "pooled": Double(pooled),
                "requests": Double(requests), "stale_keys": Double(staleKeys),
                "turned_away": Double(turnedAway), "turns": Double(turns),
            ]
            for (reason, count) in reasons {
                message.samples["reason{\(reason.rawValue)}"] = Double(count)
            }
            for (reason, count) in serverReasons {
                message.samples["server_reason{\(reason.rawValue)}"] = Double(count)
            }
            for (label, count) in handshakeFailures {
                message.samples["handshake_failure{\(label)}"] = Double(count)
            }
            for (name, isOpen) in listeners {
                message.samples["listener_open{\(name)}"] = isOpen ? 1 : 0
            }
        }
    }
}
