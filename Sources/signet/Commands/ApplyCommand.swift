// SPDX-License-Identifier: Apache-2.0

internal import ArgumentParser
internal import ControlAPIProtos
internal import SwiftProtobuf

/// `signet apply`: documents to the server, all of them or none.
struct ApplyCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "apply",
        abstract: "Apply documents: all of them or none.",
        discussion: """
            --wait returns when every live agent and attached proxy concerned has applied the \
            change; exit status 3 when one refuses it, or some have not by the deadline, with \
            their names: NODE, or NODE/NAMESPACE/NAME for a proxy. Live is an agent that is \
            connected, or was in the last 15 minutes: one that was drained is waited for, and named \
            as not connected, with the time. A proxy that left its agent \
            without draining and has not applied it is named as not reachable for as long as its \
            process lives and its SVIDs hold; one that has ended counts no more. Proxies of which \
            no process is attached are named, and not waited for. With -o json or yaml the outcome \
            is the object `wait`. It needs the verb node.list; without it the change is made all \
            the same, and the exit status is 3.

            --prune deletes what the files do not hold any more: documents with the label \
            signet/owner=OWNER in the namespaces that the files name. Label yours so, and look \
            first with --dry-run=server.

            Where the server has others approve who may do what (`approvals` of its \
            configuration), such a change is proposed and not made: exit status 7, and `signet \
            approval` has the rest. An apply is one change: nothing of it is made before.

            Example: signet apply -f documents/ --wait
            """
    )

    @OptionGroup var server: ServerOptions
    @OptionGroup var output: OutputOptions
    @Option(
        name: [.customShort("f"), .customLong("file")],
        help: ArgumentHelp(
            "A file, a folder (its *.yaml, *.yml and *.json), or - for standard input.",
            valueName: "path"
        ),
        completion: .file(extensions: ["yaml", "yml", "json"])
    )
    var files: [String] = []
    @Option(
        name: .customLong("dry-run"),
        help: ArgumentHelp(
            "server: let the server say what would change; change nothing.",
            valueName: "server"
        )
    )
    var dryRun: DryRun?
    @Option(
        name: .customLong("prune"),
        help: ArgumentHelp(
            """
            Delete documents labelled signet/owner=OWNER that are not in the files, in the \
            namespaces that the files name.
            """,
            valueName: "owner"
        )
    )
    var pruneOwner: String?
    @Flag(help: "Wait until every live agent and attached proxy concerned has applied it.")
    var wait = false
    @Option(
        name: .customLong("wait-seconds"),
        help: ArgumentHelp(
            "How long --wait waits. (default: \(Confirmation.secondsDefault))",
            valueName: "seconds"
        )
    )
    var waitSeconds: Int?
    @Argument(help: .hidden) var misplaced: [String] = []

    func validate() throws {
        guard misplaced.isEmpty else {
            throw ValidationError(
                "files are named with -f: signet apply "
                    + (files + misplaced).map { "-f \($0)" }.joined(separator: " ")
            )
        }
        guard pruneOwner != "" else { throw ValidationError("--prune needs the owner's name") }
        if let waitSeconds {
            guard (1...Confirmation.secondsMax).contains(waitSeconds) else {
                throw ValidationError("--wait-seconds takes 1 to \(Confirmation.secondsMax)")
            }
            guard wait else {
                throw ValidationError(
                    "--wait-seconds says how long --wait waits: add --wait, or leave it out"
                )
            }
        }
        guard !files.isEmpty else {
            throw ValidationError("name what to apply: signet apply -f documents.yaml")
        }
    }

    struct View: Encodable {
        struct Change: Encodable {
            var document: String
            var action: String
            var resourceVersion: UInt64
        }
        var revision: UInt64
        var dryRun: Bool
        var changes: [Change]
        var warnings: [String]
        /// Only if others have to approve it: nothing was changed.
        var proposal: ProposalView?
        /// Only with --wait.
        var wait: ConfirmationView?

        init(_ response: Signet_Admin_V1alpha1_ApplyResponse) {
            revision = response.revision.number
            dryRun = response.dryRun
            warnings = response.warnings
            proposal = response.hasProposal ? ProposalView(response.proposal) : nil
            changes = response.changes.map {
                Change(
                    document: $0.key.text,
                    action: $0.action,
                    resourceVersion: $0.resourceVersion
                )
            }
        }

        var table: Table {
            Table(
                empty: "no documents",
                headings: ["DOCUMENT", "ACTION"],
                rows: changes.map { [$0.document, "\($0.action)\(mark)"] }
            )
        }

        private var mark: String {
            if dryRun { return " (dry run)" }
            return proposal == nil ? "" : " (proposed)"
        }
    }

    func run() async throws {
        let sources = try SourceFiles.read(files)
        let (dryRun, pruneOwner) = (dryRun != nil, pruneOwner ?? "")
        let response = try await server.withClient { client in
            try await Signet_Admin_V1alpha1_Documents.Client(wrapping: client).apply(
                .with {
                    $0.files = sources
                    $0.dryRun = dryRun
                    $0.pruneOwner = pruneOwner
                    $0.takesProposal = true
                }
            )
        }
        for warning in response.warnings { Terminal.error("warning: \(warning)") }
        var view = View(response)
        let isTold = wait && !response.dryRun && !response.hasProposal
        // People see what was done while they wait, programs read one object in the end.
        if !isTold || output.format == .table { try output.print(view) { view.table } }
        try view.proposal?.tell(dryRun: response.dryRun)
        guard isTold else { return }
        let outcome = await Confirmation.wait(
            for: response,
            seconds: waitSeconds ?? Confirmation.secondsDefault,
            server: server
        )
        for line in outcome.lines { Terminal.error(line) }
        if output.format != .table {
            view.wait = outcome.view
            try output.print(view) { view.table }
        }
        if let failure = outcome.failure { throw failure }
    }
}

/// Who works out what a change would do; only the server knows everything that is needed.
enum DryRun: String, ExpressibleByArgument, CaseIterable {
    case server
}
