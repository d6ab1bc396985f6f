// SPDX-License-Identifier: Apache-2.0

internal import ArgumentParser
internal import ControlAPIProtos
internal import Foundation
internal import Glibc
internal import SwiftProtobuf

/// `signet authority crl`.
struct AuthorityCRLCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "crl",
        abstract: "Show the certificate revocation lists of the authorities.",
        discussion: """
            Each authority of this server signs one (RFC 5280 section 5), with the revoked \
            certificates of workloads and proxies that it issued. A list counts for 24 hours and is \
            renewed when it is half as old, and within half a minute of a revocation. Workloads get \
            lists with their SVIDs by the Workload API; this is for verifiers that have no agent. \
            Agents, proxies and the server need no list.

            PEM and DER are what other programs read, DER for one authority at a time. With the ID of \
            an authority the table has its revoked certificates.

            With `signet bundle show > bundle.pem`, openssl verify -crl_check -CAfile bundle.pem \
            -CRLfile crl.pem looks at them.

            Example: signet authority crl -o pem > crl.pem
            """
    )
    @OptionGroup var server: ServerOptions
    @Argument(help: "ID of the authority, or how it begins; all without it.")
    var id: String?
    @Option(
        name: [.customShort("o"), .customLong("output")],
        help: ArgumentHelp("How to print.", valueName: "format")
    )
    var format = Format.table

    enum Format: String, ExpressibleByArgument, CaseIterable {
        case table
        case pem
        case der
        case json
        case yaml
    }

    func validate() throws {
        guard format == .der else { return }
        guard id != nil else {
            throw ValidationError("-o der prints one list: name an authority, or use -o pem")
        }
        guard isatty(STDOUT_FILENO) == 0 else {
            throw ValidationError("-o der is not for a terminal: send it to a file, or use -o pem")
        }
    }

    func run() async throws {
        var whole = ""
        if let id { whole = try await AuthorityName.whole(id, server) }
        let request = Signet_Admin_V1alpha1_ListRevocationListsRequest.with {
            $0.authorityID = whole
        }
        let response = try await server.withClient { client in
            try await AdministrationClient(wrapping: client).listRevocationLists(request)
        }
        switch format {
        case .pem:
            for list in response.lists { Terminal.out(PEM.revocationList(list.der)) }
        case .der:
            for list in response.lists { Terminal.out(bytes: list.der) }
        case .json: Terminal.out(try OutputOptions.json(RevocationListsView(response)))
        case .yaml: Terminal.out(try OutputOptions.yaml(RevocationListsView(response)))
        case .table:
            let view = try RevocationListsView(response)
            Terminal.out(view.table.text)
            if id != nil, view.lists.contains(where: { !$0.certificates.isEmpty }) {
                Terminal.out("\n" + view.certificatesTable.text)
            }
        }
    }
}
