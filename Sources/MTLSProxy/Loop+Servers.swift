// SPDX-License-Identifier: Apache-2.0

internal import ContainersPreview
internal import FoundationEssentials
internal import HTTPCodec
internal import HTTPSemantics
internal import Reactor
internal import Routing
internal import SPIFFE

/// How servers are reached: the application behind an inbound listener, the endpoints of a Service
/// behind an outbound one.
extension Loop {
    /// Where a connection to a server could lead.
    private enum Reach {
        case connection(Key, isFresh: Bool)
        case failed(ServerFailure)
    }

    /// Gives a listener the targets of its route; those it had keep what is known of them.
    mutating func fitTargets(_ place: Int) {
        let addresses: [Routing.SocketAddress?] = listening[place].outbound?.endpoints ?? [nil]
        guard listening[place].targets.map(\.address) != addresses else { return }
        // A target that went has idle connections, which end when they are judged again.
        let known = Dictionary(
            listening[place].targets.map { ($0.address, $0) },
            uniquingKeysWith: { first, _ in first }
        )
        var targets: [Target] = []
        for address in addresses {
            if let target = known[address] {
                targets.append(target)
            } else {
                listening[place].lastTarget &+= 1
                targets.append(Target(address: address, id: listening[place].lastTarget))
            }
        }
        listening[place].targets = targets
    }

    /// Where a connection's target is now; nil if it went.
    func index(of connection: borrowing Connection) -> Int? {
        let (place, hint, id) = (connection.place, connection.targetIndex, connection.target)
        if hint < listening[place].targets.count, listening[place].targets[hint].id == id {
            return hint
        }
        return listening[place].targets.firstIndex { $0.id == id }
    }

    /// A connection to a target never stood: others are asked before it for a while.
    mutating func rest(_ connection: borrowing Connection) {
        switch connection.reason {
        case .serverUnreachable, .serverUntrusted: break
        default: return
        }
        guard let index = index(of: connection) else { return }
        listening[connection.place].targets[index].rest(now: now)
    }

    /// Finds a connection for the request or stream at hand, and joins the two.
    ///
    /// - Returns: The reason if there is none.
    mutating func reachServer(
        _ key: Key,
        _ downstream: inout Connection
    ) -> ProxyReason? {
        switch reach(downstream.place, isHTTP: downstream.isHTTP) {
        case .failed(let failure):
            downstream.detail = failure.detail
            return failure.reason
        case .connection(let server, let isFresh):
            guard var held = slab.checkOut(server) else { return .serverUnreachable }
            held.value.other = key
            held.value.replay.clear()
            downstream.other = server
            // Of a new connection it is known when it stands.
            downstream.exchange.server = held.value.serverNumber
            if !isFresh { arm(.stall, &held.value, .max / 2) }
            slab.checkIn(server, held)
            return nil
        }
    }

    private mutating func reach(_ place: Int, isHTTP: Bool) -> Reach {
        if let route = listening[place].inbound {
            if isHTTP, let key = takePooled(place, 0) { return .connection(key, isFresh: false) }
            return connectApplication(place, route)
        }
        guard let route = listening[place].outbound, !route.endpoints.isEmpty else {
            return .failed(ServerFailure(reason: .serverMissing))
        }
        var why = ServerFailure(reason: .serverUnreachable)
        for _ in 0..<min(ProxyLimits.attemptsMax, listening[place].targets.count) {
            let target = nextTarget(place)
            if isHTTP, let key = takePooled(place, target) {
                return .connection(key, isFresh: false)
            }
            switch connectEndpoint(place, route, target) {
            case .connection(let key, let isFresh): return .connection(key, isFresh: isFresh)
            case .failed(let failure) where failure.reason == .serverUnreachable:
                listening[place].targets[target].rest(now: now)
                if why.reason == .serverUnreachable { why = failure }
            // No fault of the target's; towards another one there may be a free port.
            case .failed(let failure)
            where failure.reason == .overloaded && slab.live < ProxyLimits.connectionsMax:
                why = failure
            case .failed(let failure): return .failed(failure)
            }
        }
        return .failed(why)
    }

