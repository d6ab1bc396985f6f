// SPDX-License-Identifier: Apache-2.0

internal import Authorization
internal import ContainersPreview
internal import FoundationEssentials
internal import HTTPCodec
internal import HTTPSemantics
internal import Reactor
internal import Routing
internal import SPIFFE

/// What ends connections before their time: deadlines, newer policies, revocations, the end.
extension Loop {
    /// Ends a connection for a reason.
    mutating func end(_ connection: inout Connection, _ reason: ProxyReason) {
        if connection.reason == .none { connection.reason = reason }
        let isHarmless = reason == .none || reason == .aged || reason == .draining
        // What is cut off must not look like a proper end, nor what waits for its reader still.
        if !isHarmless || connection.exchange.isActive || !connection.out.isEmpty {
            connection.abort()
        }
        connection.isDead = true
    }

    /// A connection's deadline has come.
    mutating func expire(_ key: Key, _ connection: inout Connection) {
        switch connection.waiting {
        case .request, .pool: end(&connection, .aged)
        case .linger: connection.isDead = true
        case .handshake, .connect:
            guard connection.isDownstream else { return reachingTookTooLong(&connection) }
            connection.reason = .timedOut
            connection.isDead = true
        case .stream: end(&connection, .timedOut)
        case .head where connection.isDownstream:
            if !connection.exchange.isActive { beginRefusal(&connection) }
            refuse(&connection, .requestTimeout, .timedOut, resuming: key)
        case .answer where connection.isDownstream && !connection.exchange.hasAnswer:
            refuse(&connection, .gatewayTimeout, .timedOut, resuming: key)
        case .stall
        where connection.isDownstream && !connection.exchange.hasAnswer
            && !connection.request.isComplete:
            requestHasStalled(key, &connection)
        case .answer, .head, .stall: end(&connection, .timedOut)
        }
    }

    /// Nothing of a request's body has been passed on for long: whoever it waits for is told.
    private mutating func requestHasStalled(_ key: Key, _ client: inout Connection) {
        let server = slab.look(at: client.other) { (isOpen: $0.isOpen, isBlocked: $0.isBlocked) }
        if let server, !server.isOpen {
            // Reaching a server has limits of its own, and may take several attempts.
            arm(.stall, &client, limits.stall)
        } else if let server, server.isBlocked {
            refuse(&client, .gatewayTimeout, .timedOut, resuming: key)
        } else {
            refuse(&client, .requestTimeout, .timedOut, resuming: key)
        }
    }

    /// Judges a live connection by the newest snapshot.
    mutating func rejudge(_ key: Key, _ connection: inout Connection) {
        if connection.isDead || connection.isLingering { return }
        let listener = listening[connection.place]
        guard connection.isDownstream else {
            rejudgeServer(&connection, listener)
            return
        }
        if isDraining { leave(&connection) }
        guard listener.isActive else {
            // Its policies and revocations are not renewed any more, so nothing may go on by them.
            end(&connection, .draining)
            return
        }
        guard judgeOwner(of: &connection, listener) else { return }
        // Whose handshake is not done is judged at its end.
        guard !connection.isDead, connection.peer != nil, let route = listener.inbound,
            judgePeer(of: &connection, route)
        else { return }
        // Who asks for nothing at the moment is answered when it does.
        guard connection.exchange.isActive else { return }
        let decision =
            connection.isHTTP
            ? decideAgain(&connection, route) : route.policies.decide(connection.access)
        if !decision.isAllowed { denyLater(key, &connection, decision) }
    }

    /// Looks whether the user who has connected to an outbound listener still may.
    ///
    /// - Returns: Whether it may; if not, the connection is ended.
    mutating func judgeOwner(of connection: inout Connection, _ listener: Listening) -> Bool {
        guard let uid = connection.uid, let outbound = listener.outbound else { return true }
        connection.judged = generation
        if outbound.listener.allowedUIDs.contains(uid) { return true }
        end(&connection, .clientOwner)
        return false
    }

