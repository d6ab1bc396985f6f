// SPDX-License-Identifier: Apache-2.0

internal import ArgumentParser
internal import Clocks
internal import Logging
internal import MTLSProxy
internal import ServiceLifecycle
internal import Telemetry
internal import UnixSignals

/// The proxy: speaks mTLS in the name of workloads, as the agent of its machine tells it.
@main
struct SignetProxy: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "signet-proxy",
        abstract: "Carries the traffic of workloads over mTLS, as the agent of this machine says.",
        discussion: """
            Listeners, identities and policies come from the agent. Every flag is described in \
            docs/operations.md. It ends with 0 after SIGTERM or SIGINT, with 1 and the reason on \
            standard error when it cannot start or go on, with 64 for wrong usage.

            Example: signet-proxy --log-format json
            """,
        version: ProxyDaemon.version
    )

    private static let defaults = ProxySettings()

    @Option(
        name: .customLong("agent-socket"),
        help: "The agent's socket for proxies. (default: \(defaults.agentSocket))"
    )
    var path: String?
    @Option(
        name: .customLong("proxy"),
        help: "The Proxy, as namespace/name, if this process attests to several."
    )
    var reference: String?
    @Option(
        name: .customLong("workers"),
        help: "Threads that carry traffic. (default: \(defaults.workers))"
    )
    var threads: Int?
    @Option(
        name: .customLong("provider"),
        help: "TLS library: boringssl or openssl. (default: \(defaults.provider.rawValue))"
    )
    var library: String?
    @Option(
        name: .customLong("max-staleness"),
        help: """
            Seconds, at least \(ProxySettings.stalenessMin.components.seconds), without word of the \
            agent after which no connection is accepted or opened, and those that live are cut \
            off. (default: none; certificates end by themselves)
            """
    )
    var seconds: Int?
    @Option(
        name: .customLong("access-log"),
        help: "What goes to the log: off, errors or all. (default: errors)"
    )
    var access: String?
    @Option(
        name: .customLong("telemetry-port"),
        help: "Health and metrics on 127.0.0.1; 0: any. (default: \(defaults.telemetryPort))"
    )
    var port: UInt16?
    @Flag(
        name: .customLong("allow-debugging"),
        help: "Let other processes of this user read the keys; for development."
    )
    var allowsDebugging = false
    @Option(name: .customLong("log-format"), help: "json or text. (default: text)")
    var format: String?
    @Option(
        name: .customLong("log-level"),
        help: "trace, debug, info, notice, warning, error, critical. (default: info)"
    )
    var level: String?

    func validate() throws {
        _ = try settings()
        _ = try (logFormat, logLevel)
    }

    func run() async throws {
        let (settings, format, level) = try (self.settings(), logFormat, logLevel)
        do {
            let sink = bootstrapLogging(format: format, level: level)
            let logger = Logger(label: "signet-proxy")
            if !allowsDebugging, let problem = ProxyDaemon.protectMemory() {
                logger.warning("memory is not protected", metadata: ["reason": "\(problem)"])
            }
            let daemon = ProxyDaemon(
                settings,
                clock: SystemClock(),
                logger: logger,
                accessLog: AccessLog(format) { sink.write($0) }
            )
            let group = ServiceGroup(
                services: [ProxyRun(daemon: daemon, logger: logger)],
                gracefulShutdownSignals: [.sigterm, .sigint],
                logger: logger
            )
            try await group.run()
        } catch {
            StandardError().write("signet-proxy: \(error)\n")
            throw ExitCode.failure
        }
    }

    private var logFormat: LogFormat { get throws { try value(format, "log-format") ?? .text } }

    private var logLevel: Logger.Level { get throws { try value(level, "log-level") ?? .info } }

    private func settings() throws -> ProxySettings {
        var settings = ProxySettings()
        if let path { settings.agentSocket = path }
        if let reference {
            guard ProxySettings.isReference(reference) else {
                throw ValidationError(
                    "--proxy takes namespace/name of a Proxy document, such as default/frontend"
                )
            }
            settings.proxy = reference
        }
        if let provider: ProxySettings.Provider = try value(library, "provider") {
            settings.provider = provider
        }
        if let log: ProxySettings.AccessLog = try value(access, "access-log") {
            settings.accessLog = log
        }
        if let port { settings.telemetryPort = port }
        if let threads {
            guard (1...ProxySettings.workersMax).contains(threads) else {
                throw ValidationError("--workers takes 1 to \(ProxySettings.workersMax)")
            }
            settings.workers = threads
        }
        if let seconds {
            let least = ProxySettings.stalenessMin
            guard Duration.seconds(seconds) >= least else {
                throw ValidationError(
                    "--max-staleness takes at least \(least.components.seconds) seconds: an agent "
                        + "says something every 10"
                )
            }
            settings.stalenessMax = .seconds(seconds)
        }
        return settings
    }

    private func value<Value: RawRepresentable<String>>(
        _ text: String?,
        _ flag: String
    ) throws -> Value? {
        guard let text else { return nil }
        guard let value = Value(rawValue: text) else {
            throw ValidationError("--\(flag) does not take \"\(text)\"; see --help")
        }
        return value
    }
}

/// The proxy as a service that ends on a signal.
private struct ProxyRun: Service {
    let daemon: ProxyDaemon
    let logger: Logger

    func run() async throws {
        try await withGracefulShutdownHandler {
            do {
                try await daemon.run { port in
                    logger.notice("started", metadata: ["telemetryPort": "\(port)"])
                }
            } catch is CancellationError {}
        } onGracefulShutdown: {
            daemon.drain()
        }
    }
}
