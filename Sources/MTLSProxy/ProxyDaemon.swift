// SPDX-License-Identifier: Apache-2.0

internal import Authorization
internal import CLinux
package import Clocks
internal import ControlAPI
internal import FoundationEssentials
package import Logging
internal import Reactor
internal import SPIFFE
package import Telemetry

/// One proxy process: it does what the agent of its machine says, until told to stop.
package struct ProxyDaemon: Sendable {
    package let metrics = MetricRegistry(of: .proxy)
    package let health = Health(ready: [AgentLink.readyCondition])

    private let settings: ProxySettings
    private let clock: any NodeClock
    private let logger: Logger
    private let accessLog: AccessLog?
    private let drainAsked = AsyncStream.makeStream(of: Void.self)

    /// A proxy that does not run yet.
    ///
    /// - Parameters:
    ///   - settings: What its operator wants.
    ///   - clock: Both clocks.
    ///   - logger: For everything but the traffic.
    ///   - accessLog: For the traffic, as far as the settings say; nil: nowhere.
    package init(
        _ settings: ProxySettings,
        clock: any NodeClock,
        logger: Logger,
        accessLog: AccessLog?
    ) {
        self.settings = settings
        self.clock = clock
        self.logger = logger
        self.accessLog = settings.accessLog == .off ? nil : accessLog
        metrics.set(.buildInfo, to: 1, SignetVersion.current)
        metrics.set(.startTime, to: clock.wallTime.timeIntervalSince1970)
    }

    /// Takes nothing more, finishes what there is, and ends `run`.
    package func drain() { drainAsked.continuation.finish() }

    /// Runs until drained, or at once until the task is cancelled.
    ///
    /// - Parameter ready: Called once health and metrics can be asked for, with their port.
    /// - Throws: When the port cannot be bound or the workers cannot be started.
    package func run(ready: @escaping @Sendable (UInt16) -> Void = { _ in }) async throws {
        _ = clinux_raise_descriptor_limit()
        let endpoint = try await TelemetryEndpoint.bind(
            host: "127.0.0.1",
            port: settings.telemetryPort,
            metrics: metrics,
            health: health
        )
        var generator = SystemRandomness()
        var introduction = AgentLink.Introduction.random(
            proxy: settings.proxy,
            using: &generator
        )
        introduction.capabilities = Self.capabilities
        let engine = try ProxyEngine(
            workers: settings.workers,
            provider: settings.provider.library,
            instance: introduction.instance.reduce(0) { $0 << 8 | UInt64($1) }
        )
        let decisions = DecisionMemory()
        let control = EngineControl(
            engine,
            decisions: decisions,
            clock: clock,
            logger: logger,
            recording: settings.accessLog == .all ? .all : .denials
        )
        let link = AgentLink(
            socket: settings.agentSocket,
            introduction: introduction,
            engine: control,
            clock: clock,
            logger: logger,
            metrics: metrics,
            health: health
        )
        control.tellListening { link.listening($0) }
        let reporter = TrafficReporter(
            engine: engine,
            control: control,
            link: link,
            decisions: decisions,
            stalenessMax: settings.stalenessMax,
            clock: clock,
            accessLog: accessLog,
            metrics: metrics
        )
        let (drainAsked, logger) = (drainAsked.stream, logger)
        ready(endpoint.port)
        defer {
            engine.stop()
            accessLog?.finish()
        }
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await endpoint.run() }
            group.addTask { await link.run() }
            group.addTask {
                await Self.runUntilDrained(engine, reporter, link, drainAsked, logger)
                guard !Task.isCancelled else { return }
                await link.finish()
            }
            // None of them ends by itself but by failing or by the end of the drain.
            defer { group.cancelAll() }
            try await group.next()
        }
    }

    /// What a proxy of this release understands beyond the first version of the protocol.
    private static let capabilities =
        AccessPolicy.capabilities + [
            SyncCapability.federation, SyncCapability.observedEndpoints,
            SyncCapability.distrustedAuthorities, SyncCapability.revokedCertificates,
            SyncCapability.intermediates,
        ]

    /// Reports until the engine is asked to drain and has, and what came last.
    private static func runUntilDrained(
        _ engine: ProxyEngine,
        _ reporter: TrafficReporter,
        _ link: AgentLink,
        _ drainAsked: AsyncStream<Void>,
        _ logger: Logger
    ) async {
        await withTaskGroup(of: Void.self) { group in
            group.addTask { await reporter.run() }
            group.addTask {
                for await _ in drainAsked {}
                guard !Task.isCancelled else { return }
                logger.notice("draining")
                link.drain()
                await withCheckedContinuation { done in engine.drain { done.resume() } }
            }
            await group.next()
            group.cancelAll()
        }
    }

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

extension ProxySettings.Provider {
    /// The library of that name.
    var library: TLSProvider {
        switch self {
        case .boringssl: .boringSSL
        case .openssl: .openSSL
        }
    }
}
