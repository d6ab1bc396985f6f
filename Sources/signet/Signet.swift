// SPDX-License-Identifier: Apache-2.0

internal import ArgumentParser

/// The command a person types.
///
/// It holds no key of its own and decides nothing: it asks the server or the local agent and prints
/// their answers. `signet pki` alone asks nobody: it is for machines without network.
@main
struct Signet: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "signet",
        abstract: "Identities and policies for workloads: administer, fetch, explain, prove.",
        discussion: """
            Commands that administer ask the server: through its admin socket on this machine \
            (--server-socket, SIGNET_SERVER_SOCKET, .signet below this folder, /run/signet), or \
            over the network as the identity that the agent here gives (--server, SIGNET_SERVER). \
            Commands on identities of this machine ask the agent (--agent-socket, \
            SPIFFE_ENDPOINT_SOCKET).

            Exit status: \(exitStatuses).

            Example: signet dev
            """,
        version: Version.current,
        subcommands: [
            DevCommand.self, ApplyCommand.self, GetCommand.self, DeleteCommand.self,
            HistoryCommand.self, ApprovalCommand.self, TokenCommand.self, AgentCommand.self,
            BundleCommand.self, AuthorityCommand.self, CACommand.self, PKICommand.self,
            FederationCommand.self, EntryCommand.self,
            SVIDCommand.self, JWTCommand.self, ProxyCommand.self, ServiceCommand.self,
            ServerCommand.self,
            ExplainCommand.self, DecisionsCommand.self, AuditCommand.self, HealthCommand.self,
            VersionCommand.self,
            CompletionCommand.self,
            LaunchCommand.self,
        ]
    )

    private static var exitStatuses: String {
        ExitStatus.allCases.map { "\($0.rawValue) \($0.meaning)" }.joined(separator: "; ")
    }

    static func main() async {
        do {
            var command = try parseAsRoot()
            if var asyncCommand = command as? any AsyncParsableCommand {
                try await asyncCommand.run()
            } else {
                try command.run()
            }
        } catch let code as ExitCode {
            exit(withError: code)
        } catch {
            switch exitCode(for: error) {
            case .success: exit(withError: error)
            case .validationFailure: end(UsageMessage.text(for: error), .usage)
            default: end(CommandFailure(error))
            }
        }
    }

    private static func end(_ failure: CommandFailure) {
        let lines = failure.message.split(separator: "\n", omittingEmptySubsequences: false)
        let message = lines.map { Terminal.printable(String($0)) }.joined(separator: "\n")
        let remedy = failure.remedy.map { "\n  \(Terminal.printable($0))" } ?? ""
        end("signet: \(message)\(remedy)", failure.status)
    }

    private static func end(_ text: String, _ status: ExitStatus) {
        Terminal.error(text)
        exit(withError: status.code)
    }
}
