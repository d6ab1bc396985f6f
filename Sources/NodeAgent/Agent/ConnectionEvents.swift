// SPDX-License-Identifier: Apache-2.0

internal import GRPCPeer
internal import Telemetry

extension MetricRegistry {
    /// Counts the connections of one of the agent's sockets.
    func observe(_ event: PeerEvent, listener: String) {
        switch event {
        case .closed: connectionClosed(listener: listener)
        case .opened: connectionOpened(listener: listener)
        case .openingFailed: increment(.connectionsRefused, "openingFailed")
        case .refused(let refusal): increment(.connectionsRefused, refusal.reason)
        }
    }

    /// Counts a connection, until `connectionClosed`.
    func connectionOpened(listener: String) {
        adjust(.connectionsOpen, by: 1, listener)
        increment(.connectionsOpened, listener)
    }

    /// A connection that was counted has ended.
    func connectionClosed(listener: String) { adjust(.connectionsOpen, by: -1, listener) }
}

extension ConnectionRefusal {
    /// The case's name; what it carries would be a label that callers choose.
    fileprivate var reason: String {
        switch self {
        case .anonymousConnectionsMax: "anonymousConnectionsMax"
        case .connectionsMax: "connectionsMax"
        case .connectionsPerSourceMax: "connectionsPerSourceMax"
        case .identityUnavailable: "identityUnavailable"
        case .peerUnknown: "peerUnknown"
        case .serverEnded: "serverEnded"
        }
    }
}
