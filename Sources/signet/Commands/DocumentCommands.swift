// SPDX-License-Identifier: Apache-2.0

internal import ArgumentParser
internal import ControlAPIProtos
internal import PolicyDocuments
internal import SwiftProtobuf

/// The namespace a command works in.
struct NamespaceOptions: ParsableArguments {
    @Option(
        name: [.customShort("n"), .customLong("namespace")],
        help: ArgumentHelp("Namespace.", valueName: "name")
    )
    var namespace = "default"
}

/// A document as typed: KIND NAME, or in one word as tables show it, KIND/NAME or
/// KIND/NAMESPACE/NAME.
package struct TypedDocument: Hashable, Sendable {
    /// Empty: every kind.
    package let kind: String
    /// Empty: every document.
    package let name: String
    /// Nil: the one that the options say.
    package let namespace: String?

    /// Reads one or two words; nil if they have another form.
    package init?(kind: String?, name: String?) {
        let parts = (kind ?? "").split(separator: "/", omittingEmptySubsequences: false)
            .map(String.init)
        switch (parts.count, name) {
        case (1, _): (self.kind, self.name, namespace) = (parts[0], name ?? "", nil)
        case (2, nil): (self.kind, self.name, namespace) = (parts[0], parts[1], nil)
        case (3, nil): (self.kind, self.name, namespace) = (parts[0], parts[2], parts[1])
        default: return nil
        }
        guard parts.count == 1 || !parts.contains("") else { return nil }
    }

    /// Reads what may be one document or many.
    ///
    /// - Throws: `ValidationError` with the forms.
    static func parse(_ kind: String?, _ name: String?) throws -> Self {
        guard let typed = Self(kind: kind, name: name) else {
            throw ValidationError("a document is KIND NAME, KIND/NAME or KIND/NAMESPACE/NAME")
        }
        return typed
    }

    /// Reads what must be one document.
    ///
    /// - Throws: `ValidationError` with the forms.
    static func parseOne(_ kind: String, _ name: String?) throws -> Self {
        let typed = try parse(kind, name)
        guard !typed.name.isEmpty else {
            throw ValidationError("name one document: \(kind) NAME, or \(kind)/NAMESPACE/NAME")
        }
        return typed
    }

    func key(in scope: NamespaceOptions) -> Signet_Admin_V1alpha1_DocumentKey {
        .with {
            $0.kind = kind
            $0.namespace = namespace ?? scope.namespace
            $0.name = name
        }
    }
}

extension CompletionKind {
    /// The kinds of documents.
    static var documentKinds: Self { .list(DocumentKind.allCases.map(\.rawValue)) }
}

extension Signet_Admin_V1alpha1_DocumentKey {
    var text: String { namespace.isEmpty ? "\(kind)/\(name)" : "\(kind)/\(namespace)/\(name)" }
}

/// `signet get`: documents as the server holds them.
struct GetCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "get",
        abstract: "Show documents.",
        discussion: """
            A document is named by KIND NAME or, as tables show it, KIND/NAMESPACE/NAME.

            Example: signet get RegistrationEntry web -n payments -o yaml
            """
    )
    @OptionGroup var server: ServerOptions
    @OptionGroup var output: OutputOptions
    @OptionGroup var scope: NamespaceOptions
    @Flag(name: [.customShort("A"), .customLong("all-namespaces")], help: "In every namespace.")
    var allNamespaces = false
    @Argument(
        help: "\(DocumentKind.allCases.map(\.rawValue).joined(separator: ", ")); none for all.",
        completion: .documentKinds
    )
    var kind: String?
    @Argument(help: "One document's name.") var name: String?

    func validate() throws {
        _ = try TypedDocument.parse(kind, name)
    }

    func run() async throws {
        let typed = try TypedDocument.parse(kind, name)
        let (kind, name) = (typed.kind, typed.name)
        let (namespace, all) = (typed.namespace ?? scope.namespace, allNamespaces)
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
            throw CommandFailure(
                DocumentPrinter.isNamespaced(kind)
                    ? "there is no \(kind) \(namespace)/\(name)" : "there is no \(kind) \(name)",
                remedy: "`signet get \(kind) -A` lists those there are."
            )
        }
        try DocumentPrinter.print(
            documents,
            output.format,
            empty: DocumentPrinter.nothing(kind: kind, all: all)
        )
    }
}

