// SPDX-License-Identifier: Apache-2.0

internal import ArgumentParser
internal import Clocks
internal import Logging
internal import NodeAgent
internal import ServiceLifecycle
internal import Telemetry
internal import UnixSignals

/// The node agent: attests this machine's workloads and gives them their identities.
@main
struct SignetAgent: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "signet-agent",
        abstract: "Gives the workloads of this machine their SPIFFE identities.",
        discussion: """
            Every key of the configuration is described in docs/operations.md. It ends with 0 after \
            SIGTERM or SIGINT, with 1 and the reason on standard error when it cannot start or go on, \
            with 64 for wrong usage.

            Example: signet-agent --config /etc/signet/agent.yaml --join-token-file join-token
            """,
        version: Agent.version
    )

    @Option(help: "Configuration file; a flag overrides its key.") var config: String?
    private static let defaults = AgentConfiguration()

    @Option(
        name: .customLong("data-dir"),
        help: "Where the agent keeps its key and state. (default: \(defaults.dataDirectory))"
    )
    var dataDirectory: String?
    @Option(name: .customLong("join-token-file"), help: "File with the token of the first contact.")
    var joinTokenFile: String?
    @Option(
        name: .customLong("socket"),
        help: "Unix socket of the Workload API. (default: \(defaults.socket))"
    )
    var socket: String?
    @Option(
        name: .customLong("socket-mode"),
        help: "Its permissions, octal. (default: 0\(String(defaults.socketMode, radix: 8)))"
    )
    var socketMode: String?
    @Option(
        name: .customLong("proxy-socket"),
        help: "Unix socket of proxies. (default: proxy.sock beside the Workload API's)"
    )
    var proxySocket: String?
    @Option(
        name: .customLong("proxy-socket-mode"),
        help: "Its permissions, octal. (default: 0660 with its group, else 0600)"
    )
    var proxySocketMode: String?
    @Option(
        name: .customLong("proxy-socket-group"),
        help: "Its group, if there is one. (default: \(defaults.proxySocketGroup))"
    )
    var proxySocketGroup: String?
    @Option(name: .customLong("server-address"), help: "host:port; may be given several times.")
    var serverAddresses: [String] = []
    @Option(name: .customLong("trust-domain"), help: "Refuse to start in any other trust domain.")
    var trustDomain: String?
    @Option(
        name: .customLong("workload-crls"),
        help: "Show workloads revocation lists: true or false. (default: \(defaults.workloadCRLs))"
    )
    var workloadCRLs: String?
    @Option(
        name: .customLong("token-socket"),
        help: "Unix socket at which workloads exchange tokens. (default: none)"
    )
    var tokenSocket: String?
    @Option(
        name: .customLong("telemetry-port"),
        help: "Health and metrics on 127.0.0.1; 0: any. (default: \(defaults.telemetryPort))"
    )
    var telemetryPort: String?
    @Option(
        name: .customLong("log-format"),
        help: "json or text. (default: \(defaults.logFormat.rawValue))"
    )
    var logFormat: String?
    @Option(
        name: .customLong("log-level"),
        help: """
            trace, debug, info, notice, warning, error, critical. (default: \
            \(defaults.logLevel.rawValue))
            """
    )
    var logLevel: String?

    func run() async throws {
        do {
            let settings = try settings()
            bootstrapLogging(format: settings.logFormat, level: settings.logLevel)
            let logger = Logger(label: "signet-agent")
            if let problem = Agent.protectMemory() {
                logger.warning("memory is not protected", metadata: ["reason": "\(problem)"])
            }
            let agent = try Agent(settings, clock: SystemClock(), logger: logger)
            let group = ServiceGroup(
                services: [AgentRun(agent: agent, logger: logger)],
                gracefulShutdownSignals: [.sigterm, .sigint],
                logger: logger
            )
            try await group.run()
        } catch {
            StandardError().write("signet-agent: \(error)\n")
            throw ExitCode.failure
        }
    }

    private func settings() throws -> AgentConfiguration {
        var settings = AgentConfiguration()
        if let config { try settings.read(file: config) }
        let single: [(AgentConfigurationKey, String?)] = [
            (.dataDirectory, dataDirectory), (.joinTokenFile, joinTokenFile), (.socket, socket),
            (.socketMode, socketMode), (.proxySocket, proxySocket),
            (.proxySocketMode, proxySocketMode), (.proxySocketGroup, proxySocketGroup),
            (.tokenSocket, tokenSocket), (.trustDomain, trustDomain),
            (.workloadCRLs, workloadCRLs),
            (.telemetryPort, telemetryPort), (.logFormat, logFormat), (.logLevel, logLevel),
        ]
        for case (let key, let value?) in single { try settings.set(key, [value]) }
        if !serverAddresses.isEmpty { try settings.set(.serverAddresses, serverAddresses) }
        return settings
    }
}

/// The agent as a service that ends on a signal.
private struct AgentRun: Service {
    let agent: Agent
    let logger: Logger

    func run() async throws {
        try await cancelWhenGracefulShutdown {
            do {
                try await agent.run { port in
                    logger.notice("ready", metadata: ["telemetryPort": "\(port)"])
                }
            } catch is CancellationError {}
        }
    }
}
