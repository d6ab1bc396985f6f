// SPDX-License-Identifier: Apache-2.0

internal import ControlAPI
package import ControlAPIProtos
internal import DecisionLog
internal import FoundationEssentials
internal import SwiftProtobuf

/// What of a proxy's word becomes records of the decision log.
///
/// A process is believed about its own traffic alone: Proxy and instance are what the agent knows
/// of it, its identities those that the Proxy names.
package struct DecisionIntake: Sendable {
    /// Most bytes of denials and samples that are taken of one process in a second: what an honest
    /// one tells in its busiest, and a quarter of the queue, so that it leaves room for others.
    package static let bytesPerSecondMax = 1 << 20
    /// Most bytes of counts that are taken of one process in a second beside them: two full
    /// messages, so that a flood of denials takes no count's place.
    package static let countsBytesPerSecondMax = 1 << 19
    /// Most bytes of counts in one record; well below `DecisionSegment.recordBytesMax`.
    private static let countsBytesMax = 128 * 1024
    /// Most of one number of losses that is believed: sums stay exact in a metric.
    private static let lossMax: UInt64 = 1 << 32

    /// What one message came to.
    package struct Judged: Sendable {
        /// Encoded records, by kind.
        package var records: [(kind: Kind, bytes: [UInt8])] = []
        /// What the process itself says that it dropped.
        package var lost = 0
        /// What was more than is taken in a second.
        package var excess = 0
        /// What breaks a rule.
        package var refused = 0
    }

    /// What a record holds.
    package enum Kind: String, Sendable {
        case counts
        case denial
        case sample
    }

    /// What is left of a second.
    private struct Budget {
        private var bytes: Int

        init(_ bytes: Int) { self.bytes = bytes }

        /// Asked before a record is looked at: what has no room costs nothing.
        var isSpent: Bool { bytes <= 0 }

        /// Takes so many bytes; the first record without room ends it.
        mutating func take(_ count: Int) -> Bool {
            guard count <= bytes else {
                bytes = 0
                return false
            }
            bytes -= count
            return true
        }
    }

    private var second: Int64 = -1
    private var decisions = Budget(0)
    private var counts = Budget(0)

    package init() {}

    /// Judges one message.
    ///
    /// - Parameters:
    ///   - message: What the process says.
    ///   - proxy: `namespace/name` of the Proxy that it has.
    ///   - instance: What its hello said.
    ///   - identities: The SPIFFE IDs that the Proxy names.
    ///   - wall: The wall clock, in milliseconds since 1970.
    ///   - boot: Time since boot.
    /// - Returns: What is to be kept, and how much is not.
    package mutating func judge(
        _ message: Signet_Proxy_V1alpha1_TrafficRecords,
        proxy: String,
        instance: [UInt8],
        identities: Set<String>,
        wall: Int64,
        boot: Duration
    ) -> Judged {
        if boot.components.seconds != second {
            second = boot.components.seconds
            decisions = Budget(Self.bytesPerSecondMax)
            counts = Budget(Self.countsBytesPerSecondMax)
        }
        var judged = Judged(lost: Int(min(message.dropped, Self.lossMax)))
        let frame = Signet_Decisions_V1alpha1_SegmentRecord.with {
            $0.proxy = proxy
            $0.instance = Data(instance)
            $0.heardAtUnixMilliseconds = max(0, wall)
        }
        judged.excess += max(0, message.counts.count - ProxyRecords.countsMax)
        for rows in Self.groups(of: message.counts) {
            guard !counts.isSpent else {
                judged.excess += rows.count
                continue
            }
            let known = rows.filter { identities.contains($0.identity) && RecordRules.admits($0) }
            judged.refused += rows.count - known.count
            guard !known.isEmpty else { continue }
            var record = frame
            record.counts = .with { $0.counts = known }
            guard let encoded = DecisionSegment.encoded(record) else {
                judged.refused += known.count
                continue
            }
            guard counts.take(encoded.count) else {
                judged.excess += known.count
                continue
            }
            judged.records.append((.counts, encoded))
        }
        take(message.denials, .denial, frame, identities, into: &judged)
        take(message.samples, .sample, frame, identities, into: &judged)
        return judged
    }

    private mutating func take(
        _ decisions: [Signet_Node_V1alpha1_DecisionExplanation],
        _ kind: Kind,
        _ frame: Signet_Decisions_V1alpha1_SegmentRecord,
        _ identities: Set<String>,
        into judged: inout Judged
    ) {
        judged.excess += max(0, decisions.count - ProxyRecords.denialsMax)
        for decision in decisions.prefix(ProxyRecords.denialsMax) {
            guard !self.decisions.isSpent else {
                judged.excess += 1
                continue
            }
            guard identities.contains(decision.identity),
                decision.allowed == (kind == .sample)
            else {
                judged.refused += 1
                continue
            }
            var record = frame
            record.decision = decision
            // A proxy of the release before tells every rule, and cuts nothing.
            record.decision.rules = []
            record.decision.path = DecisionText.cut(
                decision.path,
                bytesMax: DecisionText.pathBytesMax
            )
            record.decision.nearestMiss = DecisionText.cut(
                decision.nearestMiss,
                bytesMax: DecisionText.nearestMissBytesMax
            )
            guard let encoded = DecisionSegment.encoded(record) else {
                judged.refused += 1
                continue
            }
            guard self.decisions.take(encoded.count) else {
                judged.excess += 1
                continue
            }
            judged.records.append((kind, encoded))
        }
    }

    /// Counts in pieces that a record has room for.
    private static func groups(
        of counts: [Signet_Proxy_V1alpha1_DecisionCount]
    ) -> [[Signet_Proxy_V1alpha1_DecisionCount]] {
        var groups: [[Signet_Proxy_V1alpha1_DecisionCount]] = []
        var (rows, bytes): ([Signet_Proxy_V1alpha1_DecisionCount], Int) = ([], 0)
        for count in counts.prefix(ProxyRecords.countsMax) {
            let size =
                64 + count.identity.utf8.count + count.peer.utf8.count
                + count.listener.utf8.count + count.policyNamespace.utf8.count
                + count.policy.utf8.count
            if !rows.isEmpty, bytes + size > countsBytesMax || rows.count >= RecordRules.countsMax {
                groups.append(rows)
                (rows, bytes) = ([], 0)
            }
            rows.append(count)
            bytes += size
        }
        if !rows.isEmpty { groups.append(rows) }
        return groups
    }
}
