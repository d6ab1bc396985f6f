// SPDX-License-Identifier: Apache-2.0

internal import Clocks
internal import ControlAPI
internal import GRPCPeer
internal import Logging
internal import Telemetry

extension ServerCore {
    /// Counts requests by method and status.
    var observer: RPCObserver {
        let (clock, metrics) = (clock, metrics)
        return RPCObserver(now: { clock.bootTime }) { method, code, took in
            metrics.increment(.rpcs, method, code)
            metrics.observe(.rpcDuration, took, method)
        }
    }

    /// Writes down what no service has put into words.
    var faults: FaultInterceptor {
        let logger = logger
        return FaultInterceptor { reference, method, error in
            logger.error(
                "a request failed",
                metadata: [
                    "reference": "\(reference)", "method": "\(method)", "error": "\(error)",
                ]
            )
        }
    }

    /// Counts what happens to connections.
    ///
    /// It is called on event loops, so it only counts and logs.
    func observe(_ event: PeerEvent) {
        switch event {
        case .closed(let peer): metrics.adjust(.connectionsOpen, by: -1, peer.listenerName)
        case .opened(let peer):
            metrics.adjust(.connectionsOpen, by: 1, peer.listenerName)
            metrics.increment(.connectionsOpened, peer.listenerName)
        case .openingFailed(_, let error):
            metrics.increment(.connectionsRefused, "opening")
            logger.debug("a connection was not opened", metadata: ["error": "\(error)"])
        case .refused(let refusal):
            metrics.increment(.connectionsRefused, "limit")
            logger.debug("a connection was refused", metadata: ["reason": "\(refusal)"])
        }
    }
}

extension PeerContext {
    /// The listener in metrics.
    var listenerName: String {
        switch self {
        case .local: "local"
        case .remote: "network"
        }
    }
}
