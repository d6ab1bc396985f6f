// SPDX-License-Identifier: Apache-2.0

internal import Authorization
internal import ContainersPreview
internal import HTTPSemantics
internal import Reactor

/// Whether a server has let us in: with TLS 1.3 a client is done before its server has judged it,
/// and what is sent at once may have met nobody.
extension Loop {
    /// The first byte of a server has come.
    mutating func serverHasAnswered(_ server: inout Connection) {
        server.hasAnswered = true
        if server.keepsSent { server.forgetSent() }
        // A stream's server need not say anything ever, so that its target has stood before.
        if server.isHTTP { targetStands(server) }
    }

    /// What a server said has broken off: finds out whether it does not let us in.
    ///
    /// - Returns: Whether it is that, and the connection has ended by it.
    mutating func wasTurnedAway(_ server: inout Connection) -> Bool {
        guard !server.hasAnswered, let failure = server.failure, failure.isCertificateAlert else {
            return false
        }
        counters.handshakeFailures[failure.label, default: 0] += 1
        fail(&server, .serverUntrusted, "\(failure)")
        record(&server, .serverUntrusted, server.detail)
        rest(server)
        server.isTurnedAway = server.keepsSent
        return true
    }

    /// A server that could not be written to may have said why before.
    mutating func hearOut(_ server: inout Connection) {
        guard !server.isDownstream, server.isOpen, !server.hasAnswered else { return }
        server.beginReading(&scratch)
        if server.read(&scratch, now: now) == .failed { _ = wasTurnedAway(&server) }
        server.endReading(&scratch)
    }

    /// Whether a server whose answer is through is silent, as one that waits for the next request.
    mutating func isSilent(_ server: inout Connection) -> Bool {
        guard scratch.position == scratch.plain.count else { return false }
        // A read that was filled by the answer says nothing of what is behind it.
        if server.hasMore || !scratch.cipherIn.isEmpty {
            guard server.read(&scratch, now: now) == .wouldBlock else { return false }
        }
        return server.isQuiet && scratch.cipherIn.isEmpty
    }
}

extension Connection {
    /// Keeps what is sent to a server that has said nothing yet, unless it becomes too much.
    mutating func keepSent(_ bytes: Span<UInt8>) {
        guard replay.count + bytes.count <= ProxyLimits.replayMax else { return forgetSent() }
        replay.append(bytes)
    }

    /// Gives the memory back of what was sent, because it will not be sent again.
    mutating func forgetSent() {
        keepsSent = false
        replay.release()
    }

    /// The name that the client asked for in the handshake; nil if it asked for none, or for what is
    /// no name.
    var requestedName: RequestedHost? {
        switch tls {
        case .some(let session): session.requestedName().flatMap { RequestedHost(serverName: $0) }
        case .none: nil
        }
    }

    /// Whether there is nothing to be read and no end, as far as is known without looking.
    var isQuiet: Bool { !hasMore && !hasEnded && failure == nil }

    /// Whether a connection has failed whose end was read before, so that no read tells of it.
    mutating func hasFailed() -> Bool {
        guard isHungUp else { return false }
        isHungUp = false
        return pendingError != nil
    }
}
