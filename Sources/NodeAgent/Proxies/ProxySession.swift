// SPDX-License-Identifier: Apache-2.0

internal import Clocks
internal import ControlAPI
internal import ControlAPIProtos
internal import FoundationEssentials
internal import GRPCPeer
internal import Logging
internal import NodeSync
internal import SPIFFE
internal import SwiftProtobuf
internal import Synchronization
internal import Telemetry

/// One proxy's stream: the shell around `ProxyAttachment`.
///
/// What is to be said has one place of each kind, so that a process that does not read takes no
/// memory: newer trust and watermarks replace older ones, and there is one unanswered state.
final class ProxySession: Sendable {
    /// Most questions that one process is asked at a time; the server asks few, for people.
    static let questionsMax = 8

    private struct State {
        var machine: ProxyAttachment
        var hello: ProxyHello?
        var id: SubscriberID?
        var trust: ProxyView.Trust?
        /// What the newest trust grants.
        var granted: Set<SPIFFEID> = []
        var offer: (sequence: UInt64, offer: ProxyOffer)?
        var watermark: Revision?
        var isWordDue = false
        var endpoints: [ObservedEndpoints]?
        var questions: [Signet_Proxy_V1alpha1_Question] = []
        var lastQuestion: UInt64 = 0
        var intake = DecisionIntake()
        var asked: [UInt64: AsyncStream<Signet_Node_V1alpha1_ProxyQueryReply>.Continuation] = [:]
    }

    let stream = WorkloadStream()
    private let core: AgentCore
    let peer: LocalPeer
    private let timer: DeadlineTimer
    private let greeted = Signal()
    private let state: Mutex<State>

    init(core: AgentCore, peer: LocalPeer) {
        self.core = core
        self.peer = peer
        timer = DeadlineTimer(clock: core.clock)
        let machine = ProxyAttachment(now: core.clock.bootTime)
        timer.schedule(at: machine.firstDeadline)
        state = Mutex(State(machine: machine))
    }

    /// Whether the process is there and runs what it ran when it connected.
    var isThere: Bool {
        if case .file(let file) = peer.executable { return peer.stillRuns(file) }
        return peer.isAlive()
    }

    /// Waits for the first message; nil if the stream ended before.
    func hello() async -> ProxyHello? {
        await greeted.wait()
        return state.withLock { $0.hello }
    }

    /// The process has its Proxy from here on.
    ///
    /// What it said before, for example that it drains, counts from here on.
    func attached(as id: SubscriberID) {
        let (standing, isDraining) = state.withLock { state in
            state.id = id
            return (state.machine.standing, state.machine.isDraining)
        }
        core.proxies.changed(id, standing, isDraining: isDraining)
    }

    /// Ends the stream when something is overdue, until cancelled.
    func watch() async throws {
        try await timer.run {
            try self.tell { $0.timerFired(now: $1) }
            self.stream.wake()
        }
    }

    // MARK: - What the process says

    func received(_ message: Signet_Proxy_V1alpha1_ProxyMessage) throws {
        switch message.message {
        case .hello(let message):
            let hello = try ProxyHello(parsing: message)
            try tell { machine, _ in machine.received(hello: hello) }
            state.withLock { $0.hello = hello }
            greeted.signal()
        case .answer(let answer):
            core.metrics.increment(
                .proxyStates,
                answer.refusedReason.isEmpty ? "applied" : "refused"
            )
            if !answer.refusedReason.isEmpty { log(refused: answer.refusedReason) }
            try tell {
                $0.answered(answer.sequence, refusedReason: answer.refusedReason, now: $1)
            }
            stream.wake()
        case .listening(let message):
            let list = try ProxyListening.list(parsing: message.listeners, "listening.listeners")
            try tell { machine, _ in machine.received(listening: list) }
        case .draining: try tell { machine, _ in machine.drains() }
        case .records(let records):
            try tell { machine, _ in machine.receivedOther() }
            count(records)
        case .queryAnswer(let answer):
            try tell { machine, _ in machine.receivedOther() }
            guard answer.hasReply else { throw WireError.missing("query_answer.reply") }
            let asker = state.withLock { $0.asked.removeValue(forKey: answer.id) }
            asker?.yield(answer.reply)
            asker?.finish()
        case nil: throw WireError.missing("message")
        }
    }

    /// Nothing of a process counts that has no Proxy.
    private func count(_ message: Signet_Proxy_V1alpha1_TrafficRecords) {
        guard let id = state.withLock({ $0.id }) else { return core.decisions.refuse(message) }
        keep(message, of: id)
        let counted = ProxyRecords.counted(message)
        for (key, count) in counted.decisions {
            core.metrics.increment(
                .proxyDecisions,
                by: count,
                key.isAllowed ? "allowed" : "denied",
                key.policy
            )
        }
        if counted.dropped > 0 {
            core.metrics.increment(.proxyRecordsDropped, by: counted.dropped)
        }
    }

