// SPDX-License-Identifier: Apache-2.0

internal import ArgumentParser
internal import ControlAPIProtos
internal import SwiftProtobuf

/// `signet agent`: the machines that were attested.
struct AgentCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "agent",
        abstract: "List, show, ban and evict agents.",
        discussion: "Example: signet agent list",
        subcommands: [List.self, Show.self, Ban.self, Unban.self, Evict.self]
    )

    /// What programs get of a node.
    struct View: Encodable {
        var name: String
        var spiffeID: String
        var selectors: [String]
        var attestation: String
        var attestedAt: String
        var svidExpiresAt: String
        var serial: String
        var banned: Bool
        var banReason: String
        var connected: Bool
        var lastSeen: String
        var appliedRevision: UInt64
        var version: String
        var entriesInScope: UInt64
        /// Only of a ban or eviction: certificates that were revoked by it, and those that there was
        /// no room for.
        var certificatesRevoked: UInt64?
        var identitiesRevoked: UInt64?
        var certificatesNotRevoked: UInt64?

        init(_ node: Signet_Admin_V1alpha1_Node) {
            name = node.name
            spiffeID = node.spiffeID
            selectors = node.selectors
            attestation = node.attestation
            attestedAt = Terminal.time(unixSeconds: node.attestedAtUnixSeconds)
            svidExpiresAt = Terminal.time(unixSeconds: node.svidNotAfterUnixSeconds)
            serial = node.serial
            banned = node.banned
            banReason = node.banReason
            connected = node.connected
            lastSeen = Terminal.time(unixSeconds: node.lastSeenUnixSeconds)
            appliedRevision = node.applied.number
            version = node.version
            entriesInScope = node.entriesInScope
        }

        /// An agent that is away, or has applied nothing yet, has told none.
        var shownRevision: String { appliedRevision == 0 ? "-" : String(appliedRevision) }
        /// What a ban or eviction did to what the node holds.
        func withRevocations(_ node: Signet_Admin_V1alpha1_Node) -> Self {
            var view = self
            view.certificatesRevoked = node.certificatesRevoked
            view.identitiesRevoked = node.identitiesRevoked
            view.certificatesNotRevoked = node.certificatesNotRevoked
            return view
        }

        /// The same for people.
        func sayRevocations() {
            let (revoked, left) = (certificatesRevoked ?? 0, certificatesNotRevoked ?? 0)
            Terminal.error(
                "\(revoked) certificate(s) of its workloads and proxies are refused now by proxies, "
                    + "agents and the server; who verifies with a bundle alone takes them until they "
                    + "end"
            )
            if let identities = identitiesRevoked, identities > 0 {
                Terminal.error(
                    "\(identities) identities were revoked, because it held a token or many certificates of each"
                )
            }
            guard left > 0 else { return }
            Terminal.error(
                "warning: \(left) more are not, because the list is full; revoke their identities "
                    + "with signet svid revoke, or wait until they end"
            )
        }

        var state: String { banned ? "banned" : connected ? "connected" : "away" }
    }

    static func table(_ nodes: [View]) -> Table {
        Table(
            empty: "no agents yet: make a token with `signet token create --name NAME`",
            headings: ["NAME", "STATE", "REVISION", "ENTRIES", "SVID EXPIRES", "SELECTORS"],
            rows: nodes.map {
                [
                    $0.name, $0.state, $0.shownRevision, String($0.entriesInScope),
                    $0.svidExpiresAt, $0.selectors.joined(separator: " "),
                ]
            }
        )
    }

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "List attested agents.",
            discussion: "Example: signet agent list -o json"
        )
        @OptionGroup var server: ServerOptions
        @OptionGroup var output: OutputOptions

        func run() async throws {
            let nodes = try await AgentCommand.nodes(named: "", server).map(View.init)
            try output.print(nodes) { AgentCommand.table(nodes) }
        }
    }

    struct Show: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Show one agent.",
            discussion: "Example: signet agent show web-1"
        )
        @OptionGroup var server: ServerOptions
        @OptionGroup var output: OutputOptions
        @Argument(help: "The agent's name.") var name: String

        func run() async throws {
            guard let node = try await AgentCommand.nodes(named: name, server).first else {
                throw CommandFailure(
                    "there is no agent \(name)",
                    remedy: "`signet agent list` shows all."
                )
            }
            let view = View(node)
            try output.print(view) {
                .fields([
                    "name": view.name, "state": view.state, "SPIFFE ID": view.spiffeID,
                    "selectors": view.selectors.joined(separator: " "),
                    "attested": "\(view.attestedAt) by \(view.attestation)",
                    "SVID expires": view.svidExpiresAt, "serial": view.serial,
                    "last seen": view.lastSeen, "version": view.version,
                    "applied revision": view.shownRevision,
                    "entries in scope": String(view.entriesInScope), "ban reason": view.banReason,
                ])
            }
        }
    }

    struct Ban: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Refuse an agent from now on, also by its key.",
            discussion: """
                Its streams are closed at once and it can neither renew nor come back. What its \
                workloads and proxies hold is refused; an identity of which they had a JWT-SVID, or \
                many certificates, is revoked everywhere, and its other holders get new ones.

                The command says which agents have applied that within 2 s, and which have not; with \
                --wait it waits longer, and exit status 3 means that somebody has not. That needs the \
                verb node.list.

                Example: signet agent ban web-1 --reason "disk stolen"
                """
        )
        @OptionGroup var server: ServerOptions
        @OptionGroup var output: OutputOptions
        @Argument(help: "The agent's name.") var name: String
        @Option(help: ArgumentHelp("Why; kept in the audit log.", valueName: "text"))
        var reason = ""
        @OptionGroup var confirmation: ConfirmationOptions

        func run() async throws {
            let request = NodeAction.request(name, reason)
            let node = try await server.withClient { client in
                try await Signet_Admin_V1alpha1_Administration.Client(wrapping: client)
                    .banNode(request)
            }
            let view = View(node).withRevocations(node)
            try output.print(view) { AgentCommand.table([view]) }
            view.sayRevocations()
            try await confirmation.confirm(node.revision, server)
        }
    }

    struct Unban: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Let a banned agent come back.",
            discussion: """
                Whoever lets a node in again gives it its identities: none of an admin who may do what \
                you may not. Where others have to approve that, the ban stays until they have: exit \
                status 7, see `signet approval`.

                Example: signet agent unban web-1 --reason "disk found"
                """
        )
        @OptionGroup var server: ServerOptions
        @OptionGroup var output: OutputOptions
        @Argument(help: "The agent's name.") var name: String
        @Option(help: ArgumentHelp("Why; kept in the audit log.", valueName: "text"))
        var reason = ""

        func run() async throws {
            var asked = NodeAction.request(name, reason)
            asked.takesProposal = true
            let request = asked
            let node = try await server.withClient { client in
                try await Signet_Admin_V1alpha1_Administration.Client(wrapping: client)
                    .unbanNode(request)
            }
            try output.print(View(node)) { AgentCommand.table([View(node)]) }
            if node.hasProposal { throw ProposalView(node.proposal).failure }
        }
    }

    struct Evict: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Forget an agent; it needs a new join token to come back.",
            discussion: """
                What its workloads and proxies hold is refused, as by a ban; it is said as by one \
                which agents have applied that.

                Example: signet agent evict web-1 --reason "machine replaced"
                """
        )
        @OptionGroup var server: ServerOptions
        @OptionGroup var output: OutputOptions
        @Argument(help: "The agent's name.") var name: String
        @Option(help: ArgumentHelp("Why; kept in the audit log.", valueName: "text"))
        var reason = ""
        @OptionGroup var confirmation: ConfirmationOptions

        func run() async throws {
            let request = NodeAction.request(name, reason)
            let node = try await server.withClient { client in
                try await Signet_Admin_V1alpha1_Administration.Client(wrapping: client)
                    .evictNode(request)
            }
            let view = View(node).withRevocations(node)
            if output.format == .table {
                Terminal.out("\(Terminal.printable(name)) evicted")
            } else {
                try output.print(view) { Table(headings: [], rows: []) }
            }
            view.sayRevocations()
            try await confirmation.confirm(node.revision, server)
        }
    }

    static func nodes(
        named name: String,
        _ server: ServerOptions
    ) async throws -> [Signet_Admin_V1alpha1_Node] {
        try await server.withClient { client in
            let service = Signet_Admin_V1alpha1_Administration.Client(wrapping: client)
            var nodes: [Signet_Admin_V1alpha1_Node] = []
            var token = ""
            repeat {
                let pageToken = token
                let page = try await service.listNodes(
                    .with {
                        $0.name = name
                        $0.pageToken = pageToken
                    }
                )
                nodes += page.nodes
                token = page.nextPageToken
            } while !token.isEmpty
            return nodes
        }
    }
}

enum NodeAction {
    static func request(_ name: String, _ reason: String) -> Signet_Admin_V1alpha1_NodeActionRequest
    {
        .with {
            $0.name = name
            $0.reason = reason
        }
    }
}
