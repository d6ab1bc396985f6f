// SPDX-License-Identifier: Apache-2.0

internal import ArgumentParser
package import ControlAPIProtos
internal import Foundation
internal import SwiftProtobuf

/// `signet federation`.
struct FederationCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "federation",
        abstract: "The bundles of other trust domains.",
        discussion: """
            Documents of kind FederatedTrustDomain say whose bundles are fetched, and from where.

            Example: signet federation show
            """,
        subcommands: [Show.self, Refresh.self]
    )

    struct Show: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Show what was fetched of other trust domains, and what comes next.",
            discussion: """
                With a trust domain, all that is known of it.

                Example: signet federation show partner.example
                """
        )
        @OptionGroup var server: ServerOptions
        @OptionGroup var output: OutputOptions
        @Argument(help: "The other trust domain; all without it.")
        var trustDomain: String?

        func run() async throws {
            let request = Signet_Admin_V1alpha1_ListFederationRequest.with {
                $0.trustDomain = trustDomain ?? ""
            }
            let response = try await server.withClient { client in
                try await AdministrationClient(wrapping: client).listFederation(request)
            }
            let view = FederationView(response)
            try output.print(view) { trustDomain == nil ? view.table : view.details }
        }
    }

    struct Refresh: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Fetch the bundle of another trust domain now.",
            discussion: """
                It needs the right to apply a FederatedTrustDomain, and is done at most each 10 s.

                A bundle with other keys whose spiffe_sequence went back, or is gone, is refused: it may \
                be an old one, with a key that was revoked since. If the partner says that it is the \
                right one (he restored a backup), --accept-older takes it this once.

                Example: signet federation refresh partner.example
                """
        )
        @OptionGroup var server: ServerOptions
        @Argument(help: "The other trust domain.")
        var trustDomain: String
        @Flag(help: "Take what its sequence alone forbids.")
        var acceptOlder = false

        func run() async throws {
            let request = Signet_Admin_V1alpha1_RefreshFederationRequest.with {
                $0.trustDomain = trustDomain
                $0.acceptOlder = acceptOlder
            }
            let response = try await server.withClient { client in
                try await AdministrationClient(wrapping: client).refreshFederation(request)
            }
            guard response.problem.isEmpty else {
                throw CommandFailure(
                    "\(trustDomain): \(response.result): \(response.problem)\(response.consequence)"
                )
            }
            Terminal.out("\(trustDomain): \(response.result)")
        }
    }
}

extension Signet_Admin_V1alpha1_RefreshFederationResponse {
    /// What workloads have after a fetch of which nothing came.
    package var consequence: String {
        switch state {
        case "believed": "; what was fetched before stays in force"
        case "notFetched": "; nothing was fetched before"
        case "withheld": "; what was fetched before is withheld"
        default: ""
        }
    }
}

/// How bundles of other trust domains stand, for programs.
package struct FederationView: Encodable, Sendable {
    struct Bundle: Encodable, Sendable {
        var trustDomain: String
        /// Of the FederatedTrustDomain.
        var name: String
        var bundleEndpointURL: String
        var bundleEndpointProfile: String
        var endpointSPIFFEID: String
        /// The last good bundle as JSON, of one trust domain alone; empty before the first fetch.
        var document: String
        /// Decimal, as it may not fit into a number of JSON; empty: none.
        var sequence: String
        var withheld: Bool
        var confirmedAt: String
        var changedAt: String
        var staleAt: String
        var lastFetchAt: String
        var lastResult: String
        var problem: String
        var failuresInRow: UInt32
        var sequenceReused: Bool
        var nextFetchAt: String
    }

    var bundles: [Bundle]

    package init(_ response: Signet_Admin_V1alpha1_ListFederationResponse) {
        bundles = response.bundles.map { message in
            Bundle(
                trustDomain: message.trustDomain,
                name: message.name,
                bundleEndpointURL: message.bundleEndpointURL,
                bundleEndpointProfile: message.bundleEndpointProfile,
                endpointSPIFFEID: message.endpointSpiffeID,
                document: String(decoding: message.document, as: UTF8.self),
                sequence: message.hasSequence_p ? message.sequence.description : "",
                withheld: message.withheld,
                confirmedAt: Self.moment(message.confirmedAtUnixSeconds),
                changedAt: Self.moment(message.changedAtUnixSeconds),
                staleAt: Self.moment(message.staleAtUnixSeconds),
                lastFetchAt: Self.moment(message.lastFetchAtUnixSeconds),
                lastResult: message.lastResult,
                problem: message.problem,
                failuresInRow: message.failuresInRow,
                sequenceReused: message.sequenceReused,
                nextFetchAt: Self.moment(message.nextFetchAtUnixSeconds)
            )
        }
    }

    private static func moment(_ seconds: Int64) -> String {
        guard seconds != 0 else { return "" }
        return Date(timeIntervalSince1970: TimeInterval(seconds)).formatted(.iso8601)
    }

    package var table: Table {
        Table(
            empty: "no FederatedTrustDomain names another trust domain",
            headings: ["TRUST DOMAIN", "STATE", "SEQUENCE", "CONFIRMED", "LAST", "NEXT FETCH"],
            rows: bundles.map {
                [
                    $0.trustDomain, $0.state, $0.sequence, $0.confirmedAt, $0.lastResult,
                    $0.nextFetchAt,
                ]
                .map { $0.isEmpty ? "-" : $0 }
            }
        )
    }

    /// All that is known of the first.
    package var details: Table {
        guard let bundle = bundles.first else { return table }
        return .fields([
            "trust domain": bundle.trustDomain,
            "document": bundle.name,
            "endpoint": bundle.bundleEndpointURL,
            "profile": bundle.bundleEndpointProfile,
            "endpoint ID": bundle.endpointSPIFFEID,
            "state": bundle.state,
            "sequence": bundle.sequence,
            "confirmed": bundle.confirmedAt,
            "keys changed": bundle.changedAt,
            "believed until": bundle.staleAt,
            "last fetch": bundle.lastFetchAt,
            "last result": bundle.lastResult,
            "problem": bundle.problem,
            "failures in a row": bundle.failuresInRow.description,
            "sequence reused": bundle.sequenceReused ? "yes" : "no",
            "next fetch": bundle.nextFetchAt,
        ])
    }
}

extension FederationView.Bundle {
    /// Whether workloads are given it.
    fileprivate var state: String {
        if confirmedAt.isEmpty { return "not fetched" }
        return withheld ? "withheld" : "believed"
    }
}
