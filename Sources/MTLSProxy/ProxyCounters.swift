// SPDX-License-Identifier: Apache-2.0

package import Authorization
package import HTTPSemantics
package import SPIFFE

/// What one loop has counted; plain numbers, summed when somebody asks.
package struct ProxyCounters: Sendable {
    package var turns: UInt64 = 0
    /// Turns that took longer than `Loop.turnMillisecondsMax`.
    package var longTurns: UInt64 = 0
    package var accepted: UInt64 = 0
    package var turnedAway: UInt64 = 0
    package var handshakes: UInt64 = 0
    package var connected: UInt64 = 0
    package var requests: UInt64 = 0
    package var bytesIn: UInt64 = 0
    package var bytesOut: UInt64 = 0
    /// Events for connections that were gone; refused, and harmless.
    package var staleKeys: UInt64 = 0
    package var droppedRecords: UInt64 = 0
    package var live: UInt64 = 0
    package var pooled: UInt64 = 0
    /// Failed handshakes by the words of `TLSFailure.label`.
    package var handshakeFailures: [String: UInt64] = [:]
    /// Ends and refusals by reason.
    package var reasons: [ProxyReason: UInt64] = [:]
    /// Requests by what they have in common.
    package var aggregates: [RequestAggregate: UInt64] = [:]
    /// Requests whose aggregate there was no room for.
    package var aggregatesLost: UInt64 = 0

    /// Most different aggregates of one loop; peers times rules times statuses, for a sidecar.
    package static let aggregatesMax = 4096

    package init() {}

    /// Adds another loop's numbers.
    package mutating func add(_ other: Self) {
        turns += other.turns
        longTurns += other.longTurns
        accepted += other.accepted
        turnedAway += other.turnedAway
        handshakes += other.handshakes
        connected += other.connected
        requests += other.requests
        bytesIn += other.bytesIn
        bytesOut += other.bytesOut
        staleKeys += other.staleKeys
        droppedRecords += other.droppedRecords
        live += other.live
        pooled += other.pooled
        aggregatesLost += other.aggregatesLost
        handshakeFailures.merge(other.handshakeFailures, uniquingKeysWith: +)
        reasons.merge(other.reasons, uniquingKeysWith: +)
        aggregates.merge(other.aggregates, uniquingKeysWith: +)
    }

    mutating func count(_ reason: ProxyReason) {
        if reason != .none { reasons[reason, default: 0] += 1 }
    }

    mutating func count(_ aggregate: RequestAggregate, _ number: UInt64) {
        guard aggregates[aggregate] != nil || aggregates.count < Self.aggregatesMax else {
            aggregatesLost += number
            return
        }
        aggregates[aggregate, default: 0] += number
    }
}

/// What many requests have in common.
package struct RequestAggregate: Hashable, Sendable {
    package var listener: String
    /// nil on outbound listeners.
    package var peer: SPIFFEID?
    package var status: Int
    /// nil on outbound listeners.
    package var decision: Decision?
    /// The revision whose set the decision's numbers belong to.
    package var revision: UInt64
}

/// One live connection, for whoever asks what is going on.
package struct ConnectionStatus: Sendable {
    package var listener: String
    package var isInbound: Bool
    package var isDownstream: Bool
    package var peer: SPIFFEID?
    package var peerAddress: IPAddress?
    package var state: String
    package var ageMilliseconds: UInt64
    package var requests: UInt64
    /// The generation of the snapshot that its TLS context came with.
    package var generation: UInt64
}
