// SPDX-License-Identifier: Apache-2.0

internal import Synchronization
package import Authorization
package import HTTPSemantics
package import SPIFFE

/// Why a request or a connection came to nothing, or ended before its time: a closed set.
package enum ProxyReason: String, CaseIterable, Sendable {
    /// Nothing is wrong.
    case none
    /// A policy denied it.
    case denied
    /// A policy that came later denies it.
    case deniedLater = "denied_later"
    /// The peer's certificate was revoked, or has ended under a tainted authority, or nobody of its
    /// trust domain is believed any more.
    case revoked
    /// The request cannot be read in one way only.
    case requestRefused = "request_refused"
    /// The answer cannot be read in one way only.
    case answerRefused = "answer_refused"
    /// The server does not accept the connection.
    case serverUnreachable = "server_unreachable"
    /// Nobody is there to be asked.
    case serverMissing = "server_missing"
    /// Who answers is not who may, or does not let us in.
    case serverUntrusted = "server_untrusted"
    /// Who listens at the application's place may not.
    case forwardOwner = "forward_owner"
    /// Who connects to an outbound listener may not.
    case clientOwner = "client_owner"
    /// The handshake failed.
    case handshake
    /// The server ended before its answer was whole.
    case serverEnded = "server_ended"
    /// The client ended before its request or answer was whole.
    case clientEnded = "client_ended"
    /// Too slow, or silent for too long.
    case timedOut = "timed_out"
    /// There are too many connections, or no descriptors.
    case overloaded
    /// The proxy ends, or its listener went.
    case draining
    /// The connection is as old as it may be.
    case aged
}

/// What is told of one request or connection; a plain value, made on the loop.
package struct ProxyRecord: Sendable {
    /// What it is about.
    package enum Kind: String, Sendable {
        case request
        case connection
    }

    package var kind: Kind
    /// Seconds since 1970 when it ended.
    package var time: Double
    /// The listener's name.
    package var listener: String
    package var isInbound: Bool
    /// nil on outbound listeners and before a handshake.
    package var peer: SPIFFEID?
    package var peerAddress: IPAddress?
    /// The user who connected to an outbound listener.
    package var uid: UInt32?
    package var method: HTTPMethod = .other
    /// The method's text if it has no number; empty if it has one, and if there is no request.
    package var ownMethod = ""
    /// The path without the query.
    package var path = ""
    package var status: Int = 0
    package var decisionID: DecisionID?
    /// What was decided, with the revision and the set that its numbers mean something in.
    package var decision: Decision?
    package var revision: UInt64
    package var reason: ProxyReason
    /// More words, of a TLS library or about a chain; never a byte of a header.
    package var detail = ""
    package var milliseconds: UInt64 = 0
    package var bytesIn: UInt64 = 0
    package var bytesOut: UInt64 = 0
    /// Whether the access log is to tell of it.
    package var isForAccessLog = true
    /// Whether it is the one of many allowed ones that the decision log is to have.
    package var isSample = false

    /// The method as the client said it; `-` if its head did not come.
    package var methodName: String { method.name ?? (ownMethod.isEmpty ? "-" : ownMethod) }

    /// Whether the decision log is to have it: a denial, or a sample.
    package var isForDecisionLog: Bool {
        guard let decision, decisionID != nil else { return false }
        return isSample || !decision.isAllowed
    }
}

extension ProxyRecord {
    /// What is told of one decision of an inbound listener, without what the traffic adds.
    ///
    /// - Parameters:
    ///   - decision: Numbers that mean something in the set of that listener and revision.
    ///   - id: Its name.
    ///   - kind: What was decided about.
    ///   - time: Seconds since 1970.
    ///   - listener: The listener's name.
    ///   - peer: nil for one without identity.
    ///   - address: Of the peer.
    ///   - revision: That of the snapshot.
    package init(
        _ decision: Decision,
        id: DecisionID,
        kind: Kind,
        time: Double,
        listener: String,
        peer: SPIFFEID?,
        address: IPAddress,
        revision: UInt64
    ) {
        self.init(
            kind: kind,
            time: time,
            listener: listener,
            isInbound: true,
            peer: peer,
            peerAddress: address,
            decisionID: id,
            decision: decision,
            revision: revision,
            reason: decision.isAllowed ? .none : .denied
        )
    }
}

/// The records of one loop on their way to whoever writes them: bounded, never waited for.
package final class RecordQueue: Sendable {
    /// Most records that wait: a few megabytes, and what a worker makes in a second at most.
    package static let recordsMax = 16_384
    /// Most records that wait when only the access log wants the next one: a log of everything
    /// takes no denial's place.
    package static let accessRecordsMax = 12_288
    /// With so many the reader is called before its time: it has room for the next while it reads.
    static let recordsCalled = 1_024

    /// What a reader takes at a time.
    package struct Taken: Sendable {
        package fileprivate(set) var records: [ProxyRecord] = []
        /// Records for the decision log that were dropped since the last time.
        package fileprivate(set) var dropped: UInt64 = 0
        /// Records for the access log alone that were.
        package fileprivate(set) var accessDropped: UInt64 = 0

        /// Adds what another loop has.
        mutating func add(_ other: Self) {
            records += other.records
            dropped += other.dropped
            accessDropped += other.accessDropped
        }
    }

    private struct State {
        var taken = Taken()
        /// What the loop had counted when it ended.
        var counters = ProxyCounters()
    }

    private let state = Mutex(State())
    private let call: @Sendable () -> Void

    /// An empty one.
    ///
    /// - Parameter call: Tells the reader that there are many; must not wait.
    package init(call: @escaping @Sendable () -> Void = {}) {
        self.call = call
    }

    /// Adds what a loop has gathered in a turn, and drops and counts what is too much.
    ///
    /// - Returns: How many were dropped.
    package func add(_ records: inout [ProxyRecord]) -> UInt64 {
        defer { records.removeAll(keepingCapacity: true) }
        let (dropped, isMany) = state.withLock { state in
            var dropped: UInt64 = 0
            let before = state.taken.records.count
            for record in records {
                let isDecision = record.isForDecisionLog
                let room = isDecision ? Self.recordsMax : Self.accessRecordsMax
                if state.taken.records.count < room {
                    state.taken.records.append(record)
                } else {
                    dropped += 1
                    if isDecision {
                        state.taken.dropped += 1
                    } else {
                        state.taken.accessDropped += 1
                    }
                }
            }
            let after = state.taken.records.count
            return (dropped, before < Self.recordsCalled && after >= Self.recordsCalled)
        }
        if isMany { call() }
        return dropped
    }

    /// Keeps what a loop has counted, which ends.
    func end(_ counters: ProxyCounters) { state.withLock { $0.counters = counters } }

    /// What the loop had counted when it ended; zeros before.
    func lastCounters(handsOver: Bool) -> ProxyCounters {
        state.withLock { state in
            defer { if handsOver { state.counters.aggregates = [:] } }
            return state.counters
        }
    }

    /// Takes all records, and how many were dropped since the last time.
    package func take() -> Taken {
        state.withLock { state in
            let taken = state.taken
            state.taken = Taken()
            return taken
        }
    }
}
