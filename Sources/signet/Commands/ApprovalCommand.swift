// SPDX-License-Identifier: Apache-2.0

internal import ArgumentParser
internal import ControlAPIProtos
internal import Foundation
internal import GRPCNIOTransportHTTP2Posix
internal import Glibc
internal import SPIFFE
internal import SwiftProtobuf

private typealias ApprovalsClient =
    Signet_Admin_V1alpha1_Approvals.Client<HTTP2ClientTransport.Posix>

/// `signet approval`: acts that others have to approve.
struct ApprovalCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "approval",
        abstract: "Acts that wait until others have approved them.",
        discussion: """
            Where the server's configuration says `approvals: N`, N others have to approve what \
            changes who may do what. It is proposed first, under the name of who asked; whoever could \
            do it himself may approve it.

            Example: signet approval list
            """,
        subcommands: [List.self, Show.self, Approve.self, Withdraw.self]
    )

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Show what waits for approval.",
            discussion: """
                Your own, what you hold the right for in one place or another, and with audit.read all.

                Example: signet approval list
                """
        )
        @OptionGroup var server: ServerOptions
        @OptionGroup var output: OutputOptions

        func run() async throws {
            let response = try await server.withClient { client in
                try await ApprovalsClient(wrapping: client).list(.init())
            }
            let views = response.proposals.map { ProposalView($0) }
            try output.print(views) { ProposalView.table(views) }
        }
    }

    struct Show: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Show all of a proposal: what is there, and what would be.",
            discussion: """
                For who could do it himself and may get what it changes.

                Example: signet approval show 0a1b2c3d4e5f6071
                """
        )
        @OptionGroup var server: ServerOptions
        @OptionGroup var output: OutputOptions
        @Argument(help: "The proposal's ID.", transform: ProposalName.id) var id: [UInt8]

        func run() async throws {
            try output.print(try await ProposalName.detail(id, server))
        }
    }

    struct Approve: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Approve a proposal, after a look at all of it.",
            discussion: """
                It shows the proposal and asks. With the last approval that is needed the act is done, \
                in the name of who proposed it. Programs say with --yes which content they mean: \
                exactly that is approved, or nothing.

                Example: signet approval approve 0a1b2c3d4e5f6071
                """
        )
        @OptionGroup var server: ServerOptions
        @OptionGroup var output: OutputOptions
        @Option(
            help: ArgumentHelp(
                "Do not show it and do not ask; the hash of what is approved.",
                valueName: "hash"
            ),
            transform: ProposalName.hash
        )
        var yes: [UInt8]?
        @Argument(help: "The proposal's ID.", transform: ProposalName.id) var id: [UInt8]

        func run() async throws {
            let hash: [UInt8]
            if let yes { hash = yes } else { hash = try await ask() }
            let id = id
            let view = ApprovalView(
                try await server.withClient { client in
                    try await ApprovalsClient(wrapping: client).approve(
                        .with {
                            $0.id = Data(id)
                            $0.sha256 = Data(hash)
                        }
                    )
                }
            )
            for line in view.lines { Terminal.error(line) }
            for warning in view.applied?.warnings ?? [] { Terminal.error("warning: \(warning)") }
            if output.format != .table {
                try output.print(view) { Table(headings: [], rows: []) }
            } else if let applied = view.applied {
                try output.print(applied) { applied.table }
            }
            if let failure = view.failure { throw failure }
        }

        /// Shows all of it.
        ///
        /// - Returns: The hash of what was shown.
        private func ask() async throws -> [UInt8] {
            guard isatty(STDIN_FILENO) == 1, Terminal.isWatched else {
                throw CommandFailure(
                    "nobody is here to look at it",
                    remedy:
                        "In a program: signet approval show ID, then --yes HASH of what it showed.",
                    status: .usage
                )
            }
            let detail = try await ProposalName.detail(id, server)
            for line in detail.lines { Terminal.error(line) }
            Terminal.error("Approve this? Type yes:")
            guard readLine(strippingNewline: true) == "yes" else {
                throw CommandFailure("nothing was approved")
            }
            return try ProposalName.hash(detail.proposal.hash)
        }
    }

    struct Withdraw: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Withdraw a proposal of your own.",
            discussion: "Example: signet approval withdraw 0a1b2c3d4e5f6071"
        )
        @OptionGroup var server: ServerOptions
        @Argument(help: "The proposal's ID.", transform: ProposalName.id) var id: [UInt8]

        func run() async throws {
            let id = id
            _ = try await server.withClient { client in
                try await ApprovalsClient(wrapping: client).withdraw(.with { $0.id = Data(id) })
            }
            Terminal.error("withdrawn")
        }
    }
}

/// How users name proposals, and what is in them.
package enum ProposalName {
    /// Reads an ID: 16 hexadecimal digits.
    ///
    /// - Throws: `ValidationError`.
    package static func id(_ text: String) throws -> [UInt8] {
        guard let bytes = Hexadecimal.bytes(text.lowercased()), bytes.count == 8 else {
            throw ValidationError("the ID of a proposal has 16 hexadecimal digits")
        }
        return bytes
    }

    /// Reads a hash: 64 hexadecimal digits.
    ///
    /// - Throws: `ValidationError`.
    package static func hash(_ text: String) throws -> [UInt8] {
        guard let bytes = Hexadecimal.bytes(text.lowercased()), bytes.count == 32 else {
            throw ValidationError("the hash of a proposal has 64 hexadecimal digits")
        }
        return bytes
    }

    fileprivate static func detail(
        _ id: [UInt8],
        _ server: ServerOptions
    ) async throws -> ProposalDetailView {
        ProposalDetailView(
            try await server.withClient { client in
                try await ApprovalsClient(wrapping: client).get(.with { $0.id = Data(id) })
            }
        )
    }
}

extension OutputOptions {
    /// Prints a proposal: for people its lines, which are no table.
    fileprivate func print(_ view: ProposalDetailView) throws {
        if format == .table {
            Terminal.out(Terminal.printableLines(view.lines.joined(separator: "\n")))
        } else {
            try print(view) { Table(headings: [], rows: []) }
        }
    }
}
