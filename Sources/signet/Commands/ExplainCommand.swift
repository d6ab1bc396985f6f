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
            abstract: "What a process attests to, what it gets, and the nearest misses.",
            discussion: """
                Without --agent the agent of this machine is asked, which only root and the \
                agent's own user may do. With --agent the server asks that agent and adds entries \
                that fail by their node selectors. Exit status 1 when the process is not there.

                Example: signet explain workload --pid $$
                """
        )
        @OptionGroup var server: ServerOptions
        @OptionGroup var output: OutputOptions
        @Option(help: ArgumentHelp("The process to explain.", valueName: "number"))
        var pid: Int32
        @Option(help: ArgumentHelp("Ask through the server: this agent.", valueName: "name"))
        var agent: String?

        struct View: Encodable {
            struct NearMiss: Encodable {
                var entry: String
                var spiffeID: String
                var matched: [String]
                var missingWorkloadSelectors: [String]
                var missingNodeSelectors: [String]
            }
            var pid: Int32
            var selectors: [String]
            var spiffeIDs: [String]
            /// How many entries grant each identity.
            var grantingEntries: [String: Int]
            var nearMisses: [NearMiss]
            var revision: UInt64
            var attestationError: String
            var notes: [String]
        }

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
            let view = View(explanation)
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

extension ExplainCommand.Workload.View {
    init(_ explanation: Signet_Node_V1alpha1_WorkloadExplanation) {
        pid = explanation.pid
        selectors = explanation.selectors
        // The answer names an identity once for each entry that grants it.
        grantingEntries = explanation.spiffeIds.reduce(into: [:]) { $0[$1, default: 0] += 1 }
        var named: Set<String> = []
        spiffeIDs = explanation.spiffeIds.filter { named.insert($0).inserted }
        revision = explanation.revision.number
        attestationError = explanation.attestationError
        notes = explanation.notes
        nearMisses = explanation.nearMisses.map {
            NearMiss(
                entry: $0.entry,
                spiffeID: $0.spiffeID,
                matched: $0.matched,
                missingWorkloadSelectors: $0.missingWorkloadSelectors,
                missingNodeSelectors: $0.missingNodeSelectors
            )
        }
    }

    var text: String {
        var lines = ["process \(pid), judged at revision \(revision)"]
        lines.append("it attests to:")
        lines += selectors.map { "  \($0)" }
        if !attestationError.isEmpty { lines.append("  not: \(attestationError)") }
        lines += notes.map { "  note: \($0)" }
        if spiffeIDs.isEmpty {
            lines.append("it gets no identity")
        } else {
            lines.append("it gets:")
            lines += spiffeIDs.map { id -> String in
                let count = grantingEntries[id] ?? 1
                return count == 1 ? "  \(id)" : "  \(id) (by \(count) entries)"
            }
        }
        for (number, miss) in nearMisses.enumerated() {
            lines.append(
                number == 0
                    ? "nearest miss: entry \(miss.entry) for \(miss.spiffeID)"
                    : "then: entry \(miss.entry) for \(miss.spiffeID)"
            )
            lines += miss.matched.map { "  has      \($0)" }
            lines += miss.missingWorkloadSelectors.map { "  LACKS    \($0)" }
            lines += miss.missingNodeSelectors.map { "  LACKS    \($0) (on the node)" }
        }
        if spiffeIDs.isEmpty, nearMisses.isEmpty {
            lines.append("no entry in the agent's scope shares a selector with it")
        }
        return lines.map(Terminal.printable).joined(separator: "\n")
    }
}
