// SPDX-License-Identifier: Apache-2.0

internal import NIOCore
internal import SPIFFE
internal import Synchronization

/// The open connections of one transport: admission under its limits, and who is behind each.
package final class PeerConnections: Sendable {
    private struct State {
        var byLabel: [String: PeerConnection] = [:]
        var countBySource: [ConnectionSource: Int] = [:]
        var anonymous: Set<String> = []
        var hasEnded = false
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

    func admit(_ connection: PeerConnection) throws(ConnectionRefusal) {
        let refusal = state.withLock { state -> ConnectionRefusal? in
            guard !state.hasEnded else { return .serverEnded }
            guard state.byLabel.count < limits.connectionsMax else { return .connectionsMax }
            let count = state.countBySource[connection.source, default: 0]
            guard count < limits.connectionsPerSourceMax else {
                return .connectionsPerSourceMax(connection.source)
            }
            state.countBySource[connection.source] = count + 1
            state.byLabel[connection.label] = connection
            return nil
        }
        if let refusal { throw refusal }
    }

    /// Counts an admitted connection among the anonymous ones, once its handshake showed no
    /// certificate.
    func admitAnonymous(_ connection: PeerConnection) throws(ConnectionRefusal) {
        let isAdmitted = state.withLock { state in
            guard state.anonymous.count < limits.anonymous.connectionsMax else { return false }
            state.anonymous.insert(connection.label)
            return true
        }
        if !isAdmitted { throw .anonymousConnectionsMax }
    }

    func remove(_ connection: PeerConnection) {
        state.withLock { state in
            guard state.byLabel.removeValue(forKey: connection.label) != nil else { return }
            state.anonymous.remove(connection.label)
            let count = state.countBySource[connection.source, default: 0]
            state.countBySource[connection.source] = count > 1 ? count - 1 : nil
        }
    }

    func context(label: String) -> PeerContext? {
        state.withLock { $0.byLabel[label] }?.context
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

/// What shares one allowance of connections.
package enum ConnectionSource: Hashable, Sendable {
    case address(String)
    case uid(UInt32)
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
        case .remote(_, let host): .address(host)
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

    func record(_ peer: VerifiedPeer) {
        verified.withLock { $0 = peer }
    }
}
