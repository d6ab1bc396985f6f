// SPDX-License-Identifier: Apache-2.0

internal import Authorization
internal import ContainersPreview
internal import FoundationEssentials
internal import HTTPCodec
internal import HTTPSemantics
internal import Reactor
internal import Routing
internal import SPIFFE

/// How connections come in, and who they are.
extension Loop {
    /// Plain connections accepted in one turn; those with TLS are held to the handshakes.
    private static let acceptsPerTurnMax = 64

    /// Accepts what waits at a listener.
    ///
    /// The listener tells again in the next turn as long as somebody waits.
    mutating func accept(place: Int) {
        guard listening.indices.contains(place), listening[place].isActive,
            let open = listening[place].open
        else { return }
        let isInbound = listening[place].isInbound
        accept(
            place: place,
            open,
            atMost: isInbound ? ProxyLimits.handshakesPerTurnMax : Self.acceptsPerTurnMax
        )
    }

    /// Accepts everybody whom the kernel holds for a listener that is about to go: it would reset
    /// them.
    mutating func acceptLast(place: Int) {
        guard listening[place].isActive, let open = listening[place].open else { return }
        accept(place: place, open, atMost: Int(Socket.backlogMax))
    }

    private mutating func accept(place: Int, _ open: OpenListener, atMost number: Int) {
        for _ in 0..<number {
            do throws(SystemError) {
                let socket = try open.socket.accept()
                counters.accepted &+= 1
                take(socket, place)
            } catch {
                if error == .wouldBlock { return }
                if error.concernsOneConnection { continue }
                counters.count(.overloaded)
                turnAway(place)
                return
            }
        }
    }

    /// Takes a descriptor's place when there is none, so that the listener does not spin.
    private mutating func turnAway(_ place: Int) {
        guard let open = listening[place].open else { return }
        switch reserve.turnAway(from: open.socket) {
        case .turnedAway: counters.turnedAway &+= 1
        case .nobodyWaits: break
        case .failed:
            // It would be told of again at once, and for ever.
            poller.remove(open.socket)
            listening[place].isPaused = true
            resumesAt = now &+ Wheel.tickMilliseconds
        }
    }

    /// Looks at listeners again that were left alone for a tick.
    mutating func resumeListening() {
        guard let at = resumesAt, at <= now else { return }
        resumesAt = nil
        for place in listening.indices where listening[place].isPaused {
            listening[place].isPaused = false
            guard let open = listening[place].open else { continue }
            do throws(SystemError) {
                try poller.addListener(open.socket, Self.listenerKey(place))
            } catch {
                listening[place].isPaused = true
                resumesAt = now &+ Wheel.tickMilliseconds
            }
        }
    }

    private mutating func take(_ socket: consuming Socket, _ place: Int) {
        guard slab.live < ProxyLimits.connectionsMax, let snapshot else {
            counters.count(.overloaded)
            counters.turnedAway &+= 1
            return
        }
        if let route = listening[place].inbound {
            takeInbound(socket, place, route, snapshot)
        } else if let route = listening[place].outbound {
            takeOutbound(socket, place, route, snapshot)
        }
    }

    private mutating func takeInbound(
        _ socket: consuming Socket,
        _ place: Int,
        _ route: InboundRoute,
        _ snapshot: ProxySnapshot
    ) {
        // Who is known keeps most of the places, however many come and say nothing; and of these
        // it is not the newest who has had its chance.
        if strangers.count >= limits.strangers { endOldestStranger() }
        socket.sendAtOnce()
        // Who has left already has no address, and nothing that a policy could be asked.
        guard let peer = socket.peerEndpoint(),
            let session = TLSSession(route.context, now: now)
        else { return }
        counters.handshakes &+= 1
        var connection = Connection(
            isDownstream: true,
            isHTTP: listening[place].isHTTP,
            place: place,
            generation: snapshot.generation,
            socket: socket,
            tls: session,
            peerAddress: peer.address,
            now: now
        )
        connection.isStranger = true
        guard let key = register(connection, waiting: .handshake, for: limits.handshake) else {
            return
        }
        strangers.came(key)
        for key in strangers.takeToSift() where slab.look(at: key, { $0.isStranger }) ?? false {
            strangers.stays(key)
        }
    }

    private mutating func endOldestStranger() {
        while let key = strangers.oldest() {
            // Most have shown who they are since, or are gone.
            guard var held = slab.checkOut(key) else { continue }
            let isStranger = held.value.isStranger
            if isStranger {
                counters.turnedAway &+= 1
                end(&held.value, .overloaded)
            }
            settle(key, held)
            if isStranger { return }
        }
    }

    /// Has a client's handshake gone on with when it is its turn.
    mutating func lineUp(_ key: Key, _ connection: inout Connection) {
        guard connection.isReadable, !connection.isQueued else { return }
        connection.isQueued = true
        strangers.waits(key)
    }

