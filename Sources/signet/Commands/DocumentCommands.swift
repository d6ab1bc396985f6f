// SPDX-License-Identifier: Apache-2.0

internal import ArgumentParser
internal import ControlAPIProtos
internal import Foundation
internal import SwiftProtobuf

/// `signet apply`: documents to the server, all of them or none.
struct ApplyCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "apply",
        abstract: "Apply documents: all of them or none.",
        discussion: """
            --wait returns when every live agent concerned has applied the change; exit status 3 \
            when some have not by the deadline, with their names.
            """
    )

    @OptionGroup var server: ServerOptions
    @OptionGroup var output: OutputOptions
    @Option(
        name: [.customShort("f"), .customLong("file")],
        help: "A file, a folder (its *.yaml, *.yml and *.json), or - for standard input."
    )
    var files: [String]
    @Option(
        name: .customLong("dry-run"),
        help: "server: let the server say what would change; change nothing."
    )
    var dryRun: DryRun?
    @Option(
        name: .customLong("prune"),
        help: """
            Delete documents labelled signet/owner=OWNER that are not in the files, in the \
            namespaces that the files name.
            """
    )
    var pruneOwner: String?
    @Flag(help: "Wait until every live agent concerned has applied it.") var wait = false
    @Option(name: .customLong("wait-seconds"), help: "How long --wait waits.")
    var waitSeconds = 30

    func validate() throws {
        guard (1...Confirmation.secondsMax).contains(waitSeconds) else {
            throw ValidationError("--wait-seconds takes 1 to \(Confirmation.secondsMax)")
        }
        guard !files.isEmpty else { throw ValidationError("name files with -f") }
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

/// Waiting for live agents to apply a revision.
enum Confirmation {
    /// Agents that are away for longer are not waited for; a script that does hangs.
    static let secondsMax = 3600

    static func wait(
        for revision: Signet_Node_V1alpha1_Revision,
        seconds: Int,
        server: ServerOptions
    ) async throws {
        let answer = try await server.withClient { client in
            try await Signet_Admin_V1alpha1_Documents.Client(wrapping: client).wait(
                .with {
                    $0.revision = revision
                    $0.deadlineMilliseconds = UInt32(clamping: seconds * 1000)
                }
            )
        }
        for refusal in answer.refused {
            Terminal.error("\(refusal.node) refused \(refusal.resource): \(refusal.reason)")
        }
        if !answer.unreachable.isEmpty {
            Terminal.error("not reachable: \(answer.unreachable.joined(separator: ", "))")
        }
        guard answer.complete, answer.refused.isEmpty, answer.unreachable.isEmpty else {
            let missing = (answer.waiting + answer.unreachable).joined(separator: ", ")
            throw CommandFailure(
                "revision \(revision.number) is not confirmed by all: \(missing)",
                remedy: "The change is in force on the server; agents apply it when they return.",
                status: .unconfirmed
            )
        }
        Terminal.error("revision \(revision.number) applied by \(answer.applied.count) agent(s)")
    }
}

/// Reading what `-f` names.
enum SourceFiles {
    /// Largest sum of all files of one apply, below the server's message limit.
    static let bytesMax = 3 * 1024 * 1024

    static func read(_ paths: [String]) throws -> [Signet_Admin_V1alpha1_SourceFile] {
        var files: [Signet_Admin_V1alpha1_SourceFile] = []
        var total = 0
        for path in try paths.flatMap(expand) {
            let data =
                if path == "-" {
                    FileHandle.standardInput.readDataToEndOfFile()
                } else if let data = FileManager.default.contents(atPath: path) {
                    data
                } else {
                    throw CommandFailure("cannot read \(path)")
                }
            total += data.count
            guard total <= bytesMax else {
                throw CommandFailure(
                    "the files hold more than \(bytesMax) bytes",
                    remedy: "Apply them in parts."
                )
            }
            guard let content = String(data: data, encoding: .utf8) else {
                throw CommandFailure("\(path) is not UTF-8 text")
            }
            files.append(
                .with {
                    $0.name = path == "-" ? "standard input" : path
                    $0.content = content
                }
            )
        }
        return files
    }

    private static func expand(_ path: String) throws -> [String] {
        guard path != "-" else { return [path] }
        guard FileManager.default.fileExists(atPath: path) else {
            throw CommandFailure(
                "there is no file or folder \(path)",
                remedy: "Check the path after -f."
            )
        }
        guard let entries = try? FileManager.default.contentsOfDirectory(atPath: path) else {
            return [path]
        }
        let names = entries.sorted().filter { name in
            [".yaml", ".yml", ".json"].contains { name.hasSuffix($0) }
        }
        guard !names.isEmpty else {
            throw CommandFailure(
                "\(path) holds no *.yaml, *.yml or *.json file",
                remedy: "Folders below it are not read; name them with further -f."
            )
        }
        return names.map { "\(path)/\($0)" }
    }
}

extension Signet_Admin_V1alpha1_DocumentKey {
    var text: String { namespace.isEmpty ? "\(kind)/\(name)" : "\(kind)/\(namespace)/\(name)" }

    /// Reads KIND/NAME as typed, in the namespace given.
    init(typed kind: String, _ name: String, namespace: String) {
        self = .with {
            $0.group = "core.signet"
            $0.kind = kind
            $0.namespace = kind == "Namespace" ? "" : namespace
            $0.name = name
        }
    }
}

/// The namespace a command works in.
struct NamespaceOptions: ParsableArguments {
    @Option(name: [.customShort("n"), .customLong("namespace")], help: "Namespace.")
    var namespace = "default"
}

/// `signet get`: documents as the server holds them.
struct GetCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "get",
        abstract: "Show documents."
    )
    @OptionGroup var server: ServerOptions
    @OptionGroup var output: OutputOptions
    @OptionGroup var scope: NamespaceOptions
    @Flag(name: [.customShort("A"), .customLong("all-namespaces")], help: "In every namespace.")
    var allNamespaces = false
    @Argument(help: "RegistrationEntry, Namespace, Role, RoleBinding; none for all kinds.")
    var kind: String?
    @Argument(help: "One document's name.") var name: String?

    func run() async throws {
        let (kind, name) = (kind ?? "", name ?? "")
        let (namespace, all) = (scope.namespace, allNamespaces)
        let documents = try await server.withClient { client in
            let service = Signet_Admin_V1alpha1_Documents.Client(wrapping: client)
            var documents: [Signet_Admin_V1alpha1_StoredDocument] = []
            var token = ""
            repeat {
                let pageToken = token
                let page = try await service.get(
                    .with {
                        $0.kind = kind
                        $0.name = name
                        $0.namespace = namespace
                        $0.allNamespaces = all
                        $0.pageToken = pageToken
                    }
                )
                documents += page.documents
                token = page.nextPageToken
            } while !token.isEmpty
            return documents
        }
        if !name.isEmpty, documents.isEmpty {
            throw CommandFailure("there is no \(kind) \(namespace)/\(name)")
        }
        DocumentPrinter.print(documents, output.format, history: false)
    }
}

