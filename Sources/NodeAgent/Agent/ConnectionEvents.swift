// SPDX-License-Identifier: Apache-2.0

internal import GRPCPeer
internal import Telemetry

extension MetricRegistry {
    /// Counts the connections of one of the agent's sockets.
    func observe(_ event: PeerEvent, listener: String) {
        switch event {
        case .closed: adjust(.connectionsOpen, by: -1, listener)
        case .opened:
            adjust(.connectionsOpen, by: 1, listener)
            increment(.connectionsOpened, listener)
        case .openingFailed: increment(.connectionsRefused, "openingFailed")
        case .refused(let refusal): increment(.connectionsRefused, refusal.reason)
        }
    }
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
