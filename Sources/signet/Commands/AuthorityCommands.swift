// SPDX-License-Identifier: Apache-2.0

internal import ArgumentParser
internal import ControlAPIProtos
internal import Foundation

/// `signet bundle`.
struct BundleCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "bundle",
        abstract: "The authorities that peers trust.",
        discussion: "Example: signet bundle show",
        subcommands: [Show.self]
    )

    struct Show: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Show the trust domain's bundle; PEM unless -o says otherwise.",
            discussion: "Example: signet bundle show > bundle.pem"
        )
        @OptionGroup var server: ServerOptions
        @Option(
            name: [.customShort("o"), .customLong("output")],
            help: ArgumentHelp("How to print.", valueName: "format")
        )
        var format = Format.pem

        enum Format: String, ExpressibleByArgument, CaseIterable {
            case pem
            case json
            case yaml
        }

        struct View: Encodable {
            var trustDomain: String
            var sequenceNumber: UInt64
            var refreshHintSeconds: UInt32
            var x509Authorities: [String]
        }

        func run() async throws {
            let bundle = try await server.withClient { client in
                try await Signet_Admin_V1alpha1_Administration.Client(wrapping: client)
                    .getBundle(.init())
            }
            let view = View(
                trustDomain: bundle.trustDomain,
                sequenceNumber: bundle.sequenceNumber,
                refreshHintSeconds: bundle.refreshHintSeconds,
                x509Authorities: bundle.x509Authorities.map { PEM.certificate($0) }
            )
            switch format {
            case .json: Terminal.out(try OutputOptions.json(view))
            case .yaml: Terminal.out(try OutputOptions.yaml(view))
            case .pem: Terminal.out(view.x509Authorities.joined(separator: "\n"))
            }
        }
    }
}

/// `signet authority`.
struct AuthorityCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "authority",
        abstract: "The keys that sign SVIDs.",
        discussion: "Example: signet authority show",
        subcommands: [Show.self]
    )

    struct Show: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Show the authorities and what rotation does next.",
            discussion: "Example: signet authority show -o json"
        )
        @OptionGroup var server: ServerOptions
        @OptionGroup var output: OutputOptions

        struct View: Encodable {
            struct Authority: Encodable {
                var id: String
                var state: String
                var serverID: String
                var notBefore: String
                var notAfter: String
                var publishedAt: String
                var activatedAt: String
                var lastSVIDExpiresAt: String
                var spkiSHA256: String
            }
            var authorities: [Authority]
            var nextStep: String
            var nextStepAt: String
        }

        func run() async throws {
            let response = try await server.withClient { client in
                try await Signet_Admin_V1alpha1_Administration.Client(wrapping: client)
                    .listAuthorities(.init())
            }
            let view = View(
                authorities: response.authorities.map {
                    View.Authority(
                        id: $0.id,
                        state: $0.state,
                        serverID: $0.serverID,
                        notBefore: Terminal.time(unixSeconds: $0.notBeforeUnixSeconds),
                        notAfter: Terminal.time(unixSeconds: $0.notAfterUnixSeconds),
                        publishedAt: Terminal.time(unixSeconds: $0.publishedAtUnixSeconds),
                        activatedAt: Terminal.time(unixSeconds: $0.activatedAtUnixSeconds),
                        lastSVIDExpiresAt: Terminal.time(
                            unixSeconds: $0.lastSvidNotAfterUnixSeconds
                        ),
                        spkiSHA256: $0.spkiSha256
                    )
                },
                nextStep: response.nextStep,
                nextStepAt: Terminal.time(unixSeconds: response.nextStepAtUnixSeconds)
            )
            try output.print(view) {
                Table(
                    headings: ["ID", "STATE", "NOT AFTER", "ACTIVATED", "LAST SVID EXPIRES"],
                    rows: view.authorities.map {
                        [
                            String($0.id.prefix(16)), $0.state, $0.notAfter, $0.activatedAt,
                            $0.lastSVIDExpiresAt,
                        ]
                    }
                )
            }
            if output.format == .table { Terminal.out("next: \(view.nextStep)") }
        }
    }
}
