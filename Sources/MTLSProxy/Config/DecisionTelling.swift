// SPDX-License-Identifier: Apache-2.0

internal import Authorization
package import ControlAPIProtos
internal import SPIFFE
internal import SwiftProtobuf
internal import Synchronization
package import Telemetry

/// Which decisions the decision log is told of, and in which messages
/// (docs/decisions/0011-decision-log.md).
///
/// What is too much is dropped and counted; the counts of all decisions go their own way.
package final class DecisionTelling: Sendable {
    /// Most denials of one policy, rule and peer in a second.
    package static let denialsPerCauseMax = 100
    /// Most denials in a second: what an agent takes with some hundred bytes each.
    package static let denialsMax = 1_000
    /// Most samples in a second: of 200,000 requests.
    static let samplesMax = 200
    /// Most nearest misses looked for in a second: each judges all rules again.
    static let nearestMissesMax = 10
    /// Largest message in bytes, about: a quarter of what an agent takes, which ends the stream of
    /// who sends more.
    package static let messageBytesMax = 256 * 1024
    /// Most counts of one message, as many as one record of the decision log has.
    package static let countsMax = 1_000

    /// What denials have in common that share a limit.
    private struct Cause: Hashable {
        let listener: String
        let outcome: Decision.Outcome
        let peer: SPIFFEID?
    }

    private struct Second {
        var number: Int64 = -1
        var denials = 0
        var samples = 0
        var nearestMisses = 0
        var causes: [Cause: Int] = [:]

        mutating func takesDenial(_ record: ProxyRecord, _ decision: Decision) -> Bool {
            let cause = Cause(
                listener: record.listener,
                outcome: decision.enforced,
                peer: record.peer
            )
            let count = causes[cause, default: 0]
            guard denials < DecisionTelling.denialsMax,
                count < DecisionTelling.denialsPerCauseMax
            else { return false }
            denials += 1
            causes[cause] = count + 1
            return true
        }

        mutating func takesSample() -> Bool {
            guard samples < DecisionTelling.samplesMax else { return false }
            samples += 1
            return true
        }

        mutating func takesNearestMiss(of decision: Decision) -> Bool {
            guard decision.enforced.reason == .noMatch,
                nearestMisses < DecisionTelling.nearestMissesMax
            else { return false }
            nearestMisses += 1
            return true
        }
    }

    private let memory: DecisionMemory
    private let metrics: MetricRegistry
    private let second = Mutex(Second())

    /// - Parameters:
    ///   - memory: Knows the names that a decision's numbers stand for.
    ///   - metrics: Of the proxy.
    package init(memory: DecisionMemory, metrics: MetricRegistry) {
        self.memory = memory
        self.metrics = metrics
    }

    /// What the agent is told of some records.
    ///
    /// - Parameters:
    ///   - records: Of the engine; what is not for the decision log is passed over.
    ///   - lost: Records for the decision log that were dropped before.
    ///   - now: Time since boot; limits are counted in whole seconds of it.
    /// - Returns: Messages of at most about `messageBytesMax` bytes.
    package func messages(
        of records: [ProxyRecord],
        lost: UInt64,
        now: Duration
    ) -> [Signet_Proxy_V1alpha1_TrafficRecords] {
        var builder = MessageBuilder()
        var limited = 0
        var forgotten = 0
        for record in records where record.isForDecisionLog {
            guard let decision = record.decision else { continue }
            let (isTold, looks) = takes(record, decision, second: now.components.seconds)
            guard isTold else {
                limited += 1
                continue
            }
            guard let message = memory.logged(record, nearestMiss: looks) else {
                forgotten += 1
                continue
            }
            builder.add(message)
            metrics.increment(.proxyDecisionRecords, decision.isAllowed ? "sample" : "denial")
        }
        count("queue", Int(clamping: lost))
        count("limit", limited)
        count("forgotten", forgotten)
        return builder.finish(dropped: lost + UInt64(limited + forgotten))
    }

    /// Whether a decision is told, and whether its nearest miss is looked for.
    private func takes(
        _ record: ProxyRecord,
        _ decision: Decision,
        second number: Int64
    ) -> (isTold: Bool, looks: Bool) {
        second.withLock { second in
            if second.number != number {
                second = Second()
                second.number = number
            }
            let isTold =
                decision.isAllowed ? second.takesSample() : second.takesDenial(record, decision)
            return (isTold, isTold && second.takesNearestMiss(of: decision))
        }
    }

    /// Splits counts into messages.
    package static func messages(
        of counts: [Signet_Proxy_V1alpha1_DecisionCount]
    ) -> [Signet_Proxy_V1alpha1_TrafficRecords] {
        var messages: [Signet_Proxy_V1alpha1_TrafficRecords] = []
        var (rows, bytes): ([Signet_Proxy_V1alpha1_DecisionCount], Int) = ([], 0)
        for count in counts {
            let size = count.sizeBytes
            if !rows.isEmpty, bytes + size > messageBytesMax || rows.count >= countsMax {
                messages.append(.with { $0.counts = rows })
                (rows, bytes) = ([], 0)
            }
            rows.append(count)
            bytes += size
        }
        if !rows.isEmpty { messages.append(.with { $0.counts = rows }) }
        return messages
    }

    /// A message found no room on its way to the agent.
    func refused(_ message: Signet_Proxy_V1alpha1_TrafficRecords) {
        count("link", message.denials.count + message.samples.count)
    }

    private func count(_ reason: String, _ number: Int) {
        if number > 0 { metrics.increment(.proxyDecisionRecordsLost, by: number, reason) }
    }
}

/// Gathers decisions into messages that are not too large.
private struct MessageBuilder {
    private var messages: [Signet_Proxy_V1alpha1_TrafficRecords] = []
    private var message = Signet_Proxy_V1alpha1_TrafficRecords()
    private var bytes = 0

    mutating func add(_ decision: Signet_Node_V1alpha1_DecisionExplanation) {
        let size = decision.sizeBytes
        if bytes > 0, bytes + size > DecisionTelling.messageBytesMax {
            messages.append(message)
            (message, bytes) = (.init(), 0)
        }
        bytes += size
        if decision.allowed {
            message.samples.append(decision)
        } else {
            message.denials.append(decision)
        }
    }

    /// All messages; the last one tells what was dropped.
    mutating func finish(dropped: UInt64) -> [Signet_Proxy_V1alpha1_TrafficRecords] {
        message.dropped = dropped
        if bytes > 0 || dropped > 0 { messages.append(message) }
        return messages
    }
}

extension Signet_Node_V1alpha1_DecisionExplanation {
    /// Bytes of the fields that have no fixed length, and as many as the others take at most.
    fileprivate var sizeBytes: Int {
        let texts = [
            id, policyNamespace, policy, reason, listener, identity, peer, peerAddress, method,
            path, shadowPolicy, nearestMiss,
        ]
        return texts.reduce(128) { $0 + $1.utf8.count }
    }
}

extension Signet_Proxy_V1alpha1_DecisionCount {
    /// As of a decision.
    fileprivate var sizeBytes: Int {
        [listener, identity, peer, policyNamespace, policy].reduce(64) { $0 + $1.utf8.count }
    }
}
