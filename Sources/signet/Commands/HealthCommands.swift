// SPDX-License-Identifier: Apache-2.0

internal import ArgumentParser
internal import ControlAPIProtos
internal import SPIFFE

/// The version of all Signet programs of one build.
enum Version {
    static let current = SignetVersion.current
}

/// `signet version`.
struct VersionCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "version",
        abstract: "Print the version."
    )

    func run() { Terminal.out("signet \(Version.current)") }
}

/// `signet completion`.
struct CompletionCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "completion",
        abstract: "Print a completion script for a shell.",
        discussion: "For example: signet completion bash > /etc/bash_completion.d/signet"
    )
    @Argument(help: "bash, zsh or fish.") var shell: String

    func run() throws {
        guard let shell = CompletionShell(rawValue: shell) else {
            throw CommandFailure("there is no completion for \(shell)", remedy: "bash, zsh or fish")
        }
        Terminal.out(Signet.completionScript(for: shell))
    }
}

/// `signet health`.
struct HealthCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "health",
        abstract: "Whether the server, and the agent here, can do their work now.",
        discussion: "Exit status 1 when something is not ready, 6 when the server is not reachable."
    )
    @OptionGroup var server: ServerOptions
    @OptionGroup var output: OutputOptions

    struct View: Encodable {
        struct Condition: Encodable {
            var name: String
            var ok: Bool
            var reason: String
        }
        var ready: Bool
        var trustDomain: String
        var serverID: String
        var version: String
        var revision: UInt64
        var connectedAgents: UInt32
        var conditions: [Condition]
    }

    func run() async throws {
        let health = try await server.withClient { client in
            try await Signet_Admin_V1alpha1_Administration.Client(wrapping: client)
                .getHealth(.init())
        }
        let view = View(
            ready: health.ready,
            trustDomain: health.trustDomain,
            serverID: health.serverID,
            version: health.version,
            revision: health.revision.number,
            connectedAgents: health.connectedAgents,
            conditions: health.conditions.map {
                View.Condition(name: $0.name, ok: $0.ok, reason: $0.reason)
            }
        )
        try output.print(view) {
            Table(
                headings: ["CONDITION", "STATE", "REASON"],
                rows: [
                    [
                        "server \(view.serverID)", view.ready ? "ready" : "NOT READY",
                        "trust domain \(view.trustDomain), revision \(view.revision), "
                            + "\(view.connectedAgents) agent(s) connected",
                    ]
                ] + view.conditions.map { [$0.name, $0.ok ? "ok" : "NOT OK", $0.reason] }
            )
        }
        guard view.ready else { throw CommandFailure("the server is not ready") }
    }
}
