// SPDX-License-Identifier: Apache-2.0

internal import Authorization
internal import ContainersPreview
internal import HTTPCodec
internal import HTTPSemantics
internal import Reactor

/// What is counted of requests and streams, and what is told of live connections.
extension Loop {
    /// Counts a request; requests in a row that have everything in common are one entry.
    mutating func count(_ connection: inout Connection, _ reason: ProxyReason) {
        let isSame =
            connection.exchange.sum.count > 0
            && connection.exchange.lastStatus == connection.exchange.status
            && connection.exchange.lastReason == reason
            && connection.exchange.lastDecision == connection.exchange.decision
            && connection.exchange.lastRevision == connection.exchange.revision
            && connection.exchange.lastServer == connection.exchange.server
        if !isSame { flushRun(&connection) }
        connection.exchange.lastStatus = connection.exchange.status
        connection.exchange.lastReason = reason
        connection.exchange.lastDecision = connection.exchange.decision
        connection.exchange.lastRevision = connection.exchange.revision
        connection.exchange.lastServer = connection.exchange.server
        connection.exchange.earlierIn &+= connection.exchange.bytesIn
        connection.exchange.earlierOut &+= connection.exchange.bytesOut
        connection.exchange.sum.add(
            milliseconds: now &- connection.exchange.started,
            bytesIn: connection.exchange.bytesIn,
            bytesOut: connection.exchange.bytesOut
        )
    }

    mutating func flushRun(_ connection: inout Connection) {
        guard connection.exchange.sum.count > 0 else { return }
        let listener = listening[connection.place]
        let isDecided = connection.exchange.lastDecision != nil
        counters.count(
            RequestAggregate(
                kind: connection.isHTTP ? .request : .streamEnd,
                listener: isDecided
                    ? listener.name(under: connection.exchange.lastRevision) : listener.name,
                peer: connection.peer?.id,
                server: listener.server(connection.exchange.lastServer),
                status: connection.exchange.lastStatus,
                reason: connection.exchange.lastReason,
                decision: connection.exchange.lastDecision,
                revision: connection.exchange.lastRevision
            ),
            connection.exchange.sum
        )
        connection.exchange.sum = RequestSum()
    }

    /// Counts a stream that begins, once.
    mutating func countStream(_ connection: inout Connection) {
        guard !connection.exchange.isBegun else { return }
        connection.exchange.isBegun = true
        let listener = listening[connection.place]
        var one = RequestSum()
        one.count = 1
        counters.count(
            RequestAggregate(
                kind: .streamBegin,
                listener: listener.name,
                peer: connection.peer?.id,
                server: listener.server(connection.exchange.server),
                status: 0,
                reason: .none,
                decision: connection.exchange.decision,
                revision: connection.exchange.revision
            ),
            one
        )
    }

    /// What there is to count, with what connections have not handed over yet.
    mutating func currentCounters(handsOver: Bool) -> ProxyCounters {
        for index in 0..<slab.slotCount {
            guard let key = slab.key(at: index), var held = slab.checkOut(key) else { continue }
            flushRun(&held.value)
            slab.checkIn(key, held)
        }
        var result = counters
        result.live = UInt64(slab.live)
        if handsOver { counters.aggregates = [:] }
        return result
    }

    /// What is going on, for at most so many connections.
    func connectionStatus(limit: Int) -> [ConnectionStatus] {
        var result: [ConnectionStatus] = []
        for index in 0..<slab.slotCount where result.count < limit {
            guard let key = slab.key(at: index),
                let status = slab.look(at: key, { status(of: $0) })
            else { continue }
            result.append(status)
        }
        return result
    }

    private func status(of connection: borrowing Connection) -> ConnectionStatus {
        let listener = listening[connection.place]
        let sums = sums(of: connection)
        return ConnectionStatus(
            listener: listener.name,
            isInbound: listener.isInbound,
            isDownstream: connection.isDownstream,
            isHTTP: connection.isHTTP,
            peer: connection.peer?.id,
            peerNotAfter: connection.peer?.notAfter,
            peerAddress: connection.peerAddress,
            state: connection.state,
            ageMilliseconds: now &- connection.since,
            requests: sums.requests,
            bytesIn: sums.bytesIn,
            bytesOut: sums.bytesOut,
            generation: connection.generation
        )
    }

    /// What a connection has carried, what is under way included.
    private func sums(
        of connection: borrowing Connection
    ) -> (requests: UInt64, bytesIn: UInt64, bytesOut: UInt64) {
        let (bytesIn, bytesOut) = (
            connection.exchange.bytesInOverall, connection.exchange.bytesOutOverall
        )
        guard !connection.isDownstream else {
            return (connection.request.requestCount, bytesIn, bytesOut)
        }
        // What is under way is counted at the client until it is through.
        let client = slab.look(at: connection.other) { client in
            (
                requests: client.isHTTP ? 1 : 0 as UInt64, bytesIn: client.exchange.bytesIn,
                bytesOut: client.exchange.bytesOut
            )
        }
        return (
            connection.carried &+ (client?.requests ?? 0),
            bytesIn &+ (client?.bytesOut ?? 0),
            bytesOut &+ (client?.bytesIn ?? 0)
        )
    }
}

extension Connection {
    /// What it does, for people.
    fileprivate var state: ConnectionState {
        switch waiting {
        case .answer: .answer
        case .connect: .connect
        case .handshake: .handshake
        case .head: .head
        case .linger: .linger
        case .pool: .pooled
        case .request: .idle
        case .stall: isLingering ? .linger : .request
        case .stream: .stream
        }
    }
}
