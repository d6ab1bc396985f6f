// SPDX-License-Identifier: Apache-2.0

internal import ContainersPreview
internal import Reactor
internal import Routing

/// Why there is no server for a request or a stream: a word, and words for whoever reads the log.
struct ServerFailure {
    var reason: ProxyReason
    /// Names the endpoint and what it or the kernel has said; empty if the word says all.
    var detail = ""
}

/// What is said of servers that failed; nothing here is called for a request that goes well.
extension Loop {
    /// What a connection to a server leads to.
    ///
    /// - Parameters:
    ///   - place: The listener's.
    ///   - target: Its place among the listener's targets; nil if it went.
    /// - Returns: An address or a path.
    func serverName(_ place: Int, _ target: Int?) -> String {
        switch listening[place].inbound?.listener.forward {
        case .address(let address): return address.description
        case .unix(let path): return path
        case nil: break
        }
        guard let target, listening[place].targets.indices.contains(target),
            let address = listening[place].targets[target].address
        else { return "a server that is not used any more" }
        return address.description
    }

    func serverName(_ server: borrowing Connection) -> String {
        serverName(server.place, index(of: server))
    }

    /// Ends a server's connection that never stood.
    func fail(_ server: inout Connection, _ reason: ProxyReason, _ what: String) {
        server.reason = reason
        server.detail = "\(serverName(server)): \(what)"
        server.isDead = true
    }

    /// A server has not come to the end of connecting or of its handshake in time.
    func reachingTookTooLong(_ server: inout Connection) {
        let what =
            server.waiting == .connect
            ? "no connection in \(limits.connect) ms" : "no TLS handshake in \(limits.handshake) ms"
        fail(&server, .serverUnreachable, what)
    }

    /// What the line of its client says of the end of a server; empty for a proper end.
    func detail(ofServer server: borrowing Connection) -> String {
        if !server.detail.isEmpty { return server.detail }
        // A request's server has ended before its time, whatever it says itself.
        return server.isHTTP || server.reason != .none ? serverName(server) : ""
    }

    /// Tells the client that a new connection to a server was made for who is there.
    mutating func introduce(_ server: borrowing Connection) {
        guard !server.other.isNone, var held = slab.checkOut(server.other) else { return }
        held.value.exchange.server = server.serverNumber
        if !held.value.isHTTP { countStream(&held.value) }
        slab.checkIn(server.other, held)
    }
}