    /// Looks up what the newest snapshot says of a client's peer.
    ///
    /// - Returns: Whether the peer may be here; if not, the connection is ended.
    mutating func judgePeer(of connection: inout Connection, _ route: InboundRoute) -> Bool {
        connection.access = .nobody
        connection.judged = generation
        guard let peer = connection.peer, let address = connection.peerAddress else { return true }
        // What the handshake believed: an intermediate may end before the leaf.
        connection.certificateEnds = peer.pathNotAfter.timeIntervalSince1970
        connection.endsWithCertificate = route.requirements.revocations.taint(peer)
        if let refusal = route.requirements.refusal(of: peer) {
            connection.detail = refusal.description
            end(&connection, .revoked)
            return false
        }
        connection.access = route.policies.access(
            of: peer.id,
            in: route.listener.identity.trustDomain,
            at: address,
            port: route.listener.workloadPort,
            serverName: route.policies.asksServerName && !connection.isHTTP
                ? connection.requestedName : nil
        )
        return true
    }

    /// Denies what was allowed before.
    private mutating func denyLater(
        _ key: Key,
        _ connection: inout Connection,
        _ decision: Decision
    ) {
        connection.exchange.decision = decision
        connection.exchange.revision = revision
        connection.exchange.decisionNumber = decisionCount
        decisionCount &+= 1
        if connection.isHTTP, !connection.exchange.hasAnswer {
            refuse(&connection, .forbidden, .deniedLater, resuming: key)
        } else {
            end(&connection, .deniedLater)
        }
    }

    /// The request at hand, judged by what was remembered of it.
    private func decideAgain(
        _ connection: inout Connection,
        _ route: InboundRoute
    ) -> Decision {
        let method = connection.exchange.methodBytes
        let request = CanonicalRequest(
            method: connection.exchange.method,
            methodName: ByteRange(0..<method),
            authority: connection.exchange.authority,
            path: ByteRange(method..<(method + connection.exchange.pathBytes)),
            fields: connection.exchange.fields
        )
        return route.policies.decide(
            connection.access,
            request,
            in: connection.exchange.line.bytes,
            knowsFields: connection.exchange.knowsFields
                && route.policies.headerNames.isSubset(of: connection.exchange.fieldNames)
        )
    }

    /// Looks whether a server is still one that may be asked.
    mutating func rejudgeServer(_ connection: inout Connection, _ listener: Listening) {
        // One whose handshake is not done is judged at its end.
        if let peer = connection.peer {
            connection.judged = generation
            let requirements = listener.outbound?.requirements
            connection.endsWithCertificate = requirements?.revocations.taint(peer) ?? false
            switch requirements?.refusal(of: peer) {
            case .none: break
            case .unexpected:
                end(&connection, .serverUntrusted)
                return
            case .revoked, .verification:
                end(&connection, .revoked)
                return
            }
        }
        if connection.isPooled, !isUsable(connection) || isDraining || !listener.isActive {
            connection.isDead = true
        }
    }

    /// A client whose certificate has ended gets no further request; a stream goes on while its
    /// peer is allowed (docs/decisions/0009-data-path.md), unless an authority of its path is
    /// tainted (docs/decisions/0014-life-of-an-authority.md).
    mutating func retireWithCertificate(_ connection: inout Connection) {
        guard connection.isOpen, !connection.isDead, connection.certificateEnds < wallNow else {
            return
        }
        if !connection.isHTTP {
            if connection.endsWithCertificate { end(&connection, .revoked) }
        } else if connection.isDownstream {
            leave(&connection)
        }
    }

    /// The proxy or its listener ends: who has nothing under way goes at once, the others when it
    /// is done.
    private mutating func leave(_ connection: inout Connection) {
        guard connection.isHTTP else { return }
        if connection.isOpen, connection.request.isIdle, connection.held.isEmpty {
            // Who sends again soon is told with the answer; who does not is let go.
            connection.deadline = min(connection.deadline, now &+ ProxyLimits.drainIdle)
            return
        }
        guard !connection.other.isNone, var held = slab.checkOut(connection.other) else { return }
        held.value.response.makeLast()
        settle(connection.other, held)
    }

