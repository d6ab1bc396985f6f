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
        if !isSame { flushRun(&connection) }
        connection.exchange.lastStatus = connection.exchange.status
        connection.exchange.lastReason = reason
        connection.exchange.lastDecision = connection.exchange.decision
        connection.exchange.lastRevision = connection.exchange.revision
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
                status: connection.exchange.lastStatus,
                reason: connection.exchange.lastReason,
                decision: connection.exchange.lastDecision,
                revision: connection.exchange.lastRevision
            ),
            connection.exchange.sum
        )
        connection.exchange.sum = RequestSum()
    }

    /// Counts a stream that begins.
    mutating func countStream(_ connection: borrowing Connection) {
        var one = RequestSum()
        one.count = 1
        counters.count(
            RequestAggregate(
                kind: .streamBegin,
                listener: listening[connection.place].name,
                peer: connection.peer?.id,
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
        return ConnectionStatus(
            listener: listener.name,
            isInbound: listener.isInbound,
            isDownstream: connection.isDownstream,
            isHTTP: connection.isHTTP,
            peer: connection.peer?.id,
            peerNotAfter: connection.peer?.notAfter,
            peerAddress: connection.peerAddress,
            state: "\(connection.waiting)",
            ageMilliseconds: now &- connection.since,
            requests: connection.request.requestCount,
            bytesIn: connection.exchange.bytesInOverall,
            bytesOut: connection.exchange.bytesOutOverall,
            generation: connection.generation
        )
    }
}