    /// The next one in turn that does not rest, or else the next one.
    private mutating func nextTarget(_ place: Int) -> Int {
        let count = listening[place].targets.count
        let first = listening[place].nextTarget % count
        for step in 0..<count {
            let index = (first + step) % count
            guard listening[place].targets[index].restsUntil <= now else { continue }
            listening[place].nextTarget = index + 1
            listening[place].targets[index].probe(now: now, for: limits.connect)
            return index
        }
        listening[place].nextTarget = first + 1
        return first
    }

    /// An idle connection that can be used; those made under an older TLS context are ended.
    private mutating func takePooled(_ place: Int, _ target: Int) -> Key? {
        guard listening[place].targets.indices.contains(target) else { return nil }
        while let key = listening[place].targets[target].idle.popLast() {
            guard var held = slab.checkOut(key) else { continue }
            leavePool(&held.value)
            if held.value.hasTLS, held.value.judged != generation {
                rejudgeServer(&held.value, listening[place])
            }
            if isUsable(held.value) {
                slab.checkIn(key, held)
                return key
            }
            if !held.value.isDead { end(&held.value, .aged) }
            settle(key, held)
        }
        return nil
    }

    /// A connection is no idle one any more.
    mutating func leavePool(_ connection: inout Connection) {
        guard connection.isPooled else { return }
        connection.isPooled = false
        counters.pooled &-= 1
    }

    /// Whether a new request may go out on a connection.
    mutating func isUsable(_ connection: borrowing Connection) -> Bool {
        let age = connection.endsWithCertificate ? limits.taintedAge : limits.connectionAge
        guard !connection.isDead, now < connection.since &+ age,
            connection.isQuiet, !connection.hasTLS || connection.certificateEnds >= wallNow
        else { return false }
        // A rotation, a new bundle or an endpoint that went: what comes after goes out under it.
        return !connection.hasTLS
            || connection.generation == listening[connection.place].outbound?.connectionGeneration
                && index(of: connection) != nil
    }

    /// Why there is no socket.
    private enum NoServer: Error {
        case system(SystemError)
        /// A user who listens there and may not.
        case owner(UInt32)
    }

    private mutating func connectApplication(_ place: Int, _ route: InboundRoute) -> Reach {
        do throws(NoServer) {
            return begin(place, 0, try Self.connect(route.listener), nil)
        } catch {
            switch error {
            case .owner(let uid):
                return failed(place, 0, .forwardOwner, Self.mayNotListen(uid))
            case .system(let error): return failed(place, 0, Self.reason(error), "\(error)")
            }
        }
    }

    private static func connect(_ listener: InboundListener) throws(NoServer) -> Socket {
        let uid: UInt32
        do throws(SystemError) {
            switch listener.forward {
            case .address(let address):
                let socket = try Socket.connect(address.address, port: address.port)
                socket.sendAtOnce()
                return socket
            case .unix(let path):
                let socket = try Socket.connect(path: path)
                // Who listens there, now that the connection stands?
                uid = try socket.peerProcess().uid
                if listener.forwardUIDs.contains(uid) { return socket }
            }
        } catch {
            throw .system(error)
        }
        throw .owner(uid)
    }

    private mutating func connectEndpoint(
        _ place: Int,
        _ route: OutboundRoute,
        _ target: Int
    ) -> Reach {
        guard let session = TLSSession(route.context, serverName: route.serverName, now: now)
        else { return .failed(ServerFailure(reason: .overloaded)) }
        guard let address = listening[place].targets[target].address else {
            return .failed(ServerFailure(reason: .serverMissing))
        }
        do throws(SystemError) {
            let socket = try Socket.connect(address.address, port: address.port)
            socket.sendAtOnce()
            return begin(place, target, socket, session)
        } catch {
            return failed(place, target, Self.reason(error), "\(error)")
        }
    }

    /// An attempt that came to nothing at once.
    private mutating func failed(
        _ place: Int,
        _ target: Int,
        _ reason: ProxyReason,
        _ what: String
    ) -> Reach {
        counters.countServer(reason)
        let detail = "\(serverName(place, target)): \(what)"
        return .failed(ServerFailure(reason: reason, detail: detail))
    }

    /// Why there is no connection, when the kernel says so at once.
    private static func reason(_ error: SystemError) -> ProxyReason {
        error.isOwnWhenConnecting ? .overloaded : .serverUnreachable
    }

