// SPDX-License-Identifier: Apache-2.0

internal import NIOCore
internal import SPIFFE
internal import Synchronization

/// The open connections of one transport: admission under its limits, and who is behind each.
package final class PeerConnections: Sendable {
    /// What a connection counts as; each has places of its own.
    private enum Pool: Hashable {
        /// Without certificate.
        case anonymous
        /// Verified, or local.
        case established
        /// In its handshake: it has proved nothing yet.
        case opening
    }

    private struct Share: Hashable {
        let pool: Pool
        let source: ConnectionSource
    }

    private struct State {
        var byLabel: [String: PeerConnection] = [:]
        var pools: [String: Pool] = [:]
        var counts: [Pool: Int] = [:]
        var shares: [Share: Int] = [:]
        var hasEnded = false

        /// Whose allowances a connection uses in a pool.
        private static func sources(
            _ connection: PeerConnection,
            _ pool: Pool
        ) -> [ConnectionSource] {
            guard pool == .established, let peer = connection.verifiedPeer else {
                return [connection.source]
            }
            return [connection.source, .identity(peer.id)]
        }

        mutating func enter(_ pool: Pool, _ connection: PeerConnection) {
            pools[connection.label] = pool
            counts[pool, default: 0] += 1
            for source in Self.sources(connection, pool) {
                shares[Share(pool: pool, source: source), default: 0] += 1
            }
        }

        mutating func leave(_ connection: PeerConnection) {
            guard let pool = pools.removeValue(forKey: connection.label) else { return }
            counts[pool, default: 1] -= 1
            for source in Self.sources(connection, pool) {
                let share = Share(pool: pool, source: source)
                let count = shares[share, default: 1]
                shares[share] = count > 1 ? count - 1 : nil
            }
        }

        /// Why there is no place for the connection in a pool; nil when there is one.
        func refusal(
            _ pool: Pool,
            _ connection: PeerConnection,
            _ limits: ConnectionLimits
        ) -> ConnectionRefusal? {
            let (max, perSource) =
                switch pool {
                case .anonymous:
                    (limits.anonymous.connectionsMax, limits.anonymous.connectionsPerSourceMax)
                case .established: (limits.connectionsMax, limits.connectionsPerSourceMax)
                case .opening:
                    (limits.opening.connectionsMax, limits.opening.connectionsPerSourceMax)
                }
            guard counts[pool, default: 0] < max else {
                return pool == .anonymous ? .anonymousConnectionsMax : .connectionsMax
            }
            for source in Self.sources(connection, pool) {
                var sourceMax = perSource
                if case .identity = source { sourceMax = limits.connectionsPerPeerMax }
                guard shares[Share(pool: pool, source: source), default: 0] < sourceMax else {
                    return .connectionsPerSourceMax(source)
                }
            }
            return nil
        }
    }

    private let limits: ConnectionLimits
    private let state = Mutex(State())

    init(limits: ConnectionLimits) {
        self.limits = limits
    }

    /// How many connections are open.
    package var count: Int { state.withLock { $0.byLabel.count } }

    /// Closes every connection whose peer matches, at once and with all its requests.
    ///
    /// For peers that must not go on: a banned agent, a revoked identity.
    ///
    /// - Returns: How many connections were closed.
    @discardableResult
    package func close(where matches: (PeerContext) -> Bool) -> Int {
        let all = state.withLock { Array($0.byLabel.values) }
        let chosen = all.filter { matches($0.context) }
        for connection in chosen { connection.channel.close(promise: nil) }
        return chosen.count
    }

    /// Closes what is left when the server ends, and admits nothing more.
    func end() {
        state.withLock { $0.hasEnded = true }
        close { _ in true }
    }

    /// Admits an accepted connection: a local one for good, another one to its handshake.
    func admit(_ connection: PeerConnection) throws(ConnectionRefusal) {
        let refusal = state.withLock { state -> ConnectionRefusal? in
            guard !state.hasEnded else { return .serverEnded }
            let pool: Pool = if case .local = connection.origin { .established } else { .opening }
            if let refusal = state.refusal(pool, connection, limits) { return refusal }
            state.enter(pool, connection)
            state.byLabel[connection.label] = connection
            return nil
        }
        if let refusal { throw refusal }
    }

    /// Counts an admitted connection for what its handshake has shown it to be.
    func opened(_ connection: PeerConnection) throws(ConnectionRefusal) {
        let refusal = state.withLock { state -> ConnectionRefusal? in
            // Closed meanwhile, or local: counted where it belongs.
            guard state.pools[connection.label] == .opening else { return nil }
            let pool: Pool = connection.isAnonymous ? .anonymous : .established
            if let refusal = state.refusal(pool, connection, limits) { return refusal }
            // It entered before its peer was verified, so it leaves by what it was then.
            state.leave(connection)
            state.enter(pool, connection)
            return nil
        }
        if let refusal { throw refusal }
    }

    func remove(_ connection: PeerConnection) {
        state.withLock { state in
            guard state.byLabel.removeValue(forKey: connection.label) != nil else { return }
            state.leave(connection)
        }
    }

    /// Where the request with a label comes from.
    func origin(label: String) -> RequestOrigin? {
        let parts = label.split(separator: "/", omittingEmptySubsequences: false)
        guard parts.count == 2, let number = UInt64(parts[1]),
            let connection = state.withLock({ $0.byLabel[String(parts[0])] }),
            let stream = connection.stream(number)
        else { return nil }
        return RequestOrigin(peer: connection.context, stream: stream)
    }
}

