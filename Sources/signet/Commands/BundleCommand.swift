// SPDX-License-Identifier: Apache-2.0

internal import ArgumentParser
internal import ControlAPI
internal import ControlAPIProtos
internal import Foundation
internal import SPIFFE

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
            discussion: """
                With -o spiffe it is the document that a partner's trustDomainBundle needs for the \
                first contact; it is good for that while one of its authorities lives.

                Example: signet bundle show > bundle.pem
                """
        )
        @OptionGroup var server: ServerOptions
        @Option(
            name: [.customShort("o"), .customLong("output")],
            help: ArgumentHelp("How to print.", valueName: "format")
        )
        var format = Format.pem

        enum Format: String, ExpressibleByArgument, CaseIterable {
            case pem
            case spiffe
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
            case .spiffe:
                let document = try TrustBundle(parsing: bundle).document()
                Terminal.out(String(decoding: document, as: UTF8.self))
            case .pem: Terminal.out(view.x509Authorities.joined(separator: "\n"))
            }
        }
    }
}