    private mutating func begin(
        _ place: Int,
        _ target: Int,
        _ socket: consuming Socket,
        _ tls: consuming TLSSession?
    ) -> Reach {
        guard slab.live < ProxyLimits.connectionsMax else {
            return .failed(ServerFailure(reason: .overloaded))
        }
        var connection = Connection(
            isDownstream: false,
            isHTTP: listening[place].isHTTP,
            place: place,
            generation: listening[place].outbound?.connectionGeneration ?? 0,
            socket: socket,
            tls: tls,
            peerAddress: nil,
            now: now
        )
        connection.isConnecting = true
        connection.targetIndex = target
        connection.target = listening[place].targets[target].id
        guard let key = register(connection, waiting: .connect, for: limits.connect) else {
            return .failed(ServerFailure(reason: .overloaded))
        }
        return .connection(key, isFresh: true)
    }

    /// The kernel says how a connection attempt ended.
    ///
    /// - Returns: Whether to go on with it.
    mutating func finishConnecting(_ key: Key, _ connection: inout Connection) -> Bool {
        if let error = connection.pendingError {
            fail(&connection, .serverUnreachable, "\(error)")
            return false
        }
        if let fault = forwardFault(connection.place) {
            fail(&connection, .forwardOwner, fault)
            return false
        }
        connection.isConnecting = false
        guard connection.isOpen else {
            arm(.handshake, &connection, limits.handshake)
            return true
        }
        counters.connected &+= 1
        serverIsReady(key, &connection)
        return !connection.isDead
    }

    /// Why who listens at the application's address may not; nil if it may.
    private func forwardFault(_ place: Int) -> String? {
        guard let listener = listening[place].inbound?.listener,
            case .address(let address) = listener.forward
        else { return nil }
        do throws(SystemError) {
            let uid = try Endpoint(address.address, port: address.port).listenerOwner()
            return listener.forwardUIDs.contains(uid) ? nil : Self.mayNotListen(uid)
        } catch {
            return "who listens there cannot be found out: \(error)"
        }
    }

    private static func mayNotListen(_ uid: UInt32) -> String {
        "uid \(uid) listens there, and may not"
    }

    /// A connection has shown that its target is there and lets us in.
    mutating func targetStands(_ connection: borrowing Connection) {
        guard let index = index(of: connection) else { return }
        listening[connection.place].targets[index].stood()
    }

    /// A server's connection stands: what waited for it goes out.
    mutating func serverIsReady(_ key: Key, _ connection: inout Connection) {
        if !connection.hasTLS || !connection.isHTTP { targetStands(connection) }
        if let peer = connection.peer {
            connection.certificateEnds = peer.pathNotAfter.timeIntervalSince1970
            let revocations = listening[connection.place].outbound?.requirements.revocations
            connection.endsWithCertificate = revocations?.taint(peer) ?? false
            connection.serverNumber = listening[connection.place].number(ofServer: peer.id)
            introduce(connection)
        }
        connection.sendEarly(&scratch.cipherOut, now: now)
        if connection.isHTTP {
            arm(.stall, &connection, .max / 2)
        } else {
            arm(.stream, &connection, limits.streamIdle)
        }
        wake(connection.other)
    }

    /// Keeps a connection for the next request.
    mutating func pool(_ key: Key, _ connection: inout Connection) {
        let place = connection.place
        guard listening[place].isActive, !isDraining, isUsable(connection),
            let target = index(of: connection),
            listening[place].targets[target].idle.count < ProxyLimits.poolMax
        else {
            connection.isDead = true
            return
        }
        connection.isPooled = true
        connection.replay.clear()
        arm(.pool, &connection, limits.poolIdle)
        connection.targetIndex = target
        listening[place].targets[target].idle.append(key)
        counters.pooled &+= 1
    }

    /// Puts a server's connection back, or ends it and deals with the client, which is out.
    mutating func settleServer(
        _ server: Key,
        _ held: consuming UniqueBox<Connection>,
        _ key: Key,
        _ client: inout Connection
    ) {
        guard held.value.isDead, client.other == server else {
            settle(server, held)
            return
        }
        client.other = .none
        held.value.other = .none
        let failure = ServerFailure(
            reason: held.value.reason,
            detail: detail(ofServer: held.value)
        )
        let stood = held.value.stands
        var unsent = Buffer()
        if !stood { rest(held.value) }
        held.value.takeUnsent(&unsent)
        settle(server, held)
        serverIsGone(key, &client, failure, stood: stood, unsent: unsent)
    }

