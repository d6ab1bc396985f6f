// SPDX-License-Identifier: Apache-2.0

internal import ArgumentParser
internal import ControlAPIProtos
internal import SwiftProtobuf

/// `signet proxy`: the proxy processes that agents have attached.
struct ProxyCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "proxy",
        abstract: "Proxies that run, what they have applied, and their connections.",
        discussion: "Example: signet proxy list -A",
        subcommands: [List.self, Status.self, ProxyConnectionsCommand.self]
    )

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "List proxy processes, one line each.",
            discussion: """
                A proxy that left without draining is listed until its process has ended, or its \
                SVIDs have: until then it may go on with what it has.

                Example: signet proxy list -A
                """
        )
        @OptionGroup var server: ServerOptions
        @OptionGroup var output: OutputOptions
        @OptionGroup var place: ProxyPlaceOptions
        @Argument(help: "One proxy: NAMESPACE/NAME, or NAME.") var name: String?

        func validate() throws {
            _ = try TypedProxy.parse(name)
        }

        func run() async throws {
            let views = try await place.proxies(name, server)
            try output.print(views) { ProxyView.table(views) }
        }
    }

    struct Status: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Everything that is known of proxy processes.",
            discussion: """
                --counters asks each of them also for what its loops have counted since it \
                started, which docs/command-line.md explains; its metrics have other names. It \
                says for each listener whether it is open (listener_open, 1 or 0): one whose \
                identity has no SVID is closed, and no fault of the proxy. Exit status 1 when \
                there is none, or one that refuses its state or is lost.

                Example: signet proxy status shop/frontend
                """
        )
        @OptionGroup var server: ServerOptions
        @OptionGroup var output: OutputOptions
        @OptionGroup var place: ProxyPlaceOptions
        @Flag(help: "Also what each process has counted.") var counters = false
        @Argument(help: "One proxy: NAMESPACE/NAME, or NAME.") var name: String?

        func validate() throws {
            _ = try TypedProxy.parse(name)
        }

        func run() async throws {
            var views = try await place.proxies(name, server)
            guard !views.isEmpty else {
                throw CommandFailure(
                    "no connected agent has such a proxy attached",
                    remedy: "`signet proxy list -A` shows those there are, `signet get Proxy -A` "
                        + "those there should be."
                )
            }
            if counters {
                for index in views.indices where views[index].attached {
                    views[index].counters = try await Self.counters(of: views[index], server)
                }
            }
            try output.print(views) { ProxyView.details(views) }
            if let faulty = views.first(where: \.isFaulty) {
                throw CommandFailure(
                    "proxy \(faulty.proxy) on \(faulty.node) \(faulty.fault)",
                    remedy: faulty.remedy
                )
            }
        }

        private static func counters(
            of proxy: ProxyView,
            _ server: ServerOptions
        ) async throws -> [String: Double] {
            let reply = try await ProxyQuestion.ask(
                proxy.proxy,
                on: proxy.node,
                limit: 0,
                .counters(.init()),
                server
            )
            guard case .counters(let counters) = reply.answer else {
                throw ProxyQuestion.wrongAnswer(of: proxy.proxy)
            }
            return counters.samples
        }
    }
}

/// Which proxies are meant.
struct ProxyPlaceOptions: ParsableArguments {
    @OptionGroup var scope: NamespaceOptions
    @Flag(name: [.customShort("A"), .customLong("all-namespaces")], help: "In every namespace.")
    var allNamespaces = false
    @Option(help: ArgumentHelp("Only on this agent's machine.", valueName: "agent"))
    var node: String?

    /// The processes that agents have told of.
    func proxies(_ typed: String?, _ server: ServerOptions) async throws -> [ProxyView] {
        let proxy = try TypedProxy.parse(typed)
        let namespace = proxy?.namespace ?? scope.namespace
        let (all, name) = (allNamespaces && proxy?.namespace == nil, proxy?.name ?? "")
        let response = try await server.withClient { client in
            try await Signet_Admin_V1alpha1_Administration.Client(wrapping: client).listProxies(
                .with {
                    $0.namespace = namespace
                    $0.allNamespaces = all
                    $0.name = name
                }
            )
        }
        return response.proxies.map(ProxyView.init)
            .filter { node == nil || $0.node == node }
            .sorted { ($0.proxy, $0.node) < ($1.proxy, $1.node) }
    }
}

/// A proxy as typed: NAME, NAMESPACE/NAME, or as other tables show it, Proxy/NAMESPACE/NAME.
package struct TypedProxy: Hashable, Sendable {
    /// Nil: the one that the options say.
    package let namespace: String?
    package let name: String

    /// Reads one word; nil if it has another form.
    package init?(_ text: String) {
        let parts = text.split(separator: "/", omittingEmptySubsequences: false).map(String.init)
        guard !parts.contains("") else { return nil }
        switch (parts.count, parts[0]) {
        case (1, _): (namespace, name) = (nil, parts[0])
        case (2, _): (namespace, name) = (parts[0], parts[1])
        case (3, "Proxy"): (namespace, name) = (parts[1], parts[2])
        default: return nil
        }
    }

    /// Reads what may be left out.
    ///
    /// - Throws: `ValidationError` with the forms.
    static func parse(_ text: String?) throws -> Self? {
        guard let text else { return nil }
        guard let typed = Self(text) else {
            throw ValidationError("a proxy is NAMESPACE/NAME, or NAME with -n NAMESPACE")
        }
        return typed
    }

    /// As agents and servers name it.
    func reference(in scope: NamespaceOptions) -> String {
        "\(namespace ?? scope.namespace)/\(name)"
    }
}

/// Questions that a proxy process answers through its agent and the server.
enum ProxyQuestion {
    /// Asks one process.
    ///
    /// - Parameters:
    ///   - proxy: `namespace/name`.
    ///   - node: Its agent; empty: the only one that has it.
    ///   - limit: Most rows of the answer; 0: as many as the server allows.
    ///   - kind: What it is asked.
    ///   - server: Who passes it on.
    /// - Returns: What it says, a refusal excepted.
    /// - Throws: `CommandFailure` for a refusal, and when nobody answers.
    static func ask(
        _ proxy: String,
        on node: String,
        limit: Int,
        _ kind: Signet_Node_V1alpha1_ProxyQuery.OneOf_Kind,
        _ server: ServerOptions
    ) async throws -> Signet_Node_V1alpha1_ProxyQueryReply {
        let reply = try await server.withClient { client in
            try await Signet_Admin_V1alpha1_Administration.Client(wrapping: client).askProxy(
                .with {
                    $0.node = node
                    $0.limit = UInt32(clamping: limit)
                    $0.query.proxy = proxy
                    $0.query.kind = kind
                }
            )
        }
        if case .refusal(let refusal) = reply.answer {
            throw CommandFailure("\(refusal.message) [\(refusal.code)]")
        }
        return reply
    }

    static func wrongAnswer(of proxy: String) -> CommandFailure {
        CommandFailure(
            "proxy \(proxy) answered something else than was asked",
            remedy: "Is it of the same release as this program? `signet proxy list` tells."
        )
    }
}
