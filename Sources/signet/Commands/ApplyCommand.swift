// SPDX-License-Identifier: Apache-2.0

internal import ArgumentParser
package import ControlAPIProtos
internal import SwiftProtobuf

/// `signet apply`: documents to the server, all of them or none.
struct ApplyCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "apply",
        abstract: "Apply documents: all of them or none.",
        discussion: """
            --wait returns when every live agent and attached proxy concerned has applied the \
            change; exit status 3 when one refuses it, or some have not by the deadline, with \
            their names: NODE, or NODE/NAMESPACE/NAME for a proxy. It needs the verb node.list; \
            without it the change is made all the same, and the exit status is 3.

            --prune deletes what the files do not hold any more: documents with the label \
            signet/owner=OWNER in the namespaces that the files name. Label yours so, and look \
            first with --dry-run=server.

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
        help: ArgumentHelp("How long --wait waits.", valueName: "seconds")
    )
    var waitSeconds = 30
    @Argument(help: .hidden) var misplaced: [String] = []

    func validate() throws {
        guard misplaced.isEmpty else {
            throw ValidationError(
                "files are named with -f: signet apply "
                    + (files + misplaced).map { "-f \($0)" }.joined(separator: " ")
            )
        }
        guard pruneOwner != "" else { throw ValidationError("--prune needs the owner's name") }
        guard (1...Confirmation.secondsMax).contains(waitSeconds) else {
            throw ValidationError("--wait-seconds takes 1 to \(Confirmation.secondsMax)")
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

        init(_ response: Signet_Admin_V1alpha1_ApplyResponse) {
            revision = response.revision.number
            dryRun = response.dryRun
            warnings = response.warnings
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
                rows: changes.map { [$0.document, dryRun ? "\($0.action) (dry run)" : $0.action] }
            )
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
                }
            )
        }
        for warning in response.warnings { Terminal.error("warning: \(warning)") }
        let view = View(response)
        try output.print(view) { view.table }
        if wait, !response.dryRun {
            try await Confirmation.wait(
                for: response.revision,
                seconds: waitSeconds,
                server: server
            )
        }
    }
}

/// Who works out what a change would do; only the server knows everything that is needed.
enum DryRun: String, ExpressibleByArgument, CaseIterable {
    case server
}

/// Waiting for live agents and attached proxies to apply a revision.
enum Confirmation {
    /// As long as the server waits; a script that needs more hangs.
    static let secondsMax = 600

    static func wait(
        for revision: Signet_Node_V1alpha1_Revision,
        seconds: Int,
        server: ServerOptions
    ) async throws {
        let what =
            "agents and proxies to apply revision \(revision.number), for \(seconds) s at most"
        let answer: Signet_Admin_V1alpha1_WaitResponse
        do {
            answer = try await Terminal.waiting(for: what) {
                try await server.withClient { client in
                    try await Signet_Admin_V1alpha1_Documents.Client(wrapping: client).wait(
                        .with {
                            $0.revision = revision
                            $0.deadlineMilliseconds = UInt32(clamping: seconds * 1000)
                        }
                    )
                }
            }
        } catch {
            throw ConfirmationOutcome.unknown(revision: revision.number, because: error)
        }
        let outcome = ConfirmationOutcome(answer, revision: revision.number)
        for line in outcome.lines { Terminal.error(line) }
        if let failure = outcome.failure { throw failure }
    }
}

/// What agents and proxies made of a revision.
package struct ConfirmationOutcome: Sendable {
    private let answer: Signet_Admin_V1alpha1_WaitResponse
    private let revision: UInt64

    /// Judges the server's answer.
    package init(_ answer: Signet_Admin_V1alpha1_WaitResponse, revision: UInt64) {
        self.answer = answer
        self.revision = revision
    }

    /// One for each thing to know: who refused and why, who is not reachable, who has applied it.
    package var lines: [String] {
        var lines = answer.refused.map { "\($0.node) refused \($0.resource): \($0.reason)" }
        if !answer.unreachable.isEmpty {
            lines.append("not reachable: \(answer.unreachable.joined(separator: ", "))")
        }
        if failure == nil { lines.append("revision \(revision) applied by \(appliedBy)") }
        return lines
    }

    /// Nil if all that are concerned have applied it.
    package var failure: CommandFailure? {
        guard !answer.complete || !answer.refused.isEmpty || !answer.unreachable.isEmpty else {
            return nil
        }
        let refused = answer.refused.map { "\($0.node) (refused)" }
        let missing = refused + answer.waiting + answer.unreachable
        return CommandFailure(
            "revision \(revision) is not confirmed by all: \(missing.joined(separator: ", "))",
            remedy: "The change is in force on the server; agents and proxies apply it when they "
                + "can. Who refused it stays with what it had before.",
            status: .unconfirmed
        )
    }

    /// What is said when nobody tells who has applied it: the change was made all the same.
    package static func unknown(revision: UInt64, because error: any Error) -> CommandFailure {
        CommandFailure(
            "revision \(revision) is applied, but who has it is not known: "
                + CommandFailure(error).message,
            remedy: "The change is in force on the server; agents and proxies apply it when they "
                + "can. Whoever waits needs the verb node.list (docs/command-line.md, \"Rights\").",
            status: .unconfirmed
        )
    }

    /// Agents are named by one word, proxies by node, namespace and name.
    private var appliedBy: String {
        let proxies = answer.applied.count { $0.contains("/") }
        let agents = "\(answer.applied.count - proxies) agent(s)"
        return proxies == 0 ? agents : "\(agents) and \(proxies) proxy process(es)"
    }
}
