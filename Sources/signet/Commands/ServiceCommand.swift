// SPDX-License-Identifier: Apache-2.0

internal import ArgumentParser
internal import ControlAPIProtos
internal import SwiftProtobuf

/// `signet service`: where the servers of Services are.
struct ServiceCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "service",
        abstract: "Where the servers of Services are.",
        discussion: "Example: signet service endpoints api -n payments",
        subcommands: [Endpoints.self]
    )

    struct Endpoints: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "List endpoints, static and observed, one line each.",
            discussion: """
                States: static (of the document), up, leased (its agent has lost sight of it), \
                lost (used only while fewer than half are left), damped (it came and went), \
                unusable (it listens, and is no endpoint; the reason tells why). Without a \
                Service's name also the listeners of the namespace that serve none.

                Example: signet service endpoints api -n payments
                """
        )
        @OptionGroup var server: ServerOptions
        @OptionGroup var output: OutputOptions
        @OptionGroup var scope: NamespaceOptions
        @Argument(help: "One Service; all of the namespace if left out.") var name: String?

        func run() async throws {
            let response = try await server.withClient { client in
                try await Signet_Admin_V1alpha1_Administration.Client(wrapping: client)
                    .listEndpoints(
                        .with {
                            $0.namespace = scope.namespace
                            $0.service = name ?? ""
                        }
                    )
            }
            let views = response.endpoints.map(EndpointView.init)
            try output.print(views) { EndpointView.table(views) }
            if response.truncated {
                throw CommandFailure(
                    "there are more endpoints than one answer names",
                    remedy: "Name one Service."
                )
            }
        }
    }
}

/// One endpoint, or a listener that is none.
private struct EndpointView: Encodable {
    let service: String
    let port: String
    let address: String
    let state: String
    let node: String
    let proxy: String
    let listener: String
    let identity: String
    let reason: String

    init(_ message: Signet_Admin_V1alpha1_Endpoint) {
        service = message.service
        port = message.port
        address = message.address
        state = message.state
        node = message.node
        proxy = message.proxy
        listener = message.listener
        identity = message.identity
        reason = message.reason
    }

    static func table(_ views: [Self]) -> Table {
        Table(
            empty: "no Service of this namespace has endpoints",
            headings: [
                "SERVICE", "PORT", "ADDRESS", "STATE", "NODE", "PROXY", "LISTENER", "REASON",
            ],
            rows: views.map {
                [
                    $0.service, $0.port, $0.address, $0.state, $0.node, $0.proxy, $0.listener,
                    $0.reason,
                ]
                .map { $0.isEmpty ? "-" : $0 }
            }
        )
    }
}
