// SPDX-License-Identifier: Apache-2.0

internal import ArgumentParser

/// The command a person types.
///
/// It holds no key and decides nothing: it asks the server or the
/// local agent and prints their answers.
@main
struct Signet: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "signet",
        abstract: "Identities for workloads: administer, fetch, explain and prove.",
        discussion: """
            Most commands talk to the server's admin socket (--server-socket, or the environment \
            variable SIGNET_SERVER_SOCKET, or .signet below this folder, or /run/signet). \
            Commands on identities of this machine talk to the agent (--agent-socket or \
            SPIFFE_ENDPOINT_SOCKET).

            Exit status: 0 done; 1 refused or failed; 3 done but not confirmed by everybody \
            (--wait); 4 the audit log was changed; 6 server or agent not reachable; 64 wrong usage.
            """,
        version: Version.current,
        subcommands: [
            DevCommand.self, ApplyCommand.self, GetCommand.self, DeleteCommand.self,
            HistoryCommand.self, TokenCommand.self, AgentCommand.self, BundleCommand.self,
            AuthorityCommand.self, EntryCommand.self, SVIDCommand.self, ExplainCommand.self,
            AuditCommand.self, HealthCommand.self, VersionCommand.self, CompletionCommand.self,
            LaunchCommand.self,
        ]
    )

    static func main() async {
        do {
            var command = try parseAsRoot()
            if var asyncCommand = command as? any AsyncParsableCommand {
                try await asyncCommand.run()
            } else {
                try command.run()
            }
        } catch let failure as CommandFailure {
            let lines = failure.message.split(separator: "\n", omittingEmptySubsequences: false)
            let message = lines.map { Terminal.printable(String($0)) }.joined(separator: "\n")
            Terminal.error("signet: \(message)")
            if let remedy = failure.remedy { Terminal.error("  \(remedy)") }
            exit(withError: failure.status.code)
        } catch {
            exit(withError: error)
        }
    }
}
