// SPDX-License-Identifier: Apache-2.0

internal import Foundation
internal import Synchronization

/// A server and an agent on loopback, in a directory of their own, and the command line for them.
///
/// They end with the value.
package final class Machine: Sendable {
    package let directory: TestDirectory
    private let running = Mutex<(server: Program?, agent: Program?, port: UInt16)>((nil, nil, 0))
    private let settings: Mutex<Options>

    /// What a test changes of the configuration.
    package struct Options: Sendable {
        package var trustDomain = "example.org"
        /// Where the server keeps its authorities' keys.
        package var keyStorage = "plain"
        /// Lines added to the server's configuration.
        package var serverLines: [String] = []
        /// What starts the server and the agent, if it is not this process: a command that takes
        /// theirs as its last arguments, as nsenter does.
        package var starter: [String] = []
        /// The user that they run as, by the number that they see.
        package var user = FreePort.uid
        /// Environment of the server.
        package var serverEnvironment: [String: String] = [:]
        /// Flags added to the agent's.
        package var agentFlags: [String] = []
        /// Environment of the agent.
        package var agentEnvironment: [String: String] = [:]
        /// Where the agent has health and metrics; 0 is any port.
        package var agentTelemetryPort: UInt16 = 0
        /// Environment of the command line.
        package var commandEnvironment: [String: String] = [:]

        package init() {}
    }

    package init(_ change: (inout Options) -> Void = { _ in }) throws {
        var options = Options()
        change(&options)
        settings = Mutex(options)
        directory = try TestDirectory()
    }

    /// Changes what holds for the programs that are started from now on.
    package func change(_ change: (inout Options) -> Void) {
        settings.withLock { change(&$0) }
    }

    private var options: Options { settings.withLock { $0 } }

    package var path: String { directory.path }
    package var dataDirectory: String { "\(path)/server" }
    package var agentDirectory: String { "\(path)/agent" }
    package var adminSocket: String { "\(path)/admin.sock" }
    package var workloadSocket: String { "\(path)/workload.sock" }
    package var endpoint: String { "unix://\(workloadSocket)" }

    /// Where the server listens for agents.
    package var port: UInt16 { running.withLock { $0.port } }

    package var server: Program {
        get throws {
            guard let server = running.withLock({ $0.server }) else {
                throw ProgramFailure("the server was not started")
            }
            return server
        }
    }

    package var agent: Program {
        get throws {
            guard let agent = running.withLock({ $0.agent }) else {
                throw ProgramFailure("the agent was not started")
            }
            return agent
        }
    }

    // MARK: - Server

    /// Starts the server and waits until it serves; the first time it takes a free port and keeps
    /// it for later.
    @discardableResult
    package func startServer(waitsUntilReady: Bool = true) async throws -> Program {
        let configuration = "\(path)/server.yaml"
        if !FileManager.default.fileExists(atPath: configuration) {
            try writeConfiguration(to: configuration)
        }
        let server = try start(
            "signet-server",
            ["--config", configuration],
            environment: options.serverEnvironment
        )
        running.withLock { $0.server = server }
        if waitsUntilReady { try await server.waitFor(": ready") }
        return server
    }

    private func start(
        _ name: String,
        _ arguments: [String],
        environment: [String: String]
    ) throws -> Program {
        let words = options.starter + [try Installation.binary(name)] + arguments
        return try Program(
            words[0],
            Array(words.dropFirst()),
            environment: environment,
            directory: path
        )
    }

    private func writeConfiguration(to file: String) throws {
        let port = try FreePort.take()
        running.withLock { $0.port = port }
        let lines =
            [
                "trustDomain: \(options.trustDomain)",
                "dataDirectory: \(dataDirectory)",
                "adminSocket: \(adminSocket)",
                "keyStorage: \(options.keyStorage)",
                "listen: 127.0.0.1:\(port)",
                "advertise: [\"127.0.0.1:\(port)\"]",
                "admins: [\"uid:\(options.user)\"]",
                "telemetryPort: \(try FreePort.take())",
                "attestationBurst: 1000",
            ] + options.serverLines
        try Data((lines.joined(separator: "\n") + "\n").utf8)
            .write(to: URL(fileURLWithPath: file))
    }

    // MARK: - Agent

    /// Makes a join token, starts the agent with it and waits until it serves.
    @discardableResult
    package func startAgent(
        selectors: [String] = ["role:test"],
        waitsUntilReady: Bool = true
    ) async throws -> Program {
        let tokenFile = "\(path)/token"
        if !FileManager.default.fileExists(atPath: tokenFile) {
            let token = try await signet(
                ["token", "create", "--name", "machine"]
                    + selectors.flatMap { ["--selector", $0] }
            )
            guard token.isSuccess else { throw ProgramFailure("no token: \(token.report)") }
            let text = token.output.trimmingCharacters(in: .whitespacesAndNewlines)
            try Data(text.utf8).write(to: URL(fileURLWithPath: tokenFile))
            try FileManager.default.setAttributes(
                [.posixPermissions: 0o600],
                ofItemAtPath: tokenFile
            )
        }
        let agent = try start(
            "signet-agent",
            [
                "--data-dir", agentDirectory, "--join-token-file", tokenFile,
                "--socket", workloadSocket, "--telemetry-port", "\(options.agentTelemetryPort)",
            ] + options.agentFlags,
            environment: options.agentEnvironment
        )
        running.withLock { $0.agent = agent }
        if waitsUntilReady { try await agent.waitFor(": ready") }
        return agent
    }

    // MARK: - Command line

    /// Runs the command line against this machine.
    ///
    /// - Parameters:
    ///   - arguments: Without the program's name.
    ///   - environment: Beside and instead of what names this machine's sockets; an empty variable
    ///     is none to the command line.
    /// - Returns: What it left behind.
    /// - Throws: `ProgramFailure` when it does not end.
    package func signet(
        _ arguments: [String],
        environment: [String: String] = [:]
    ) async throws -> ProgramResult {
        try await startSignet(arguments, environment: environment).result()
    }

    /// Starts the command line against this machine.
    package func startSignet(
        _ arguments: [String],
        environment: [String: String] = [:]
    ) throws -> Program {
        try Program(
            Installation.binary("signet"),
            arguments,
            environment: [
                "SIGNET_SERVER_SOCKET": adminSocket, "SPIFFE_ENDPOINT_SOCKET": endpoint,
            ].merging(options.commandEnvironment) { $1 }.merging(environment) { $1 },
            directory: path
        )
    }

    /// Applies documents and, if wanted, waits until the agent has them.
    @discardableResult
    package func apply(_ text: String, waits: Bool = true) async throws -> ProgramResult {
        let file = "\(path)/documents-\(UInt32.random(in: 0...UInt32.max)).yaml"
        try Data(text.utf8).write(to: URL(fileURLWithPath: file))
        let result = try await signet(["apply", "-f", file] + (waits ? ["--wait"] : []))
        guard result.isSuccess else { throw ProgramFailure("apply: \(result.report)") }
        return result
    }

    /// Registers the processes of this user, or of another, as `spiffe://example.org/<path>`.
    package func register(
        _ path: String,
        name: String? = nil,
        uid: UInt32 = FreePort.uid,
        more: [String] = [],
        waits: Bool = true
    ) async throws {
        try await apply(
            Self.entry(path, name: name, workload: "unix:uid:\(uid)", more: more),
            waits: waits
        )
    }

    /// A `RegistrationEntry` document for nodes of `role:test`, named like its path if nothing else
    /// is said.
    package static func entry(
        _ path: String,
        name: String? = nil,
        workload: String,
        more: [String] = []
    ) -> String {
        let lines = [
            "---", "apiVersion: core.signet/v1alpha1", "kind: RegistrationEntry",
            "metadata: {name: \(name ?? path)}", "spec:",
            "  spiffeID: spiffe://example.org/\(path)",
            "  nodeSelectors: [\"role:test\"]",
            "  workloadSelectors: [\"\(workload)\"]",
        ]
        return (lines + more.map { "  " + $0 }).joined(separator: "\n") + "\n"
    }

    /// Stops both programs and waits for their ends.
    package func stop() async throws {
        let (server, agent) = running.withLock { ($0.server, $0.agent) }
        _ = try await agent?.stop()
        _ = try await server?.stop()
    }
}
