// SPDX-License-Identifier: Apache-2.0

internal import ArgumentParser
internal import ControlAPIProtos
internal import SwiftProtobuf

/// `signet entry`: registration entries, read only; they are changed by `signet apply`.
struct EntryCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "entry",
        abstract: "Registration entries (change them with signet apply).",
        discussion: "Example: signet entry list -A",
        subcommands: [List.self, Show.self, BlastRadius.self]
    )

    struct View: Encodable {
        var namespace: String
        var name: String
        var id: String
        var spiffeID: String
        var nodeSelectors: [String]
        var workloadSelectors: [String]
        var x509SVIDTTLSeconds: UInt32
        var jwtSVIDTTLSeconds: UInt32
        var dnsNames: [String]
        var federatesWith: [String]
        var hint: String
        var labels: [String: String]
        var revision: UInt64
        /// Not there when the entry is for ever.
        var expires: String?
        /// Its workload is a server, whose authorities are certified by what certifies those of this
        /// one.
        var downstream: Bool

        init(_ entry: Signet_Node_V1alpha1_RegistrationEntry) {
            namespace = entry.namespace
            name = entry.name
            id = entry.id
            spiffeID = entry.spiffeID
            nodeSelectors = entry.nodeSelectors
            workloadSelectors = entry.workloadSelectors
            x509SVIDTTLSeconds = entry.x509SvidTtlSeconds
            jwtSVIDTTLSeconds = entry.jwtSvidTtlSeconds
            dnsNames = entry.dnsNames
            federatesWith = entry.federatesWith
            hint = entry.hint
            labels = entry.labels
            revision = entry.revision
            downstream = entry.downstream
            expires =
                entry.expiresUnixMilliseconds == 0
                ? nil : Terminal.time(unixMilliseconds: entry.expiresUnixMilliseconds)
        }
    }

    static func table(_ entries: [View]) -> Table {
        Table(
            empty: "no entries: write a RegistrationEntry and `signet apply -f` it",
            headings: ["NAMESPACE", "NAME", "SPIFFE ID", "NODE", "WORKLOAD"],
            rows: entries.map {
                [
                    $0.namespace, $0.name, $0.spiffeID, $0.nodeSelectors.joined(separator: " "),
                    $0.workloadSelectors.joined(separator: " "),
                ]
            }
        )
    }

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "List entries.",
            discussion: "Example: signet entry list -A --spiffe-id spiffe://example.org/web"
        )
        @OptionGroup var server: ServerOptions
        @OptionGroup var output: OutputOptions
        @OptionGroup var scope: NamespaceOptions
        @Flag(name: [.customShort("A"), .customLong("all-namespaces")], help: "Every namespace.")
        var allNamespaces = false
        @Option(
            name: .customLong("spiffe-id"),
            help: ArgumentHelp("Only entries of this ID.", valueName: "spiffe-id"),
            transform: TypedSPIFFEID.read
        )
        var spiffeID: TypedSPIFFEID?

        func run() async throws {
            let request = Signet_Admin_V1alpha1_ListEntriesRequest.with {
                $0.namespace = scope.namespace
                $0.allNamespaces = allNamespaces
                $0.spiffeID = spiffeID?.text ?? ""
            }
            let entries = try await EntryCommand.entries(request, server).map(View.init)
            try output.print(entries) { EntryCommand.table(entries) }
        }
    }

    struct Show: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Show one entry.",
            discussion: "Example: signet entry show web -n payments"
        )
        @OptionGroup var server: ServerOptions
        @OptionGroup var output: OutputOptions
        @OptionGroup var scope: NamespaceOptions
        @Argument(help: "The entry's name.") var name: String

        func run() async throws {
            let request = Signet_Admin_V1alpha1_ListEntriesRequest.with {
                $0.namespace = scope.namespace
                $0.name = name
            }
            guard let entry = try await EntryCommand.entries(request, server).first else {
                throw CommandFailure(
                    "there is no entry \(scope.namespace)/\(name)",
                    remedy: "`signet entry list -A` shows all."
                )
            }
            let view = View(entry)
            func lifetime(_ seconds: UInt32) -> String {
                seconds == 0 ? "the server's" : Moment.span(seconds: Double(seconds))
            }
            try output.print(view) {
                .fields([
                    "namespace": view.namespace, "name": view.name, "SPIFFE ID": view.spiffeID,
                    "node selectors": view.nodeSelectors.joined(separator: " "),
                    "workload selectors": view.workloadSelectors.joined(separator: " "),
                    "SVID lifetime": lifetime(view.x509SVIDTTLSeconds),
                    "token lifetime": lifetime(view.jwtSVIDTTLSeconds),
                    "DNS names": view.dnsNames.joined(separator: " "),
                    "federates with": view.federatesWith.joined(separator: " "),
                    "hint": view.hint,
                    "downstream": view.downstream ? "yes: its server can be anybody" : "",
                    "labels": view.labels.map { "\($0)=\($1)" }.sorted().joined(separator: " "),
                    "expires": view.expires ?? "", "revision": String(view.revision), "id": view.id,
                ])
            }
        }
    }

    struct BlastRadius: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "blast-radius",
            abstract: "What is lost with an entry, a node or an identity. Changes nothing.",
            discussion: "Example: signet entry blast-radius --node web-1"
        )
        @OptionGroup var server: ServerOptions
        @OptionGroup var output: OutputOptions
        @Option(help: ArgumentHelp("An entry.", valueName: "namespace/name")) var entry: String?
        @Option(
            help: ArgumentHelp(
                "An agent: every identity that its thief could obtain.",
                valueName: "name"
            )
        )
        var node: String?
        @Option(
            name: .customLong("spiffe-id"),
            help: ArgumentHelp(
                "Every node that can obtain this identity.",
                valueName: "spiffe-id"
            ),
            transform: TypedSPIFFEID.read
        )
        var spiffeID: TypedSPIFFEID?

        struct View: Encodable {
            var nodes: [String]
            var spiffeIDs: [String]
            var entries: [String]
            var liveSVIDs: UInt64
            var lastExpiresAt: String
            var truncated: Bool
        }

        func validate() throws {
            guard [entry, node, spiffeID?.text].compactMap({ $0 }).count == 1 else {
                throw ValidationError("name exactly one of --entry, --node and --spiffe-id")
            }
        }

        func run() async throws {
            let request = Signet_Admin_V1alpha1_BlastRadiusRequest.with {
                if let entry { $0.entry = entry }
                if let node { $0.node = node }
                if let spiffeID { $0.spiffeID = spiffeID.text }
            }
            let response = try await server.withClient { client in
                try await Signet_Admin_V1alpha1_Administration.Client(wrapping: client)
                    .blastRadius(request)
            }
            let view = View(
                nodes: response.nodes,
                spiffeIDs: response.spiffeIds,
                entries: response.entries,
                liveSVIDs: response.liveSvids,
                lastExpiresAt: Terminal.time(unixSeconds: response.lastNotAfterUnixSeconds),
                truncated: response.truncated
            )
            try output.print(view) {
                Table(
                    headings: ["WHAT", "VALUE"],
                    rows: view.nodes.map { ["node", $0] } + view.spiffeIDs.map { ["identity", $0] }
                        + view.entries.map { ["entry", $0] } + [
                            ["SVIDs not expired", String(view.liveSVIDs)],
                            ["last of them expires", view.lastExpiresAt],
                        ] + (view.truncated ? [["note", "more than shown: narrow it"]] : [])
                )
            }
        }
    }

    /// Every entry that is asked for, by namespace and name: the server's pages are in the order of
    /// their IDs.
    static func entries(
        _ request: Signet_Admin_V1alpha1_ListEntriesRequest,
        _ server: ServerOptions
    ) async throws -> [Signet_Node_V1alpha1_RegistrationEntry] {
        try await server.withClient { client in
            let service = Signet_Admin_V1alpha1_Administration.Client(wrapping: client)
            var entries: [Signet_Node_V1alpha1_RegistrationEntry] = []
            var request = request
            repeat {
                let page = try await service.listEntries(request)
                entries += page.entries
                request.pageToken = page.nextPageToken
            } while !request.pageToken.isEmpty
            return entries.sorted { ($0.namespace, $0.name) < ($1.namespace, $1.name) }
        }
    }
}
