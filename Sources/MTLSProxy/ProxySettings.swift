// SPDX-License-Identifier: Apache-2.0

internal import ControlAPI

/// What an operator decides about one proxy process.
///
/// It has no configuration file, because all else comes from its agent: every member is a flag,
/// described in docs/operations.md.
package struct ProxySettings: Hashable, Sendable {
    /// Which TLS library carries the traffic.
    package enum Provider: String, CaseIterable, Hashable, Sendable {
        case boringssl
        case openssl
    }

    /// Which requests and connections are written to the log.
    package enum AccessLog: String, CaseIterable, Hashable, Sendable {
        case off
        /// What was denied or failed.
        case errors
        case all
    }

    /// Most workers: more than machines have processors that one proxy is given.
    package static let workersMax = ProxyEngine.workersMax

    /// Least `stalenessMax`: an agent says something at least every 10 s, and one word may be late
    /// or lost without being a reason to end all traffic.
    package static let stalenessMin: Duration = .seconds(30)

    /// The agent's socket for proxies.
    package var agentSocket = "/run/signet/agent/proxy.sock"
    /// `namespace/name`; empty: the one Proxy that the process attests to.
    package var proxy = ""
    /// Threads that carry traffic.
    package var workers = 1
    package var provider = Provider.boringssl
    /// Without word of the agent for so long no connection is accepted or opened; nil: the SVIDs'
    /// own ends are the only limit.
    package var stalenessMax: Duration?
    package var accessLog = AccessLog.errors
    /// Health and metrics, on the loopback interface; 0 picks a free port.
    package var telemetryPort: UInt16 = 15020

    package init() {}

    /// Whether a text is what `proxy` may be: an agent refuses anything else at every attempt.
    package static func isReference(_ text: String) -> Bool {
        (try? AttachedProxy.reference(text, "proxy")) != nil
    }
}
