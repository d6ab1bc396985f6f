// SPDX-License-Identifier: Apache-2.0

internal import Authorization
package import Clocks
internal import ControlAPIProtos
internal import FoundationEssentials
internal import HTTPSemantics
internal import Reactor
internal import SPIFFE
internal import SwiftProtobuf
internal import Synchronization
package import Telemetry

/// Takes from the engine what happened, and tells the log, the metrics, the agent and whoever asks
/// for a decision; never on a loop, and nobody waits for it.
package struct TrafficReporter: Sendable {
    /// How often records are taken at the least; a worker that has many calls before.
    static let recordsInterval: Duration = .seconds(1)
    /// How often counts are taken and told to the agent.
    static let countsInterval: Duration = .seconds(10)

    private let engine: ProxyEngine
    private let stalenessMax: Duration?
    private let control: EngineControl
    private let link: AgentLink
    private let decisions: DecisionMemory
    private let telling: DecisionTelling
    private let clock: any NodeClock
    private let accessLog: AccessLog?
    private let metrics: MetricRegistry
    /// Whoever asks for a decision finds all that was taken before.
    private let turn = Turn()

    /// A reporter that has not begun.
    ///
    /// - Parameters:
    ///   - engine: What is asked.
    ///   - control: What knows names and is told of the agent's silence.
    ///   - link: Where the agent is told.
    ///   - decisions: What remembers denials.
    ///   - stalenessMax: Without word of the agent for so long the control is suspended; nil: never.
    ///   - clock: Both clocks.
    ///   - accessLog: What is told of each record; nil: nothing.
    ///   - metrics: Of the proxy.
    package init(
        engine: ProxyEngine,
        control: EngineControl,
        link: AgentLink,
        decisions: DecisionMemory,
        stalenessMax: Duration?,
        clock: any NodeClock,
        accessLog: AccessLog?,
        metrics: MetricRegistry
    ) {
        self.engine = engine
        self.control = control
        self.stalenessMax = stalenessMax
        self.link = link
        self.decisions = decisions
        telling = DecisionTelling(memory: decisions, metrics: metrics)
        self.clock = clock
        self.accessLog = accessLog
        self.metrics = metrics
    }

    /// Reports until cancelled, and then once more: whoever cancels it when the engine has ended
    /// loses nothing.
    package func run() async {
        control.gatherBeforeDecisions { tellRecords() }
        await withTaskGroup(of: Void.self) { group in
            group.addTask {
                for await _ in engine.recordsWaiting { tellRecords() }
            }
            group.addTask { await runEverySecond() }
            await group.next()
            group.cancelAll()
        }
    }

    private func runEverySecond() async {
        var told = ProxyCounters()
        var countsAt = clock.bootTime + Self.countsInterval
        while !Task.isCancelled {
            try? await clock.sleep(untilBoot: clock.bootTime + Self.recordsInterval)
            await control.expire()
            if let stalenessMax, let silence = link.silence {
                await control.suspend(silence > stalenessMax)
            }
            tellRecords()
            guard clock.bootTime >= countsAt else { continue }
            countsAt = clock.bootTime + Self.countsInterval
            told = await tellCounts(since: told)
        }
        tellRecords()
        _ = await tellCounts(since: told)
    }

    // MARK: - Records

    private func tellRecords() {
        turn.take { takeAndTell() }
    }

    private func takeAndTell() {
        let taken = engine.takeRecords()
        decisions.add(taken.records)
        let dropped = Int(clamping: taken.accessDropped) + (accessLog?.tell(taken.records) ?? 0)
        if dropped > 0 { metrics.increment(.proxyAccessLogDropped, by: dropped) }
        let messages = telling.messages(
            of: taken.records,
            lost: taken.dropped,
            now: clock.bootTime
        )
        for message in messages where !link.record(message) { telling.refused(message) }
    }

    // MARK: - Counts

    private func tellCounts(since told: ProxyCounters) async -> ProxyCounters {
        let counters = await withCheckedContinuation { done in
            engine.counters(handsOver: true) { done.resume(returning: $0) }
        }
        tell(counters, since: told)
        return counters
    }

    private func tell(_ new: ProxyCounters, since old: ProxyCounters) {
        metrics.set(.proxyConnectionsLive, to: Double(new.live))
        metrics.increment(.proxyLongTurns, by: new.longTurns.growth(since: old.longTurns))
        metrics.increment(.proxyStaleKeys, by: new.staleKeys.growth(since: old.staleKeys))
        metrics.increment(.proxyUncounted, by: new.aggregatesLost.growth(since: old.aggregatesLost))
        for (reason, count) in new.reasons {
            let more = count.growth(since: old.reasons[reason] ?? 0)
            if more > 0 { metrics.increment(.proxyEnds, by: more, reason.rawValue) }
        }
        for (reason, count) in new.serverReasons {
            let more = count.growth(since: old.serverReasons[reason] ?? 0)
            if more > 0 { metrics.increment(.proxyServerEnds, by: more, reason.rawValue) }
        }
        for (label, count) in new.handshakeFailures {
            let more = count.growth(since: old.handshakeFailures[label] ?? 0)
            if more > 0 { metrics.increment(.proxyHandshakeFailures, by: more, label) }
        }
        var counts: [Signet_Proxy_V1alpha1_DecisionCount] = []
        for (aggregate, more) in new.aggregates {
            tellIstio(aggregate, more)
            // Streams are decided when they begin; of those that were not let in only the end is
            // counted.
            guard let decision = aggregate.decision,
                aggregate.kind != .streamEnd || !decision.isAllowed
            else { continue }
            if decision.differsInShadow { tellShadow(decision, aggregate, more.count) }
            let own = control.identity(ofListener: aggregate.listener)
            counts.append(
                .with {
                    $0.listener = aggregate.listener
                    $0.identity = own
                    $0.peer = aggregate.peer?.description ?? ""
                    $0.allowed = decision.isAllowed
                    let cause = control.cause(
                        of: decision.enforced,
                        listener: aggregate.listener,
                        revision: aggregate.revision
                    )
                    $0.policyNamespace = cause?.namespace ?? ""
                    $0.policy = cause?.policy ?? ""
                    $0.rule = cause.map { Int32(clamping: $0.rule) } ?? -1
                    $0.count = more.count
                }
            )
        }
        for message in DecisionTelling.messages(of: counts) { link.record(message) }
    }

    /// Counts what policies in shadow would have decided otherwise.
    private func tellShadow(_ decision: Decision, _ aggregate: RequestAggregate, _ number: UInt64) {
        let cause = control.cause(
            of: decision.shadow,
            listener: aggregate.listener,
            revision: aggregate.revision
        )
        metrics.increment(
            .proxyShadowDifferences,
            by: Int(clamping: number),
            decision.shadow.isAllowed ? "allowed" : "denied",
            cause.map { "\($0.namespace)/\($0.policy)" } ?? "none"
        )
    }

    /// Counts with the names and labels of Istio.
    ///
    /// Who answers is only ever one whom the Service's document expects; beyond
    /// `MetricRegistry.seriesMax` combinations the registry counts everybody together.
    private func tellIstio(_ aggregate: RequestAggregate, _ sum: RequestSum) {
        let place = control.place(ofListener: aggregate.listener)
        let isInbound = place?.isInbound ?? (aggregate.decision != nil)
        let own = place?.identity.description ?? "unknown"
        let peer = aggregate.peer?.description ?? "unknown"
        let answering = aggregate.server?.description ?? "unknown"
        let (reporter, source, destination, service, security) =
            isInbound
            ? ("destination", peer, own, "unknown", "mutual_tls")
            : ("source", own, answering, place?.service ?? "unknown", "unknown")
        let flags = aggregate.reason.flags
        // "namespace/name"; neither holds a slash.
        let words = service.split(separator: "/", maxSplits: 1).map(String.init)
        let (namespace, name) =
            words.count == 2 ? (words[0], words[1]) : ("unknown", "unknown")
        let who = [reporter, source, destination, service, name, namespace]
        func add(_ metric: Metric, _ number: UInt64) {
            metrics.increment(
                metric,
                by: Int(clamping: number),
                labels: who + ["tcp", flags, security]
            )
        }
        switch aggregate.kind {
        case .streamBegin: add(.tcpConnectionsOpened, sum.count)
        case .streamEnd:
            add(.tcpConnectionsClosed, sum.count)
            add(.tcpReceivedBytes, sum.bytesIn)
            add(.tcpSentBytes, sum.bytesOut)
        case .request:
            tellRequests(sum, who + ["http", "\(aggregate.status)", flags, security])
        }
    }

    private func tellRequests(_ sum: RequestSum, _ labels: [String]) {
        metrics.increment(.requests, by: Int(clamping: sum.count), labels: labels)
        metrics.merge(
            .requestDuration,
            sum.durations.indices.map { sum.durations[$0] },
            sum: Double(sum.milliseconds),
            labels: labels
        )
        for (metric, sizes, bytes) in [
            (Metric.requestBytes, sum.sizesIn, sum.bytesIn),
            (Metric.responseBytes, sum.sizesOut, sum.bytesOut),
        ] {
            metrics.merge(
                metric,
                sizes.indices.map { sizes[$0] },
                sum: Double(bytes),
                labels: labels
            )
        }
    }
}

/// Lets one after the other.
private final class Turn: Sendable {
    private let mutex = Mutex(())

    func take(_ body: () -> Void) { mutex.withLock { _ in body() } }
}

extension UInt64 {
    /// How much a counter has grown; 0 if it is smaller, because a loop that takes no messages gave
    /// none of its numbers.
    fileprivate func growth(since earlier: Self) -> Int {
        self > earlier ? Int(clamping: self - earlier) : 0
    }
}

extension ProxyReason {
    /// Envoy's letters for it, which people search logs for; `-` when it has none.
    var flags: String {
        switch self {
        case .none, .deniedLater, .denied, .revoked, .clientOwner, .handshake, .aged: "-"
        case .answerRefused: "UPE"
        case .clientEnded: "DC"
        case .draining: "LR"
        case .forwardOwner, .serverUnreachable, .serverUntrusted: "UF"
        case .overloaded: "OM"
        case .requestRefused: "DPE"
        case .serverEnded: "UC"
        case .serverMissing: "UH"
        case .timedOut: "UT"
        }
    }
}
