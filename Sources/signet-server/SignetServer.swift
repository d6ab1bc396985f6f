// SPDX-License-Identifier: Apache-2.0

internal import Dispatch
internal import UnixSignals
internal import ArgumentParser
internal import CAServer
internal import Clocks
internal import Logging
internal import SPIFFE
internal import ServiceLifecycle
internal import Telemetry

/// One group for the command and its subcommand: of two options of one name the command takes both.
struct ConfigurationOption: ParsableArguments {
    @Option(help: "Configuration file.") var config = "/etc/signet/server.yaml"
}

/// The certificate authority: attests nodes, issues SVIDs, keeps the audit log.
@main
struct SignetServer: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "signet-server",
        abstract: "The certificate authority of a SPIFFE trust domain.",
        discussion: """
            Every key of the configuration file is described in docs/operations.md. It ends with 0 \
            after SIGTERM or SIGINT, with 1 and the reason on standard error when it cannot start or \
            go on, with 64 for wrong usage.

            Example: signet-server --config /etc/signet/server.yaml --log-format json
            """,
        version: SignetVersion.current,
        subcommands: [RestoreCommand.self]
    )

    @OptionGroup var configuration: ConfigurationOption
    @Option(
        name: .customLong("log-level"),
        help: "trace, debug, info, notice, warning, error, critical."
    )
    var logLevel = "info"
    @Option(name: .customLong("log-format"), help: "text or json.") var logFormat = "text"
    @Flag(
        name: .customLong("rebuild-audit-log"),
        help: "Make the audit log's files again from the database, once, when they are lost."
    )
    var rebuildsAuditLog = false
    @Option(
        name: .customLong("reseal-keys-from"),
        help: ArgumentHelp(
            "Write key files anew, once, that were plain or had another passphrase.",
            discussion: "plain, file:/path or credential:NAME.",
            valueName: "form"
        )
    )
    var resealKeysFrom: String?
    @Flag(
        name: .customLong("request-upstream"),
        help: ArgumentHelp(
            "Make the key of an upstream authority on disk and its request, and end.",
            discussion: "With upstream: disk; the request goes to the ceremony (pki/README.md)."
        )
    )
    var requestsUpstream = false

    func run() async throws {
        bootstrapLogging(format: try format(), level: try level())
        do {
            let settings = try ServerConfiguration(file: configuration.config)
            guard !requestsUpstream else { return try await requestUpstream(settings) }
            let logger = Logger(label: "signet-server")
            if settings.admins.isEmpty {
                logger.warning("nobody can administer this server: its configuration has no admins")
            }
            let server = try Server(
                settings,
                clock: SystemClock(),
                logger: logger,
                rebuildsAuditLog: rebuildsAuditLog,
                resealsKeysFrom: try form()
            )
            let group = ServiceGroup(
                services: [ServerRun(server: server, logger: logger)],
                gracefulShutdownSignals: [.sigterm, .sigint],
                logger: logger
            )
            try await group.run()
        } catch {
            StandardError().write("signet-server: \(error)\n")
            throw ExitCode.failure
        }
    }

    /// Prints what a ceremony needs: where the request is, and the key ID to compare it by.
    private func requestUpstream(_ settings: ServerConfiguration) async throws {
        let request = try await withCheckedThrowingContinuation { continuation in
            // A key service's answers come by the threads of tasks.
            DispatchQueue(label: "signet.server.request").async {
                continuation.resume(
                    with: Result { try Server.requestUpstream(settings, clock: SystemClock()) }
                )
            }
        }
        print(
            """
            request: \(request.path)
            key ID:  \(request.keyID)
            The ceremony certifies this key ID and no other (pki/README.md).
            """
        )
    }

    private func form() throws -> KeyFileForm? {
        do {
            return try resealKeysFrom.map { try KeyFileForm(reading: $0) }
        } catch {
            throw ValidationError("--reseal-keys-from: \(error); or plain if they have none")
        }
    }

    private func format() throws -> LogFormat {
        guard let format = LogFormat(rawValue: logFormat) else {
            throw ValidationError("--log-format \(logFormat): it is text or json")
        }
        return format
    }

    private func level() throws -> Logger.Level {
        guard let level = Logger.Level(rawValue: logLevel) else {
            throw ValidationError("--log-level \(logLevel): it is one of the levels in --help")
        }
        return level
    }
}

/// The server as a service that ends on a signal.
private struct ServerRun: Service {
    let server: Server
    let logger: Logger

    func run() async throws {
        try await cancelWhenGracefulShutdown {
            try await server.run { port in
                logger.notice("ready", metadata: ["port": "\(port)"])
            }
        }
    }
}