    /// The server's side has ended: the request goes elsewhere, or the client is answered, or sees
    /// that its answer broke off.
    ///
    /// - Parameters:
    ///   - key: The client's.
    ///   - downstream: The client.
    ///   - failure: Why the server's side has ended.
    ///   - stood: Whether its connection has ever stood.
    ///   - unsent: All of the request, if no server has seen it.
    mutating func serverIsGone(
        _ key: Key,
        _ downstream: inout Connection,
        _ failure: ServerFailure,
        stood: Bool,
        unsent: borrowing Buffer
    ) {
        let reason = failure.reason
        guard downstream.isHTTP else {
            if mayGoElsewhere(downstream, reason, stood: stood),
                retryStream(key, &downstream, unsent)
            {
                return
            }
            if reason == .none, downstream.isFinishing { return }
            if reason == .none, downstream.isThrough {
                downstream.isDead = true
                return
            }
            downstream.reason = reason == .none ? .serverEnded : reason
            downstream.detail = failure.detail
            downstream.abort()
            return
        }
        guard downstream.exchange.isActive else { return }
        let why: ProxyReason = reason == .none ? .serverEnded : reason
        guard !downstream.exchange.hasAnswer else {
            downstream.reason = why
            downstream.detail = failure.detail
            downstream.abort()
            return
        }
        switch why {
        case .serverUnreachable, .serverUntrusted:
            if mayGoElsewhere(downstream, why, stood: stood), retry(key, &downstream, unsent) {
                return
            }
        case .serverEnded, .aged: if retry(key, &downstream, unsent) { return }
        default: break
        }
        downstream.detail = failure.detail
        switch why {
        case .serverEnded, .answerRefused: refuse(&downstream, .badGateway, why, resuming: key)
        case .timedOut: refuse(&downstream, .gatewayTimeout, why, resuming: key)
        default: refuse(&downstream, .serviceUnavailable, why, resuming: key)
        }
    }

    /// Sends a request that no server has seen to another one.
    private mutating func retry(
        _ key: Key,
        _ downstream: inout Connection,
        _ unsent: borrowing Buffer
    ) -> Bool {
        guard !unsent.isEmpty, downstream.exchange.attempts < ProxyLimits.attemptsMax else {
            return false
        }
        downstream.exchange.attempts += 1
        guard reachServer(key, &downstream) == nil else { return false }
        let server = downstream.other
        guard var held = slab.checkOut(server) else { return false }
        guard held.value.response.begin(downstream.request.traits, isLast: isLast(downstream))
        else {
            held.value.isDead = true
            held.value.other = .none
            downstream.other = .none
            settle(server, held)
            return false
        }
        let traits = downstream.request.traits
        if held.value.isOpen, !traits.hasBody, traits.isRepeatable {
            held.value.replay.append(unsent.bytes)
        }
        held.value.write(unsent, &scratch.cipherOut, now: now)
        if downstream.request.isComplete { held.value.response.requestWritten() }
        // What has come of the body meanwhile, no event will tell of again.
        queue(key, &downstream)
        settleServer(server, held, key, &downstream)
        return true
    }

    /// Whether another endpoint may be better than one whose connection never stood.
    private func mayGoElsewhere(
        _ client: borrowing Connection,
        _ reason: ProxyReason,
        stood: Bool
    ) -> Bool {
        !stood && (reason == .serverUnreachable || reason == .serverUntrusted)
            && listening[client.place].targets.count > 1
    }

    /// Opens another way for a stream of which no server has seen anything.
    private mutating func retryStream(
        _ key: Key,
        _ client: inout Connection,
        _ unsent: borrowing Buffer
    ) -> Bool {
        guard !client.isDead, client.exchange.attempts < ProxyLimits.attemptsMax else {
            return false
        }
        client.exchange.attempts += 1
        guard reachServer(key, &client) == nil else { return false }
        let server = client.other
        guard var held = slab.checkOut(server) else { return false }
        held.value.write(unsent, &scratch.cipherOut, now: now)
        if client.hasPassedEnd { held.value.end(&scratch.cipherOut) }
        queue(key, &client)
        settleServer(server, held, key, &client)
        return true
    }
}