/// Why a connection was closed before any request.
package enum ConnectionRefusal: Error, Hashable {
    case anonymousConnectionsMax
    case connectionsMax
    case connectionsPerSourceMax(ConnectionSource)
    /// The server has no certificate to show yet.
    case identityUnavailable
    /// The kernel does not name the process at the other end.
    case peerUnknown(LocalPeerError?)
    /// The connection came while the server ended.
    case serverEnded
}

/// One accepted connection and what is proved about its peer.
final class PeerConnection: Sendable {
    enum Origin: Sendable {
        case local(LocalPeer)
        /// The IP address and the port, joined for people, and the IP address alone.
        case remote(address: String, host: String)
    }

    /// Names the connection inside this process only: 128 random bits, so that a label that
    /// a client sends could not name a connection even if it were not removed.
    let label: String
    let channel: any Channel
    let origin: Origin
    private let verified = Mutex<VerifiedPeer?>(nil)
    private let streams = Mutex(Streams())

    private struct Streams {
        var next: UInt64 = 0
        var open: [UInt64: RequestStream] = [:]
    }

    init(channel: any Channel, origin: Origin) {
        var random = SystemRandomNumberGenerator()
        self.label =
            String(random.next() as UInt64, radix: 16) + "-"
            + String(random.next() as UInt64, radix: 16)
        self.channel = channel
        self.origin = origin
    }

    var source: ConnectionSource {
        switch origin {
        case .local(let peer): .uid(peer.uid)
        case .remote(_, let host): ConnectionSource(host: host)
        }
    }

    /// Whether the peer showed no certificate; to be asked after the handshake.
    var isAnonymous: Bool {
        guard case .remote = origin else { return false }
        return verifiedPeer == nil
    }

    /// Only what our own verification recorded for this very connection counts: what the TLS
    /// library remembers may stem from another one.
    var verifiedPeer: VerifiedPeer? { verified.withLock { $0 } }

    var context: PeerContext {
        switch origin {
        case .local(let peer): .local(peer)
        case .remote(let address, _): .remote(address: address, verifiedPeer)
        }
    }

    /// Keeps a stream while it is open.
    ///
    /// - Returns: Its number on this connection.
    func opened(_ stream: RequestStream) -> UInt64 {
        streams.withLock { streams in
            streams.next += 1
            streams.open[streams.next] = stream
            return streams.next
        }
    }

    func closed(_ number: UInt64) {
        streams.withLock { streams in _ = streams.open.removeValue(forKey: number) }
    }

    func stream(_ number: UInt64) -> RequestStream? { streams.withLock { $0.open[number] } }

    func record(_ peer: VerifiedPeer) {
        verified.withLock { $0 = peer }
    }
}
