// SPDX-License-Identifier: Apache-2.0

internal import ArgumentParser
package import ControlAPIProtos
internal import SwiftProtobuf

/// `signet proxy connections`.
struct ProxyConnectionsCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "connections",
        abstract: "Connections of one proxy process, with verified peers.",
        discussion: """
            --node is needed if the proxy runs on several machines. docs/command-line.md tells what \
            the states mean.

            Example: signet proxy connections shop/frontend --limit 20
            """
    )
    /// As many as the server passes on.
    static let limitMax = 1000

    @OptionGroup var server: ServerOptions
    @OptionGroup var output: OutputOptions
    @OptionGroup var scope: NamespaceOptions
    @Argument(help: "The proxy: NAMESPACE/NAME, or NAME.") var name: String
    @Option(help: ArgumentHelp("On this agent's machine.", valueName: "agent"))
    var node = ""
    @Option(help: ArgumentHelp("Most connections, at most \(limitMax).", valueName: "number"))
    var limit = 100

    func validate() throws {
        _ = try TypedProxy.parse(name)
        guard (1...Self.limitMax).contains(limit) else {
            throw ValidationError("--limit takes 1 to \(Self.limitMax)")
        }
    }

    func run() async throws {
        guard let proxy = try TypedProxy.parse(name)?.reference(in: scope) else { return }
        let reply = try await ProxyQuestion.ask(
            proxy,
            on: node,
            limit: limit,
            .connections(.init()),
            server
        )
        guard case .connections(let answer) = reply.answer else {
            throw ProxyQuestion.wrongAnswer(of: proxy)
        }
        let views = answer.connections.map(ProxyConnectionView.init)
        try output.print(views) { ProxyConnectionView.table(views) }
        if answer.truncated {
            Terminal.error("there are more than --limit, or than one answer has room for")
        }
    }
}

/// One connection of a proxy.
package struct ProxyConnectionView: Encodable, Sendable {
    var direction: String
    var listener: String
    var identity: String
    /// Empty if it has shown none.
    var peer: String
    var peerAddress: String
    var `protocol`: String
    var state: String
    var ageMilliseconds: UInt64
    var requests: UInt64
    var bytesReceived: UInt64
    var bytesSent: UInt64
    /// Empty if it has shown no certificate.
    var peerExpiresAt: String

    /// Reads what the proxy tells.
    package init(_ connection: Signet_Node_V1alpha1_ProxyConnection) {
        direction = connection.direction
        listener = connection.listener
        identity = connection.identity
        peer = connection.peer
        peerAddress = connection.peerAddress
        `protocol` = connection.protocol
        state = connection.state
        ageMilliseconds = connection.ageMilliseconds
        requests = connection.requests
        bytesReceived = connection.bytesReceived
        bytesSent = connection.bytesSent
        let end = connection.peerNotAfterUnixSeconds
        peerExpiresAt = end == 0 ? "" : Terminal.time(unixSeconds: end)
    }

    /// One line for each connection.
    package static func table(_ views: [Self]) -> Table {
        Table(
            empty: "no connections",
            headings: [
                "LISTENER", "DIRECTION", "PEER", "ADDRESS", "PROTOCOL", "STATE", "AGE",
                "REQUESTS", "RECEIVED", "SENT", "PEER EXPIRES",
            ],
            rows: views.map {
                [
                    $0.listener, $0.direction, $0.peer.isEmpty ? "-" : $0.peer, $0.peerAddress,
                    $0.protocol, $0.state, Moment.span(seconds: Double($0.ageMilliseconds) / 1000),
                    String($0.requests), String($0.bytesReceived), String($0.bytesSent),
                    $0.peerExpiresAt.isEmpty ? "-" : $0.peerExpiresAt,
                ]
            }
        )
    }
}
