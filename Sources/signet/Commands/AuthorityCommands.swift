// SPDX-License-Identifier: Apache-2.0

internal import ArgumentParser
internal import ControlAPIProtos

/// `signet authority`.
struct AuthorityCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "authority",
        abstract: "The keys that sign SVIDs.",
        discussion: """
            A server makes its next authority and lets it sign by itself. These commands are for \
            when it should do so earlier, and for when a key is trusted no more: first have what it \
            signed replaced (taint), then end it (revoke).

            Example: signet authority show
            """,
        subcommands: [
            Show.self, AuthorityRotateCommand.self, AuthorityPrepareCommand.self,
            AuthorityActivateCommand.self, AuthorityTaintCommand.self,
            AuthorityRevokeCommand.self, AuthorityCRLCommand.self,
        ]
    )

    struct Show: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Show the authorities and what rotation does next.",
            discussion: """
                NOT REPLACED counts the SVIDs of a tainted authority that are valid and whose \
                holder was issued no newer one. What signed is in one of these states: prepared \
                (published, signs later), active (signs), old (signs no more; leaves when its last \
                SVID has expired), tainted (what it signed is being replaced), revoked (what it \
                signed counts no more). Below them are roots and upstream authorities, if there are \
                any, and authorities of servers below with entry and node; -o json says what is \
                above each. Last come connected agents and proxies of a release that knows no \
                authority below another: renew them before there is one.

                Example: signet authority show -o json
                """
        )
        @OptionGroup var server: ServerOptions
        @OptionGroup var output: OutputOptions

        func run() async throws {
            let response = try await server.withClient { client in
                try await Signet_Admin_V1alpha1_Administration.Client(wrapping: client)
                    .listAuthorities(.init())
            }
            let view = AuthorityListView(response)
            try output.print(view) { view.table }
            guard output.format == .table else { return }
            Terminal.out("next: \(view.nextStep)")
            for line in view.outdated { Terminal.out(line) }
        }
    }
}
