// SPDX-License-Identifier: Apache-2.0

internal import CLinux
package import Clocks
internal import ControlAPI
internal import ControlAPIProtos
internal import FoundationEssentials
package import Logging
internal import NodeSync
internal import SPIFFE
internal import SwiftProtobuf
package import Telemetry

/// One proxy process: it does what the agent of its machine says, until told to stop.
package struct ProxyDaemon: Sendable {
    package let metrics = MetricRegistry(of: .proxy)
    package let health = Health(ready: [AgentLink.readyCondition])

    private let settings: ProxySettings
    private let clock: any NodeClock
    private let logger: Logger

    package init(_ settings: ProxySettings, clock: any NodeClock, logger: Logger) {
        self.settings = settings
        self.clock = clock
        self.logger = logger
        metrics.set(.buildInfo, to: 1, SignetVersion.current)
        metrics.set(.startTime, to: clock.wallTime.timeIntervalSince1970)
    }

    /// Runs until the task is cancelled.
    ///
    /// - Parameter ready: Called once health and metrics can be asked for, with their port.
    /// - Throws: When the port cannot be bound.
    package func run(ready: @escaping @Sendable (UInt16) -> Void = { _ in }) async throws {
        _ = clinux_raise_descriptor_limit()
        let endpoint = try await TelemetryEndpoint.bind(
            host: "127.0.0.1",
            port: settings.telemetryPort,
            metrics: metrics,
            health: health
        )
        var generator = SystemRandomness()
        let link = AgentLink(
            socket: settings.agentSocket,
            introduction: .random(proxy: settings.proxy, using: &generator),
            engine: engine,
            clock: clock,
            logger: logger,
            metrics: metrics,
            health: health
        )
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await endpoint.run() }
            group.addTask { await link.run() }
            group.addTask { ready(endpoint.port) }
            defer { group.cancelAll() }
            // The first to end is the announcement; whichever follows ends the process.
            try await group.next()
            try await group.next()
        }
    }

    /// What carries the traffic: here, and nowhere else, the engine is attached.
    private var engine: any TrafficEngine { EngineMissing() }

    /// Keeps private keys out of core dumps and out of reach of other processes of the same user;
    /// for a program that is a proxy and nothing else.
    ///
    /// - Returns: Why that failed, in words; nil if it did not.
    package static func protectMemory() -> String? {
        let error = clinux_protect_memory()
        return error == 0 ? nil : "errno \(error)"
    }

    /// The version of this build.
    package static var version: String { SignetVersion.current }
}

/// The engine of a build that carries no traffic: it refuses every state, so that nobody takes its
/// proxy for one that listens.
struct EngineMissing: TrafficEngine {
    private static let reason = "this build of the proxy carries no traffic"

    func trust(_ trust: ProxyTrust) async {}

    func apply(_ configuration: ProxyConfiguration) async -> String? { Self.reason }

    func raised(to revision: Revision) async {}

    func answer(
        _ question: ProxyQuestion,
        limit: Int
    ) async -> Signet_Node_V1alpha1_ProxyQueryReply {
        .with {
            $0.refusal = .with {
                $0.code = "engineMissing"
                $0.message = Self.reason
            }
        }
    }
}
