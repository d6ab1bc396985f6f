// SPDX-License-Identifier: Apache-2.0

internal import ArgumentParser
internal import ControlAPIProtos
internal import SwiftProtobuf

/// `signet explain request`.
struct ExplainRequestCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "request",
        abstract: "Whether policies would allow a request, and which rule decides.",
        discussion: """
            The server decides with the policies as they are now; nothing is sent. Without \
            --method and --path it is a TCP connection. Exit status 5 when it would be denied.

            --port is that of the workload: of `forward` in its Proxy document.

            Example: signet explain request --from spiffe://example.org/web \
            --to spiffe://example.org/db --port 8080 --method GET --path /rows
            """
    )
    @OptionGroup var server: ServerOptions
    @OptionGroup var output: OutputOptions
    @Option(
        help: ArgumentHelp(
            "Who asks; without it a peer that has shown no identity.",
            valueName: "spiffe-id"
        ),
        transform: TypedSPIFFEID.read
    )
    var from: TypedSPIFFEID?
    @Option(
        help: ArgumentHelp("The workload that is asked.", valueName: "spiffe-id"),
        transform: TypedSPIFFEID.read
    )
    var to: TypedSPIFFEID
    @Option(help: ArgumentHelp("HTTP method.", valueName: "word")) var method: String?
    @Option(
        help: ArgumentHelp("Path of the request; a query is not looked at.", valueName: "/path")
    )
    var path: String?
    @Option(
        help: ArgumentHelp(
            "Port of the workload, behind its proxy.",
            valueName: "number"
        )
    )
    var port: UInt16?
    @Option(
        help: ArgumentHelp("IP address of who asks; unknown without it.", valueName: "ip")
    )
    var address = ""
    @Option(
        name: [.customShort("n"), .customLong("namespace")],
        help: ArgumentHelp(
            "The workload's namespace; needed where several could be meant.",
            valueName: "name"
        )
    )
    var namespace = ""

    func validate() throws {
        guard (method == nil) == (path == nil) else {
            throw ValidationError("--method and --path belong together; a TCP connection has none")
        }
        guard method != "", path?.hasPrefix("/") ?? true || path == "*" else {
            throw ValidationError("--method is a word such as GET, and --path begins with /")
        }
        guard port != 0 else { throw ValidationError("--port is above 0") }
    }

    func run() async throws {
        let request = Signet_Admin_V1alpha1_ExplainRequestRequest.with {
            $0.from = from?.text ?? ""
            $0.to = to.text
            $0.namespace = namespace
            $0.method = method ?? ""
            $0.path = path ?? ""
            $0.port = UInt32(port ?? 0)
            $0.address = address
        }
        let explanation = try await server.withClient { client in
            try await Signet_Admin_V1alpha1_Administration.Client(wrapping: client)
                .explainRequest(request)
        }
        let view = DecisionView(explanation)
        try view.print(output)
        if let warning = method.flatMap(TypedMethod.warning) { Terminal.error(warning) }
        guard view.allowed else { throw ExitStatus.denied.code }
    }
}

/// An HTTP method as typed.
package enum TypedMethod {
    /// What to say of a method that is probably meant to be another: methods are case-sensitive
    /// (RFC 9110 section 9.1), and policies take them as they are.
    ///
    /// - Returns: nil if there is nothing to say.
    package static func warning(_ text: String) -> String? {
        let capitals = text.uppercased()
        guard text != capitals else { return nil }
        return "warning: methods are case-sensitive, and \(text) is not \(capitals)"
    }
}

/// `signet explain decision`.
struct ExplainDecisionCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "decision",
        abstract: "Why a proxy denied a request, by the decision ID of its answer.",
        discussion: """
            The decision log is believed where it has a record; the proxy that decided adds its \
            account of each rule while it remembers, which it does for its newest denials. What \
            has no record yet is told by that proxy alone, and the answer says so. Exit status 0 \
            whatever it decided.

            Example: signet explain decision mzxw6ytboi2dmnzqgaydamrrge
            """
    )
    @OptionGroup var server: ServerOptions
    @OptionGroup var output: OutputOptions
    @Argument(help: "The 26 characters of the answer (header or body).") var id: String

    func validate() throws {
        guard TypedDecision.id(id) != nil else {
            throw ValidationError(
                "a decision ID is 26 letters a to z and digits 2 to 7, as in the answer that was "
                    + "refused"
            )
        }
    }

    func run() async throws {
        let id = TypedDecision.id(id) ?? id
        let explanation = try await server.withClient { client in
            try await Signet_Admin_V1alpha1_Administration.Client(wrapping: client)
                .explainDecision(.with { $0.id = id })
        }
        try DecisionView(explanation).print(output)
    }
}

extension DecisionView {
    /// Prints it in the form asked for; its table is a text.
    fileprivate func print(_ output: OutputOptions) throws {
        guard output.format == .table else {
            return try output.print(self) { Table(headings: [], rows: []) }
        }
        Terminal.out(text)
    }
}
