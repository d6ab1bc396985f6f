// SPDX-License-Identifier: Apache-2.0

internal import ArgumentParser
internal import ControlAPIProtos
internal import SwiftProtobuf

/// `signet explain`: why something is as it is.
struct ExplainCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "explain",
        abstract: "Why a workload gets an identity or none, and a request is allowed or denied.",
        discussion: "Example: signet explain workload --pid 4711",
        subcommands: [Workload.self, ExplainRequestCommand.self, ExplainDecisionCommand.self]
    )

    struct Workload: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "What a process attests to, what it gets by which entry, and near misses.",
            discussion: """
                Without --agent the agent of this machine is asked, which only root and the \
                agent's own user may do. With --agent the server asks that agent and adds entries \
                that fail by their node selectors. Exit status 1 when the process is not there.

                Example: signet explain workload --pid $$
                """
        )
        @OptionGroup var server: ServerOptions
        @OptionGroup var output: OutputOptions
        @Option(
            help: ArgumentHelp("The process to explain.", valueName: "number"),
            transform: TypedProcess.read
        )
        var pid: Int32
        @Option(help: ArgumentHelp("Ask through the server: this agent.", valueName: "name"))
        var agent: String?

        func validate() throws {
            guard pid > 0 else { throw ValidationError("--pid is above 0") }
        }

        func run() async throws {
            let pid = pid
            let explanation =
                if let agent {
                    try await server.withClient { client in
                        try await Signet_Admin_V1alpha1_Administration.Client(wrapping: client)
                            .explainWorkload(
                                .with {
                                    $0.agentName = agent
                                    $0.pid = pid
                                }
                            )
                    }
                } else {
                    try await server.agent.withClient { client in
                        try await Signet_Agent_V1alpha1_AgentLocal.Client(wrapping: client)
                            .explainWorkload(.with { $0.pid = pid })
                    }
                }
            let view = ExplanationView(explanation)
            let isThere = !view.selectors.isEmpty
            if output.format != .table {
                try output.print(view) { Table(headings: [], rows: []) }
            } else if isThere {
                Terminal.out(view.text)
            }
            guard isThere else {
                throw CommandFailure(
                    "process \(pid) attests to nothing: \(view.attestationError)",
                    remedy: "`ps -e` lists the processes of a machine."
                )
            }
        }
    }
}