/// Stored documents in the form asked for; JSON and YAML are the server's own text.
package enum DocumentPrinter {
    /// What to say when there are none of a kind, or of all with the empty one.
    package static func nothing(kind: String, all: Bool) -> String {
        all || !isNamespaced(kind)
            ? "no documents here" : "no documents here; -A looks in every namespace"
    }

    /// Whether documents of a kind, typed in any case, lie in namespaces.
    static func isNamespaced(_ kind: String) -> Bool {
        let known = DocumentKind.allCases.first {
            $0.rawValue.lowercased() == kind.lowercased()
        }
        return known?.isNamespaced ?? true
    }

    /// Prints documents, or, with nil for `empty`, the versions of one.
    static func print(
        _ documents: [Signet_Admin_V1alpha1_StoredDocument],
        _ format: OutputFormat,
        empty: String?
    ) throws {
        let history = empty == nil
        switch format {
        case .json where history: Terminal.out(try HistoryPrinter.json(documents))
        case .yaml where history: Terminal.out(try HistoryPrinter.yaml(documents))
        case .json:
            Terminal.out("[" + documents.map(\.json).joined(separator: ",\n") + "]")
        case .yaml:
            Terminal.out(documents.map(\.yaml).joined(separator: "---\n"))
        case .table:
            let extra = history ? ["STATE", "BY"] : []
            let table = Table(
                empty: empty ?? "no versions",
                headings: ["KIND", "NAMESPACE", "NAME", "VERSION", "REVISION", "UPDATED"] + extra,
                rows: documents.map {
                    [
                        $0.key.kind, $0.key.namespace.isEmpty ? "-" : $0.key.namespace,
                        $0.key.name, String($0.resourceVersion), String($0.revision),
                        Terminal.time(unixMilliseconds: $0.updatedAtUnixMilliseconds),
                    ] + (history ? [HistoryPrinter.state($0), $0.updatedBy] : [])
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
        abstract: "Delete a document.",
        discussion: """
            Where others have to approve it, the deletion is proposed: exit status 7, see `signet \
            approval`.

            Example: signet delete RegistrationEntry web -n payments --dry-run=server
            """
    )
    @OptionGroup var server: ServerOptions
    @OptionGroup var output: OutputOptions
    @OptionGroup var scope: NamespaceOptions
    @Argument(help: "Kind, or KIND/NAMESPACE/NAME.", completion: .documentKinds)
    var kind: String
    @Argument(help: "Name.") var name: String?
    @Option(
        name: .customLong("dry-run"),
        help: ArgumentHelp(
            "server: let the server say what would change; change nothing.",
            valueName: "server"
        )
    )
    var dryRun: DryRun?

    func validate() throws {
        _ = try TypedDocument.parseOne(kind, name)
    }

    func run() async throws {
        let key = try TypedDocument.parseOne(kind, name).key(in: scope)
        let dryRun = dryRun != nil
        let response = try await server.withClient { client in
            try await Signet_Admin_V1alpha1_Documents.Client(wrapping: client).delete(
                .with {
                    $0.keys = [key]
                    $0.dryRun = dryRun
                    $0.takesProposal = true
                }
            )
        }
        let view = ApplyCommand.View(response)
        try output.print(view) { view.table }
        for warning in response.warnings { Terminal.error("warning: \(warning)") }
        try view.proposal?.tell(dryRun: dryRun)
    }
}

/// `signet history`.
struct HistoryCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "history",
        abstract: "Show the earlier versions of a document.",
        discussion: "Example: signet history RegistrationEntry web -n payments -o yaml"
    )
    @OptionGroup var server: ServerOptions
    @OptionGroup var output: OutputOptions
    @OptionGroup var scope: NamespaceOptions
    @Argument(help: "Kind, or KIND/NAMESPACE/NAME.", completion: .documentKinds)
    var kind: String
    @Argument(help: "Name.") var name: String?

    func validate() throws {
        _ = try TypedDocument.parseOne(kind, name)
    }

    func run() async throws {
        let key = try TypedDocument.parseOne(kind, name).key(in: scope)
        let response = try await server.withClient { client in
            try await Signet_Admin_V1alpha1_Documents.Client(wrapping: client).history(
                .with { $0.key = key }
            )
        }
        try DocumentPrinter.print(response.documents, output.format, empty: nil)
    }
}