/// Stored documents in the form asked for; JSON and YAML are the server's own text.
enum DocumentPrinter {
    static func print(
        _ documents: [Signet_Admin_V1alpha1_StoredDocument],
        _ format: OutputFormat,
        history: Bool
    ) {
        switch format {
        case .json:
            Terminal.out("[" + documents.map(\.json).joined(separator: ",\n") + "]")
        case .yaml:
            Terminal.out(documents.map(\.yaml).joined(separator: "---\n"))
        case .table:
            let extra = history ? ["STATE", "BY"] : []
            let table = Table(
                headings: ["KIND", "NAMESPACE", "NAME", "VERSION", "REVISION", "UPDATED"] + extra,
                rows: documents.map {
                    [
                        $0.key.kind, $0.key.namespace.isEmpty ? "-" : $0.key.namespace,
                        $0.key.name, String($0.resourceVersion), String($0.revision),
                        Terminal.time(unixMilliseconds: $0.updatedAtUnixMilliseconds),
                    ] + (history ? [$0.deleted ? "deleted" : "present", $0.updatedBy] : [])
                }
            )
            Terminal.out(table.text)
        }
    }
}

/// `signet delete`.
struct DeleteCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "delete",
        abstract: "Delete a document."
    )
    @OptionGroup var server: ServerOptions
    @OptionGroup var output: OutputOptions
    @OptionGroup var scope: NamespaceOptions
    @Argument(help: "Kind.") var kind: String
    @Argument(help: "Name.") var name: String
    @Option(
        name: .customLong("dry-run"),
        help: "server: let the server say what would change; change nothing."
    )
    var dryRun: DryRun?

    func run() async throws {
        let key = Signet_Admin_V1alpha1_DocumentKey(typed: kind, name, namespace: scope.namespace)
        let dryRun = dryRun != nil
        let response = try await server.withClient { client in
            try await Signet_Admin_V1alpha1_Documents.Client(wrapping: client).delete(
                .with {
                    $0.keys = [key]
                    $0.dryRun = dryRun
                }
            )
        }
        let view = ApplyCommand.View(response)
        try output.print(view) { view.table }
    }
}

/// `signet history`.
struct HistoryCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "history",
        abstract: "Show the earlier versions of a document."
    )
    @OptionGroup var server: ServerOptions
    @OptionGroup var output: OutputOptions
    @OptionGroup var scope: NamespaceOptions
    @Argument(help: "Kind.") var kind: String
    @Argument(help: "Name.") var name: String

    func run() async throws {
        let key = Signet_Admin_V1alpha1_DocumentKey(typed: kind, name, namespace: scope.namespace)
        let response = try await server.withClient { client in
            try await Signet_Admin_V1alpha1_Documents.Client(wrapping: client).history(
                .with { $0.key = key }
            )
        }
        DocumentPrinter.print(response.documents, output.format, history: true)
    }
}
