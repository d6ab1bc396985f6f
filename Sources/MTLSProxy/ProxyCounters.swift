// SPDX-License-Identifier: Apache-2.0

package import Authorization
package import FoundationEssentials
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
    /// Records for the decision log or the access log that nobody took in time.
    package var droppedRecords: UInt64 = 0
    package var live: UInt64 = 0
    package var pooled: UInt64 = 0
    /// Failed handshakes by the words of `TLSFailure.label`.
    package var handshakeFailures: [String: UInt64] = [:]
    /// Ends and refusals of requests and of clients' connections, each told once, by reason.
    package var reasons: [ProxyReason: UInt64] = [:]
    /// Ends of connections to servers, attempts that came to nothing included, by reason: one
    /// request may have several, and is counted in `reasons` if it fails itself.
    package var serverReasons: [ProxyReason: UInt64] = [:]
    /// Requests and streams by what they have in common, since they were handed over last.
    package var aggregates: [RequestAggregate: RequestSum] = [:]
    /// Requests and streams whose aggregate there was no room for.
    package var aggregatesLost: UInt64 = 0

    /// Most different aggregates of one loop between two times that they are handed over; peers
    /// times rules times statuses, for a sidecar.
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
        serverReasons.merge(other.serverReasons, uniquingKeysWith: +)
        aggregates.merge(other.aggregates) { $0.adding($1) }
    }

    mutating func count(_ reason: ProxyReason) {
        if reason != .none { reasons[reason, default: 0] += 1 }
    }

    mutating func countServer(_ reason: ProxyReason) {
        if reason != .none { serverReasons[reason, default: 0] += 1 }
    }

    mutating func count(_ aggregate: RequestAggregate, _ sum: RequestSum) {
        guard aggregates[aggregate] != nil || aggregates.count < Self.aggregatesMax else {
            aggregatesLost += sum.count
            return
        }
        aggregates[aggregate, default: RequestSum()].add(sum)
    }
}

/// What many requests have in common.
package struct RequestAggregate: Hashable, Sendable {
    /// What is counted.
    package enum Kind: Hashable, Sendable {
        case request
        case streamBegin
        case streamEnd
    }

    package var kind: Kind
    package var listener: String
    /// nil on outbound listeners.
    package var peer: SPIFFEID?
    /// Who was asked through an outbound listener, as a verified certificate says; nil if nobody
    /// was reached, and on inbound listeners.
    package var server: SPIFFEID?
    package var status: Int
    package var reason: ProxyReason
    /// nil on outbound listeners.
    package var decision: Decision?
    /// The revision whose set the decision's numbers belong to.
    package var revision: UInt64
}

/// Numbers of many requests or streams.
package struct RequestSum: Sendable {
    /// Upper bounds of the durations that are told apart, in milliseconds; the last bucket has none.
    package static let boundsMilliseconds: [UInt64] = [
        1, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000,
    ]

    package internal(set) var count: UInt64 = 0
    /// How many had requests, and answers, of which size: up to 100 bytes, up to ten times as many, and
    /// so on; the last bucket has no bound.
    package private(set) var sizesIn = InlineArray<8, UInt64>(repeating: 0)
    package private(set) var sizesOut = InlineArray<8, UInt64>(repeating: 0)
    /// How many took how long, by `boundsMilliseconds`.
    package private(set) var durations = InlineArray<15, UInt64>(repeating: 0)
    package private(set) var milliseconds: UInt64 = 0
    /// From clients.
    package private(set) var bytesIn: UInt64 = 0
    /// To clients.
    package private(set) var bytesOut: UInt64 = 0

    package init() {}

    mutating func add(milliseconds: UInt64, bytesIn: UInt64, bytesOut: UInt64) {
        var place = 0
        while place < Self.boundsMilliseconds.count, milliseconds > Self.boundsMilliseconds[place] {
            place += 1
        }
        durations[place] &+= 1
        sizesIn[Self.bucket(of: bytesIn)] &+= 1
        sizesOut[Self.bucket(of: bytesOut)] &+= 1
        count &+= 1
        self.milliseconds &+= milliseconds
        self.bytesIn &+= bytesIn
        self.bytesOut &+= bytesOut
    }

    /// Powers of ten, so that no array is read for each request.
    private static func bucket(of bytes: UInt64) -> Int {
        var (place, bound) = (0, 100 as UInt64)
        while place < 7, bytes > bound {
            place += 1
            bound &*= 10
        }
        return place
    }

    mutating func add(_ other: Self) {
        count &+= other.count
        for place in sizesIn.indices {
            sizesIn[place] &+= other.sizesIn[place]
            sizesOut[place] &+= other.sizesOut[place]
        }
        for place in durations.indices { durations[place] &+= other.durations[place] }
        milliseconds &+= other.milliseconds
        bytesIn &+= other.bytesIn
        bytesOut &+= other.bytesOut
    }

    func adding(_ other: Self) -> Self {
        var result = self
        result.add(other)
        return result
    }
}

/// One live connection, for whoever asks what is going on.
package struct ConnectionStatus: Sendable {
    package var listener: String
    package var isInbound: Bool
    package var isDownstream: Bool
    package var isHTTP: Bool
    package var peer: SPIFFEID?
    /// The end of the peer's certificate.
    package var peerNotAfter: Date?
    package var peerAddress: IPAddress?
    package var state: ConnectionState
    package var ageMilliseconds: UInt64
    /// Requests that came on it, or that a server was sent on it, the one at hand included.
    package var requests: UInt64
    /// From and to the peer, of requests as the client's side counts them, the one at hand included.
    package var bytesIn: UInt64
    package var bytesOut: UInt64
    /// The generation of the snapshot that its TLS context came with.
    package var generation: UInt64
}

/// What a live connection does: a closed set, whose words docs/command-line.md explains.
package enum ConnectionState: String, CaseIterable, Sendable {
    /// A request has been passed on, and its answer has not begun.
    case answer
    /// The connection to a server is being made.
    case connect
    /// The TLS handshake is under way.
    case handshake
    /// The head of a request has begun and is not whole.
    case head
    /// A client asks for nothing: it has just come, or is between two requests.
    case idle
    /// A client was told that this was the last answer, and has not ended its side.
    case linger
    /// A server's connection is kept for the next request.
    case pooled
    /// A request's body or its answer is being passed on.
    case request
    /// Bytes go both ways: TCP, or what an HTTP connection was upgraded to.
    case stream
}
