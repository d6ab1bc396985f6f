// SPDX-License-Identifier: Apache-2.0

package import Clocks
package import ControlAPI
package import ControlAPIProtos
internal import FoundationEssentials
internal import GRPCCore
internal import GRPCPeer
package import Logging
internal import NodeSync
internal import SPIFFE
internal import SwiftProtobuf
internal import Synchronization
package import Telemetry

/// The proxy's stream to the agent of its machine: what the agent says is read strictly and handed
/// to the engine, what the engine says goes out; while the agent is away the last state stays.
package final class AgentLink: Sendable {
    /// Ready once a state is in force.
    package static let readyCondition = "configured"
    /// The shortest wait before the agent is tried again: it is on this machine.
    package static let retryDelayMin: Duration = .milliseconds(200)
    /// The longest wait: how late the proxy may notice that its agent is back.
    package static let retryDelayMax: Duration = .seconds(5)
    /// How long the end of the process waits for the agent to take the last records.
    package static let finishTime: Duration = .seconds(1)
    /// Most questions that are answered at a time.
    package static let questionsMax = 8

    /// What a proxy says of itself.
    package struct Introduction: Sendable {
        /// `namespace/name`; empty if the process attests to one Proxy only.
        package var proxy: String
        /// `AttachedProxy.instanceBytes` random bytes; decision IDs begin with them.
        package var instance: [UInt8]
        package var capabilities: [String]

        package init(proxy: String = "", instance: [UInt8], capabilities: [String] = []) {
            self.proxy = proxy
            self.instance = instance
            self.capabilities = capabilities
        }

        /// A new instance of a process.
        package static func random(
            proxy: String,
            using generator: inout some RandomNumberGenerator
        ) -> Introduction {
            let bytes = (0..<AttachedProxy.instanceBytes).map { _ in
                UInt8.random(in: 0...255, using: &generator)
            }
            return Introduction(proxy: proxy, instance: bytes)
        }
    }

    private struct State {
        var gate = ConfigurationGate()
        /// When the agent was last heard, as boot time.
        var contact: Duration?
        /// Counts `trust` messages, so that one which came during `apply` is told again after it.
        var trusts: UInt64 = 0
        var openQuestions = 0
    }

    private let socket: String
    private let introduction: Introduction
    private let engine: any TrafficEngine
    private let clock: any NodeClock
    private let logger: Logger
    private let metrics: MetricRegistry
    private let health: Health
    private let outbox = LinkOutbox()
    /// Signalled when there is nothing left to say.
    private let finished = Signal()
    private let state = Mutex(State())

    /// A link that is not connected yet.
    ///
    /// - Parameters:
    ///   - socket: The agent's `proxy.sock`, absolute.
    ///   - introduction: What the process says of itself.
    ///   - engine: What is told.
    ///   - clock: Boot time for waiting, wall time for people.
    ///   - logger: Where ends of streams and refused states are told.
    ///   - metrics: Of the proxy.
    ///   - health: With `readyCondition`.
    package init(
        socket: String,
        introduction: Introduction,
        engine: any TrafficEngine,
        clock: any NodeClock,
        logger: Logger,
        metrics: MetricRegistry,
        health: Health
    ) {
        self.socket = socket
        self.introduction = introduction
        self.engine = engine
        self.clock = clock
        self.logger = logger
        self.metrics = metrics
        self.health = health
        metrics.set(.agentConnected, to: 0)
    }

    // MARK: - What the engine says

    /// Which inbound listeners accept connections now, all of them.
    package func listening(_ listeners: [ProxyListening]) { outbox.listening(listeners) }

    /// What happened since the last call; dropped and counted if the agent does not take it.
    ///
    /// - Returns: Whether there was room for it.
    @discardableResult
    package func record(_ records: Signet_Proxy_V1alpha1_TrafficRecords) -> Bool {
        outbox.record(records)
    }

    /// The process finishes what it has, and another one may take its place.
    package func drain() { outbox.drain() }

    /// Tells the agent what there is left to tell and ends the stream; `run` then returns.
    ///
    /// Returns when the agent has taken it, after `time` at the latest.
    package func finish(within time: Duration = finishTime) async {
        outbox.finish()
        await withTaskGroup(of: Void.self) { group in
            group.addTask { [self] in await finished.wait() }
            group.addTask { [self] in
                try? await clock.sleep(untilBoot: clock.bootTime + time)
            }
            await group.next()
            group.cancelAll()
        }
        let left = outbox.recordsLeft
        if left > 0 {
            logger.warning("the agent did not take the last records", metadata: ["lost": "\(left)"])
        }
    }

    /// How long the agent was not heard; nil if it never was.
    package var silence: Duration? {
        state.withLock { $0.contact }.map { clock.bootTime - $0 }
    }

    // MARK: - The stream

    /// Keeps the stream open until cancelled or finished.
    package func run() async {
        defer { finished.signal() }
        var backoff = Backoff(delayMin: Self.retryDelayMin, delayMax: Self.retryDelayMax)
        var generator = SystemRandomness()
        var told = ""
        while !Task.isCancelled {
            let before = state.withLock { $0.contact }
            let end = await converse()
            let reason = end.reason
            metrics.set(.agentConnected, to: 0)
            guard !Task.isCancelled, !outbox.isExhausted else { return }
            // An agent that stays away for the same reason is no news.
            logger.log(
                level: reason == told ? .debug : .warning,
                "\(end.headline)",
                metadata: ["reason": "\(reason)"]
            )
            told = reason
            if state.withLock({ $0.gate.revision }) == nil {
                health.unmet(Self.readyCondition, reason: reason)
            }
            if state.withLock({ $0.contact }) != before {
                backoff.succeeded()
                told = ""
            }
            let wait = backoff.failed(using: &generator)
            try? await clock.sleep(untilBoot: clock.bootTime + wait)
        }
    }

    /// Holds one stream to its end.
    ///
    /// - Returns: Why it ended.
    private func converse() async -> StreamEnd {
        state.withLock { $0.gate.streamOpened() }
        outbox.streamOpened()
        do {
            let transport = try PeerClientTransport.unixSocket(path: socket)
            try await withGRPCClient(transport: transport) { client in
                let (states, stateOutlet) = AsyncStream.makeStream(of: Received.self)
                try await withThrowingTaskGroup(of: Bool.self) { group in
                    group.addTask { [self] in
                        defer { stateOutlet.finish() }
                        try await hold(
                            Signet_Proxy_V1alpha1_ProxyControl.Client(wrapping: client),
                            stateOutlet
                        )
                        return true
                    }
                    group.addTask { [self] in
                        for await received in states { try await take(received) }
                        return false
                    }
                    defer { group.cancelAll() }
                    // The states end with the stream, which alone can say why, perhaps after them.
                    while let isStream = try await group.next(), !isStream {}
                }
            }
            return .byAgent
        } catch {
            let end = StreamEnd(error)
            if end.kind == .withdrawn { await withdraw() }
            return end
        }
    }

    /// Nothing is granted any more: what is served ends, and the keys are forgotten.
    private func withdraw() async {
        let nothing: ProxyTrust? = state.withLock { state in
            guard let trust = state.gate.trust, !trust.granted.isEmpty else { return nil }
            state.trusts += 1
            return state.gate.received(
                ProxyTrust(
                    trustDomain: trust.trustDomain,
                    bundles: trust.bundles,
                    revocations: [:],
                    granted: []
                )
            )
        }
        guard let nothing else { return }
        logger.warning("the agent has no Proxy for this process any more: nothing is served")
        await engine.trust(nothing)
    }

    private func hold(
        _ control: Signet_Proxy_V1alpha1_ProxyControl.Client<some ClientTransport>,
        _ states: AsyncStream<Received>.Continuation
    ) async throws {
        var options = CallOptions.defaults
        options.maxResponseMessageBytes = AgentMessageLimits.messageBytesMax
        let (introduction, outbox) = (introduction, outbox)
        try await control.attach(
            metadata: [:],
            options: options,
            requestProducer: { writer in
                try await writer.write(introduction.message)
                while !Task.isCancelled {
                    while let message = outbox.next() { try await writer.write(message) }
                    // The agent then ends the stream, when it has read it to the end.
                    if outbox.isExhausted { return }
                    await outbox.filled.wait()
                }
            },
            onResponse: { [self] response in
                try await withThrowingDiscardingTaskGroup { group in
                    for try await message in response.messages {
                        heard()
                        switch message.message {
                        case .trust(let trust): await take(try ProxyTrust(parsing: trust))
                        case .state(let state):
                            states.yield(try read(state))
                        case .watermark(let mark):
                            let revision = try Revision(parsing: mark.revision)
                            try state.withLock { state throws(ConfigurationGate.Violation) in
                                try state.gate.raised(to: revision)
                            }
                            metrics.set(.stateRevision, to: Double(revision.number))
                        case .endpoints(let message):
                            await engine.endpoints(try proxyEndpoints(parsing: message))
                        case .question(let question):
                            guard enter() else {
                                outbox.answer(question.id, .refusal("busy", "ask again"))
                                continue
                            }
                            group.addTask {
                                await self.answer(question)
                                self.leave()
                            }
                        case nil: throw WireError.missing("message")
                        }
                    }
                }
            }
        )
    }

    private func heard() {
        let now = clock.bootTime
        state.withLock { $0.contact = now }
        metrics.set(.agentConnected, to: 1)
        metrics.set(.agentContactTime, to: clock.wallTime.timeIntervalSince1970)
    }

    // MARK: - What the agent says

    private func take(_ new: ProxyTrust) async {
        let merged = state.withLock { state in
            state.trusts += 1
            return state.gate.received(new)
        }
        await engine.trust(merged)
    }

    /// What of a state waits for its turn.
    private enum Received: Sendable {
        case state(ReceivedState)
        /// The identities of one that was refused; none if they cannot be read either.
        case identities([SPIFFEID: ProxyIdentity?])
    }

    /// Reads a state; one that cannot be read is refused at once.
    private func read(_ message: Signet_Proxy_V1alpha1_State) throws -> Received {
        do throws(WireError) {
            return .state(try ReceivedState(parsing: message))
        } catch {
            try state.withLock { state throws(ConfigurationGate.Violation) in
                try state.gate.refused(message.sequence)
            }
            refuse(message.sequence, error.description)
            return .identities((try? ReceivedState.identities(of: message)) ?? [:])
        }
    }

    private func take(_ received: Received) async throws {
        switch received {
        case .state(let state): try await take(state)
        case .identities(let identities): await renew(with: identities)
        }
    }

    /// Brings newer keys into the state in force.
    private func renew(with identities: [SPIFFEID: ProxyIdentity?]) async {
        let (renewed, trusts) = state.withLock {
            ($0.gate.renewed(with: identities), $0.trusts)
        }
        guard let renewed, await engine.apply(renewed) == nil else { return }
        await applied(renewed, trusts)
    }

    /// A configuration is in force that was made when so many trusts had come.
    private func applied(_ configuration: ProxyConfiguration, _ trusts: UInt64) async {
        let trust = state.withLock { state in
            state.gate.applied(configuration)
            return state.trusts == trusts ? nil : state.gate.trust
        }
        // What came meanwhile holds for this state as well.
        if let trust { await engine.trust(trust) }
    }

    private func take(_ new: ReceivedState) async throws {
        let (verdict, trusts) = try state.withLock { state throws(ConfigurationGate.Violation) in
            (try state.gate.received(new), state.trusts)
        }
        switch verdict {
        case .refuse(let reason):
            refuse(new.sequence, reason)
            await renew(with: new.identities)
        case .apply(let configuration):
            if let reason = await engine.apply(configuration) {
                refuse(new.sequence, reason)
                await renew(with: new.identities)
            } else {
                await applied(configuration, trusts)
                metrics.increment(.statesReceived, "applied")
                metrics.set(.stateRevision, to: Double(configuration.revision.number))
                health.met(Self.readyCondition)
                outbox.answer(new.sequence, refusedReason: "")
            }
        }
    }

    private func refuse(_ sequence: UInt64, _ reason: String) {
        metrics.increment(.statesReceived, "refused")
        logger.error("a state is refused", metadata: ["reason": "\(reason)"])
        outbox.answer(sequence, refusedReason: reason)
    }

    private func enter() -> Bool {
        state.withLock { state in
            guard state.openQuestions < Self.questionsMax else { return false }
            state.openQuestions += 1
            return true
        }
    }

    private func leave() { state.withLock { $0.openQuestions -= 1 } }

    private func answer(_ question: Signet_Proxy_V1alpha1_Question) async {
        guard let query = ProxyQuestion(parsing: question.query) else {
            let message = "this version of the proxy cannot answer that"
            outbox.answer(question.id, .refusal("queryUnknown", message))
            return
        }
        outbox.answer(
            question.id,
            await engine.answer(query, limit: Int(clamping: question.limit))
        )
    }
}

extension Signet_Node_V1alpha1_ProxyQueryReply {
    fileprivate static func refusal(_ code: String, _ message: String) -> Self {
        .with {
            $0.refusal = .with {
                $0.code = code
                $0.message = message
            }
        }
    }
}

extension AgentLink.Introduction {
    fileprivate var message: Signet_Proxy_V1alpha1_ProxyMessage {
        .with {
            $0.hello = .with {
                $0.proxy = proxy
                $0.instance = Data(instance)
                $0.version = SignetVersion.current
                $0.capabilities = capabilities
            }
        }
    }
}
