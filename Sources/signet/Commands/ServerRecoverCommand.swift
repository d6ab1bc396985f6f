// SPDX-License-Identifier: Apache-2.0

internal import ArgumentParser
package import ControlAPIProtos
internal import Foundation
internal import GRPCCore
internal import SwiftProtobuf

/// `signet server recover`.
struct ServerRecoverCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "recover",
        abstract: "End the hold of a restored server, which then signs.",
        discussion: """
            A restored server is held: its admin socket works, and nothing is signed. First take away \
            again what was taken away after the last known record, apply your repository with \
            --prune, and see with --rehearse what is open.

            Without --now only if every document is what it was last on record, no key would be \
            destroyed that no record names, and the authority that should sign has its key. It works \
            through the server's admin socket alone.

            Example: signet server recover --rehearse
            """
    )
    @OptionGroup var server: ServerOptions
    @OptionGroup var output: OutputOptions
    @OptionGroup var rehearsal: RehearsalOptions

    func run() async throws {
        if rehearsal.now {
            let outlook = try await ask(rehearse: true)
            try rehearsal.confirm(outlook.objections, saying: outlook.objections)
        }
        let view = try await ask(rehearse: rehearsal.rehearse)
        try output.print(view) { view.table }
        for line in view.lines { Terminal.error(line) }
        guard rehearsal.rehearse else {
            Terminal.error("the hold is over: the server signs again")
            return
        }
        rehearsal.conclude(view.objections)
    }

    private func ask(rehearse: Bool) async throws -> RecoveryView {
        let now = rehearsal.now
        return RecoveryView(
            try await server.withClient { client in
                try await AdministrationClient(wrapping: client).recover(
                    .with {
                        $0.rehearse = rehearse
                        $0.now = now
                    }
                )
            }
        )
    }
}

/// What may be missing from a restored server, for programs and people.
package struct RecoveryView: Encodable, Sendable {
    struct Document: Encodable {
        let kind: String
        let namespace: String
        let name: String
        /// It was deleted, and is there.
        let isToBeGone: Bool
    }

    let rehearsed: Bool
    let logOrigin: String
    let logSize: UInt64
    /// What was done later is not known; nil: nor is from when on, as the server was set back.
    let lastRecord: Date?
    let restoredAt: Date
    /// What the log alone knew; of each list the first 1,000, and how many there are.
    let nodes: [String]
    let nodeCount: UInt64
    let authorities: [String]
    let authorityCount: UInt64
    let documents: [Document]
    let documentCount: UInt64
    /// Authorities of which keys are there, and no record.
    let unnamedKeys: [String]
    let unnamedKeyCount: UInt64
    let signerMissing: Bool
    let agentsNeedingTokens: UInt64
    let objections: [String]
    /// Authorities of the log alone that stay without their keys for tokens.
    let tokenKeys: [String]
    let tokenKeyCount: UInt64

    /// Takes the server's answer.
    package init(_ answer: Signet_Admin_V1alpha1_RecoverResponse) {
        func date(_ milliseconds: Int64) -> Date {
            Date(timeIntervalSince1970: Double(milliseconds) / 1000)
        }
        rehearsed = answer.rehearsed
        logOrigin = answer.logOrigin
        logSize = answer.logSize
        lastRecord =
            answer.lastRecordUnixMilliseconds == 0
            ? nil : date(answer.lastRecordUnixMilliseconds)
        restoredAt = date(answer.restoredAtUnixMilliseconds)
        nodes = answer.nodes
        nodeCount = answer.nodeCount
        authorities = answer.authorities
        authorityCount = answer.authorityCount
        documents = answer.documents.map {
            Document(
                kind: $0.kind,
                namespace: $0.namespace,
                name: $0.name,
                isToBeGone: $0.isToBeGone
            )
        }
        documentCount = answer.documentCount
        unnamedKeys = answer.unnamedKeys
        unnamedKeyCount = answer.unnamedKeyCount
        signerMissing = answer.signerMissing
        agentsNeedingTokens = answer.agentsNeedingTokens
        objections = answer.objections
        tokenKeys = answer.tokenKeys
        tokenKeyCount = answer.tokenKeyCount
    }

    var table: Table {
        Table(
            headings: ["RECORDS", "LAST RECORD", "NODES", "AUTHORITIES", "DOCUMENTS", "KEYS"],
            rows: [
                [
                    "\(logSize)",
                    lastRecord?.formatted(.iso8601) ?? "-",
                    "\(nodeCount)",
                    "\(authorityCount)",
                    "\(documentCount)",
                    "\(unnamedKeyCount)",
                ]
            ]
        )
    }

    /// One for each thing to know.
    package var lines: [String] {
        var lines = [
            lastRecord.map {
                "nothing is known of what was done after \($0.formatted(.iso8601)): what was taken away "
                    + "later, bans, revocations and deletions, has to be taken away again"
            }
                ?? "the server was set back, and from when on records are missing nobody knows: what was "
                + "taken away since the snapshot was made has to be taken away again"
        ]
        lines += named("node(s) that the log alone knew", nodes, nodeCount)
        lines += named(
            "authorit(ies) that the log alone knew, which leave the bundle unless their key is here",
            authorities,
            authorityCount
        )
        lines += named(
            "authorit(ies) of these stay and lose their keys for tokens, which are not here: what they "
                + "signed is refused until it is replaced",
            tokenKeys,
            tokenKeyCount
        )
        lines += named(
            "document(s) that are not what they were last on record",
            documents.map {
                "\($0.kind) \($0.namespace)/\($0.name)" + ($0.isToBeGone ? " (gone)" : "")
            },
            documentCount
        )
        lines += named("key(s) that no record names", unnamedKeys, unnamedKeyCount)
        return lines + objections
    }

    private func named(_ what: String, _ names: [String], _ count: UInt64) -> [String] {
        guard count > 0 else { return [] }
        let shown = names.prefix(10).joined(separator: ", ")
        return ["\(count) \(what): \(shown)" + (count > 10 ? ", ... (-o json has more)" : "")]
    }
}
