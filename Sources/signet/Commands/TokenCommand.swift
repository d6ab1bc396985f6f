// SPDX-License-Identifier: Apache-2.0

internal import ArgumentParser
internal import ControlAPIProtos
internal import SwiftProtobuf

/// `signet token`: join tokens for new machines.
struct TokenCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "token",
        abstract: "Join tokens for new machines.",
        discussion: "Example: signet token create --name web-1 --selector role:web",
        subcommands: [Create.self, List.self, Delete.self]
    )

    struct Create: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Make a join token; it is shown once and good for one attestation.",
            discussion: """
                The token is a secret: who has it can become this agent. It alone goes to standard \
                output. The agent refuses a file of it that others may read, hence the umask.

                Where others have to approve what a node gets, the token is worth nothing before they \
                have, and its time counts from then: exit status 7, see `signet approval`.

                Example: (umask 077; signet token create --name web-1 --selector role:web > \
                join-token)
                """
        )
        @OptionGroup var server: ServerOptions
        @OptionGroup var output: OutputOptions
        @Option(
            help: ArgumentHelp("Name of the agent, unique in the trust domain.", valueName: "agent")
        )
        var name: String
        @Option(
            name: .customLong("selector"),
            help: ArgumentHelp("Node selector; repeatable.", valueName: "type:value")
        )
        var selectors: [String] = []
        @Option(
            name: .customLong("ttl-seconds"),
            help: ArgumentHelp("How long the token may be used.", valueName: "seconds")
        )
        var ttlSeconds = 600
        @Option(
            name: .customLong("server-address"),
            help: ArgumentHelp(
                "The server as the new machine reaches it; repeatable.",
                valueName: "host:port"
            )
        )
        var addresses: [String] = []

        func validate() throws {
            guard ttlSeconds > 0 else { throw ValidationError("--ttl-seconds is above 0") }
        }

        struct View: Encodable {
            var token: String
            var agentSPIFFEID: String
            /// "-" as long as it waits for approval.
            var expiresAt: String
            /// Only if others have to approve it.
            var proposal: ProposalView?
        }

        func run() async throws {
            let request = Signet_Admin_V1alpha1_CreateTokenRequest.with {
                $0.agentName = name
                $0.nodeSelectors = selectors
                $0.ttlSeconds = UInt32(clamping: ttlSeconds)
                $0.serverAddresses = addresses
                $0.takesProposal = true
            }
            let response = try await server.withClient { client in
                try await Signet_Admin_V1alpha1_Administration.Client(wrapping: client)
                    .createToken(request)
            }
            let view = View(
                token: response.token,
                agentSPIFFEID: response.agentSpiffeID,
                expiresAt: Terminal.time(unixSeconds: response.expiresAtUnixSeconds),
                proposal: response.hasProposal ? ProposalView(response.proposal) : nil
            )
            if output.format == .table {
                // The token alone on standard output, so that a script can take it.
                let good = view.proposal == nil ? "until \(view.expiresAt)" : "when it is approved"
                Terminal.error("token for \(view.agentSPIFFEID), good once \(good):")
                Terminal.out(view.token)
                Terminal.error(
                    "next: into a file of mode 0600 on that machine, and there "
                        + "signet-agent --join-token-file FILE ..."
                )
            } else {
                try output.print(view) { Table(headings: [], rows: []) }
            }
            if let proposal = view.proposal { throw proposal.failure }
        }
    }

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "List the join tokens that can be used.",
            discussion: """
                Those that were not used and have not ended, without their secrets; ID is tokenID of \
                the audit log. One that waits for approval is in `signet approval list`. It needs the \
                verb token.create, and shows those that it is for.

                Example: signet token list
                """
        )
        @OptionGroup var server: ServerOptions
        @OptionGroup var output: OutputOptions

        struct View: Encodable {
            var agent: String
            var id: String
            var selectors: [String]
            var expiresAt: String
            var createdAt: String
            var createdBy: String
        }

        func run() async throws {
            var tokens: [Signet_Admin_V1alpha1_StoredToken] = []
            var page = ""
            repeat {
                let next = page
                let response = try await server.withClient { client in
                    try await Signet_Admin_V1alpha1_Administration.Client(wrapping: client)
                        .listTokens(.with { $0.pageToken = next })
                }
                tokens += response.tokens
                page = response.nextPageToken
            } while !page.isEmpty
            let views = tokens.map { token in
                View(
                    agent: token.agentName,
                    id: token.id,
                    selectors: token.nodeSelectors,
                    expiresAt: Terminal.time(unixSeconds: token.expiresAtUnixSeconds),
                    createdAt: Terminal.time(unixSeconds: token.createdAtUnixSeconds),
                    createdBy: token.createdBy
                )
            }
            .sorted { ($0.agent, $0.id) < ($1.agent, $1.id) }
            try output.print(views) {
                Table(
                    empty: "no join tokens that can be used",
                    headings: ["AGENT", "ID", "SELECTORS", "EXPIRES", "CREATED", "BY"],
                    rows: views.map {
                        [
                            $0.agent, $0.id,
                            $0.selectors.isEmpty ? "-" : $0.selectors.joined(separator: ","),
                            $0.expiresAt, $0.createdAt, $0.createdBy,
                        ]
                    }
                )
            }
        }
    }

    struct Delete: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Take back the join tokens of an agent that nobody has used.",
            discussion: """
                For a token that was copied or lost before its machine used it; every unused one of \
                the name goes. Whoever has joined by one is banned or evicted (`signet agent`), and a \
                token that waits for approval is withdrawn (`signet approval withdraw`). It needs \
                the verb token.create.

                Example: signet token delete web-1
                """
        )
        @OptionGroup var server: ServerOptions
        @OptionGroup var output: OutputOptions
        @Argument(help: ArgumentHelp("Name of the agent.", valueName: "agent")) var name: String

        struct View: Encodable {
            var agent: String
            var deleted: UInt64
        }

        func run() async throws {
            let name = name
            let response = try await server.withClient { client in
                try await Signet_Admin_V1alpha1_Administration.Client(wrapping: client)
                    .deleteTokens(.with { $0.agentName = name })
            }
            let view = View(agent: name, deleted: response.deleted)
            if output.format == .table {
                Terminal.out("deleted \(view.deleted) unused token(s) of \(name)")
            } else {
                try output.print(view) { Table(headings: [], rows: []) }
            }
        }
    }
}