    // MARK: - Records

    /// A request or stream is through.
    mutating func finishExchange(_ connection: inout Connection, _ reason: ProxyReason) {
        guard connection.exchange.isActive else { return }
        connection.exchange.isActive = false
        count(&connection, reason)
        let isSample = takesSample(connection)
        let isLogged = wantsRecord(connection, reason)
        guard isLogged || isSample else { return }
        var record = record(of: connection, reason)
        record.isForAccessLog = isLogged
        record.isSample = isSample
        if !connection.detail.isEmpty { swap(&record.detail, &connection.detail) }
        let method = connection.exchange.methodBytes
        record.method = connection.exchange.method
        if record.method == .other {
            record.ownMethod = Self.text(connection.exchange.line, 0..<method)
        }
        record.path = Self.text(
            connection.exchange.line,
            method..<(method + connection.exchange.pathBytes)
        )
        recorded.append(record)
    }

    /// Counts down what was allowed: nothing is made for all that are not the one.
    private mutating func takesSample(_ connection: borrowing Connection) -> Bool {
        guard connection.exchange.decision?.isAllowed ?? false else { return false }
        untilSample &-= 1
        guard untilSample == 0 else { return false }
        untilSample = ProxyLimits.decisionsPerSample
        return true
    }

    private static func text(_ buffer: borrowing Buffer, _ range: Range<Int>) -> String {
        let span = buffer.bytes
        return String(decoding: range.map { span[$0] }, as: UTF8.self)
    }

    private func wantsRecord(_ connection: borrowing Connection, _ reason: ProxyReason) -> Bool {
        if reason != .none || connection.exchange.decision?.differsInShadow ?? false { return true }
        return snapshot?.recording == .all
    }

    private mutating func record(
        of connection: borrowing Connection,
        _ reason: ProxyReason
    ) -> ProxyRecord {
        let listener = listening[connection.place]
        let isDecided = connection.exchange.decision != nil
        return ProxyRecord(
            kind: connection.isHTTP ? .request : .connection,
            time: wallNow,
            listener: isDecided
                ? listener.name(under: connection.exchange.revision) : listener.name,
            isInbound: listener.isInbound,
            peer: connection.peer?.id,
            peerAddress: connection.peerAddress,
            uid: connection.uid,
            status: connection.exchange.status,
            decisionID: isDecided ? decisionID(connection) : nil,
            decision: connection.exchange.decision,
            revision: isDecided ? connection.exchange.revision : 0,
            reason: reason,
            milliseconds: now &- max(connection.exchange.started, connection.since),
            bytesIn: connection.exchange.bytesIn,
            bytesOut: connection.exchange.bytesOut
        )
    }

    /// Tells of a connection that ends with a request or stream under way.
    mutating func finishRecord(_ connection: inout Connection) {
        // A stream that has reached no server has begun all the same.
        if !connection.isHTTP, connection.exchange.isActive, !listening[connection.place].isInbound
        {
            countStream(&connection)
        }
        finishExchange(&connection, connection.reason)
        flushRun(&connection)
    }

    /// Tells of something that happened to a connection.
    mutating func record(
        _ connection: inout Connection,
        _ reason: ProxyReason,
        _ detail: String
    ) {
        var record = record(of: connection, reason)
        record.kind = .connection
        record.detail = detail
        recorded.append(record)
    }

    /// Tells of somebody who may not use an outbound listener.
    ///
    /// - Parameters:
    ///   - place: The listener's.
    ///   - uid: Who it is; nil if that cannot be found out.
    ///   - address: From where; nil at a Unix socket.
    mutating func recordStranger(_ place: Int, _ uid: UInt32?, _ address: IPAddress?) {
        recorded.append(
            ProxyRecord(
                kind: .connection,
                time: wallNow,
                listener: listening[place].name,
                isInbound: false,
                peerAddress: address,
                uid: uid,
                revision: 0,
                reason: .clientOwner,
                detail: uid == nil ? "who connects cannot be found out" : ""
            )
        )
    }
}