    /// Gives the decision log what may be believed.
    private func keep(_ message: Signet_Proxy_V1alpha1_TrafficRecords, of id: SubscriberID) {
        guard let process = core.proxies.process(id) else {
            return core.decisions.refuse(message)
        }
        let named = core.ask { $0.proxyIdentities[process.proxy] } ?? []
        let identities = Set(named.map(\.description))
        let wall = Int64(core.clock.wallTime.timeIntervalSince1970 * 1000)
        let boot = core.clock.bootTime
        let judged = state.withLock { state in
            state.intake.judge(
                message,
                proxy: process.proxy,
                instance: process.hello.instance,
                identities: identities,
                wall: wall,
                boot: boot
            )
        }
        core.decisions.offer(judged)
    }

    private func log(refused reason: String) {
        core.logger.error(
            "a proxy refuses its state",
            metadata: ["peer": "\(peer)", "reason": "\(AttachedProxy.cut(reason))"]
        )
    }

    // MARK: - What the process is told

    /// There may be something new to say.
    func offer(_ offer: ProxyOffer) throws { try tell { $0.offered(offer, now: $1) } }

    /// The next message, most urgent first; nil if there is nothing to say.
    func next() -> Signet_Proxy_V1alpha1_AgentMessage? {
        state.withLock { state in
            if let trust = state.trust {
                state.trust = nil
                let capabilities = state.hello?.capabilities ?? []
                return .with { $0.trust = trust.message(core.trustDomain, for: capabilities) }
            }
            // Before the state that opens the listeners which need them.
            if let endpoints = state.endpoints {
                state.endpoints = nil
                return .with { $0.endpoints = .with { $0.ports = endpoints.map(\.message) } }
            }
            if let (sequence, offer) = state.offer {
                state.offer = nil
                // It may have waited: a key that was taken away meanwhile is not given any more.
                return .with { $0.state = offer.message(sequence, granted: state.granted) }
            }
            if let revision = state.watermark {
                state.watermark = nil
                return .with { $0.watermark = .with { $0.revision = revision.message } }
            }
            guard !state.questions.isEmpty else {
                guard state.isWordDue else { return nil }
                state.isWordDue = false
                // It asks nothing, so that a process of any version and in any state may get it.
                return .with { $0.question = .init() }
            }
            let question = state.questions.removeFirst()
            return .with { $0.question = question }
        }
    }

    /// Asks the process something.
    ///
    /// - Returns: Its answer; nil if it did not answer before the task was cancelled, or the stream
    ///   ended.
    /// - Throws: `APIError` (`busy`) if too many questions are open.
    func ask(
        _ query: Signet_Node_V1alpha1_ProxyQuery,
        limit: UInt32
    ) async throws -> Signet_Node_V1alpha1_ProxyQueryReply? {
        let (replies, outlet) = AsyncStream.makeStream(
            of: Signet_Node_V1alpha1_ProxyQueryReply.self
        )
        let id = state.withLock { state -> UInt64? in
            guard state.asked.count < Self.questionsMax else { return nil }
            state.lastQuestion += 1
            let id = state.lastQuestion
            state.asked[id] = outlet
            state.questions.append(
                .with {
                    $0.id = id
                    $0.limit = limit
                    $0.query = query
                }
            )
            return id
        }
        guard let id else {
            throw APIError(.exhausted, "busy", "the proxy answers other questions; ask again")
        }
        defer {
            state.withLock { state in
                state.asked[id] = nil
                state.questions.removeAll { $0.id == id }
            }
        }
        stream.wake()
        for await reply in replies { return reply }
        return nil
    }

    /// The stream has ended: nobody waits for the process any more.
    func ended() {
        stream.end()
        greeted.signal()
        let asked = state.withLock { state in
            defer { state.asked = [:] }
            return Array(state.asked.values)
        }
        for asker in asked { asker.finish() }
    }

    // MARK: - The machine

    private func tell(
        _ event: (inout ProxyAttachment, Duration) -> [ProxyAttachment.Action]
    ) throws {
        let now = core.clock.bootTime
        var violation: ProxyAttachment.Violation?
        let changed = state.withLock { state -> (SubscriberID, ProxyStanding, Bool)? in
            var isReported = false
            for action in event(&state.machine, now) {
                switch action {
                case .end(let reason): violation = reason
                case .report: isReported = true
                case .sendEndpoints(let endpoints): state.endpoints = endpoints
                case .scheduleTimer(let deadline): timer.schedule(at: deadline)
                case .sendState(let sequence, let offer): state.offer = (sequence, offer)
                case .sendTrust(let trust):
                    state.trust = trust
                    state.granted = Set(trust.granted)
                case .sendWatermark(let revision): state.watermark = revision
                case .sendWord: state.isWordDue = true
                }
            }
            guard isReported, let id = state.id else { return nil }
            return (id, state.machine.standing, state.machine.isDraining)
        }
        if let violation {
            if violation == .unanswered { core.metrics.increment(.proxyStates, "unanswered") }
            throw violation
        }
        if let (id, standing, isDraining) = changed {
            core.proxies.changed(id, standing, isDraining: isDraining)
        }
    }
}

extension ProxyAttachment.Violation {
    var error: APIError {
        let message =
            switch self {
            case .answerUnexpected: "the answer is to no state that waits for one"
            case .helloMissing:
                "the first message is a hello, within \(ProxyAttachment.helloTimeout)"
            case .helloRepeated: "a stream has one hello"
            case .unanswered:
                "the state was neither applied nor refused within \(ProxyAttachment.answerTimeout)"
            }
        return APIError(.invalidArgument, rawValue, message)
    }
}