    private mutating func takeOutbound(
        _ socket: consuming Socket,
        _ place: Int,
        _ route: OutboundRoute,
        _ snapshot: ProxySnapshot
    ) {
        // Before a byte is read: who is it that would speak in this identity's name?
        let owner = Self.owner(of: socket, route.listenAddress)
        let address = socket.peerEndpoint()?.address
        guard let uid = owner, route.listener.allowedUIDs.contains(uid) else {
            counters.count(.clientOwner)
            recordStranger(place, owner, address)
            return
        }
        if case .tcp = route.listenAddress { socket.sendAtOnce() }
        var connection = Connection(
            isDownstream: true,
            isHTTP: listening[place].isHTTP,
            place: place,
            generation: snapshot.generation,
            socket: socket,
            tls: nil,
            peerAddress: address,
            now: now
        )
        connection.uid = uid
        if connection.isHTTP { connection.requestRewrite = RequestRewrite(identity: nil) }
        let waiting: Waiting = connection.isHTTP ? .request : .stream
        let time = connection.isHTTP ? idle : limits.streamIdle
        guard let key = register(connection, waiting: waiting, for: time),
            route.trafficProtocol == .tcp, var held = slab.checkOut(key)
        else { return }
        beginStream(key, &held.value)
        settle(key, held)
    }

    private static func owner(
        of socket: borrowing Socket,
        _ address: ListenAddress
    ) -> UInt32? {
        switch address {
        case .tcp: return try? socket.peerOwner()
        case .unix:
            guard let process = try? socket.peerProcess(), process.isRunning() else { return nil }
            return process.uid
        }
    }

    /// Goes on with a handshake.
    ///
    /// - Returns: Whether the connection is open now.
    mutating func shakeHands(_ key: Key, _ connection: inout Connection) -> Bool {
        guard let requirements = requirements(of: connection) else {
            end(&connection, .draining)
            return false
        }
        connection.beginReading(&scratch)
        let date = Date(timeIntervalSince1970: wallNow)
        let arrival = connection.shakeHands(&scratch, requirements, now: date)
        connection.endReading(&scratch)
        switch arrival {
        case .bytes: break
        case .wouldBlock:
            if connection.isDead { handshakeFailed(&connection) }
            return false
        case .end, .failed:
            handshakeFailed(&connection)
            return false
        }
        guard !connection.isDead else {
            handshakeFailed(&connection)
            return false
        }
        if connection.isDownstream {
            connection.isStranger = false
            strangers.count -= 1
            return admit(key, &connection)
        }
        guard judgeServer(&connection) else { return false }
        counters.connected &+= 1
        serverIsReady(key, &connection)
        return !connection.isDead
    }

    /// Judges a server whose handshake is done: the library did so before the server's last
    /// message, for which a newer snapshot does not wait.
    private mutating func judgeServer(_ connection: inout Connection) -> Bool {
        connection.judged = generation
        guard let peer = connection.peer,
            let refusal = requirements(of: connection)?.refusal(of: peer)
        else { return true }
        handshakeFailed(&connection, .peerRefused(refusal))
        connection.isTurnedAway = true
        return false
    }

    private func requirements(of connection: borrowing Connection) -> PeerRequirements? {
        // Nil when the listener is gone: whom it believed is not looked at any more.
        listening[connection.place].inbound?.requirements
            ?? listening[connection.place].outbound?.requirements
    }

    private mutating func handshakeFailed(
        _ connection: inout Connection,
        _ refusal: TLSFailure? = nil
    ) {
        let failure = refusal ?? connection.failure
        counters.handshakeFailures[failure?.label ?? "closed", default: 0] += 1
        connection.isDead = true
        if connection.isDownstream {
            connection.reason = .handshake
            guard strangers.takesRecord(now: now) else { return }
            record(&connection, .handshake, failure.map { "\($0)" } ?? "closed")
        } else {
            var isUntrusted = false
            if case .peerRefused = failure { isUntrusted = true }
            fail(
                &connection,
                isUntrusted ? .serverUntrusted : .serverUnreachable,
                failure.map { "\($0)" } ?? "closed during the TLS handshake"
            )
            record(&connection, connection.reason, connection.detail)
        }
    }

    /// Finds out who a client is whose handshake is done, and whether it may be here.
    private mutating func admit(_ key: Key, _ connection: inout Connection) -> Bool {
        guard let route = listening[connection.place].inbound, let peer = connection.peer else {
            end(&connection, .draining)
            return false
        }
        // Since the handshake began there may be newer revocations.
        guard judgePeer(of: &connection, route) else { return false }
        if connection.isHTTP {
            let identity = ForwardedClientCert(
                by: route.listener.identity.description,
                hash: peer.leafSHA256,
                uri: peer.id.description
            )
            connection.requestRewrite = RequestRewrite(identity: identity)
            arm(.request, &connection, idle)
            return true
        }
        return admitStream(key, &connection, route)
    }
}
