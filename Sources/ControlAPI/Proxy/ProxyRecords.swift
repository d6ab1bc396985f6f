// SPDX-License-Identifier: Apache-2.0

package import ControlAPIProtos

/// What a proxy says happened, brought to what is counted here; what is too much is dropped and
/// counted, never waited for.
package enum ProxyRecords {
    /// Most counts taken from one message: rules and peers of the busiest ten seconds.
    package static let countsMax = 2_000
    /// Most denials taken from one message: 100 a second for ten rules and peers.
    package static let denialsMax = 1_000

    /// How decisions are told apart.
    package struct Key: Hashable, Sendable {
        package let isAllowed: Bool
        /// `namespace/name`; `none` if no policy decided.
        package let policy: String

        package init(isAllowed: Bool, policy: String) {
            self.isAllowed = isAllowed
            self.policy = policy
        }
    }

    /// What one message came to.
    package struct Counted: Equatable, Sendable {
        package var decisions: [Key: Int] = [:]
        /// Records that were lost since the last message, there or here.
        package var dropped = 0
    }

    /// Most of one number that is believed: sums stay exact in a metric.
    private static let countMax: UInt64 = 1 << 40
    /// Longest name of a policy: `namespace/name`.
    private static let nameBytesMax = 320

    /// Counts one message.
    package static func counted(
        _ message: Signet_Proxy_V1alpha1_TrafficRecords
    ) -> Counted {
        var result = Counted()
        for record in message.counts.prefix(Self.countsMax) {
            var policy = "none"
            if !record.policy.isEmpty {
                policy = "\(record.policyNamespace)/\(record.policy)"
                if policy.utf8.count > Self.nameBytesMax { policy = "other" }
            }
            let key = Key(isAllowed: record.allowed, policy: policy)
            result.decisions[key, default: 0] += Int(min(record.count, Self.countMax))
        }
        result.dropped += max(0, message.counts.count - Self.countsMax)
        result.dropped += max(0, message.denials.count - Self.denialsMax)
        result.dropped += Int(min(message.dropped, Self.countMax))
        return result
    }
}
