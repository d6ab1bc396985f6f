// SPDX-License-Identifier: Apache-2.0

internal import ArgumentParser
internal import Clocks
internal import ControlAPIProtos
internal import FoundationEssentials
internal import GRPCCore
internal import SwiftProtobuf

/// `signet audit`: what was issued, refused and changed, and the proof of it.
struct AuditCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "audit",
        abstract: "Query, follow, copy and prove the audit log.",
        subcommands: [
            Query.self, Tail.self, AuditVerifyCommand.self, AuditExportCommand.self,
        ]
    )

    struct Query: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Records, newest first, that match all of the options."
        )
        @OptionGroup var server: ServerOptions
        @OptionGroup var output: OutputOptions
        @Option(help: "Not before this time (RFC 3339) or so long ago (90s, 15m, 2h, 7d).")
        var since: String?
        @Option(help: "Not after this time, in the same forms.") var until: String?
        @Option(help: "Event name, for example svidsIssued.") var event = ""
        @Option(help: "Who: spiffe://..., uid:N@host, system:PART.") var actor = ""
        @Option(name: .customLong("spiffe-id"), help: "Records that name this ID.")
        var spiffeID = ""
        @Option(help: "Records that name this certificate serial (hex).") var serial = ""
        @Option(name: [.customShort("n"), .customLong("namespace")], help: "Namespace.")
        var namespace = ""
        @Option(help: "Most records.") var limit = 50

        func validate() throws {
            guard limit > 0 else { throw ValidationError("--limit is above 0") }
        }

        func run() async throws {
            let now = SystemClock().wallTime
            let request = try Signet_Admin_V1alpha1_AuditQueryRequest.with {
                $0.sinceUnixMilliseconds = try since.map { try Moment.parse($0, now: now) } ?? 0
                $0.untilUnixMilliseconds = try until.map { try Moment.parse($0, now: now) } ?? 0
                $0.event = event
                $0.actor = actor
                $0.spiffeID = spiffeID
                $0.serial = serial
                $0.namespace = namespace
                $0.limit = UInt32(clamping: limit)
            }
            let response = try await server.withClient { client in
                try await Signet_Admin_V1alpha1_Audit.Client(wrapping: client).query(request)
            }
            switch output.format {
            case .table:
                Terminal.out(AuditPrinter.table(response.records).text)
                if response.more { Terminal.error("more match: narrow the query or raise --limit") }
            case .json:
                Terminal.out(
                    "[" + response.records.map(AuditPrinter.json).joined(separator: ",\n") + "]"
                )
            case .yaml:
                Terminal.out(AuditPrinter.yaml(response.records))
            }
        }
    }

    struct Tail: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Print records as they are committed, one JSON line each."
        )
        @OptionGroup var server: ServerOptions
        @Flag(name: .customLong("from-start"), help: "Begin with the first record.")
        var fromStart = false
        @Option(help: "End after this many records.") var count: Int?

        func run() async throws {
            let (fromStart, count) = (fromStart, count ?? Int.max)
            try await server.withClient { client in
                let request = Signet_Admin_V1alpha1_AuditTailRequest.with {
                    $0.fromStart = fromStart
                }
                try await Signet_Admin_V1alpha1_Audit.Client(wrapping: client).tail(request) {
                    var left = count
                    for try await record in $0.messages {
                        Terminal.out(AuditPrinter.json(record))
                        left -= 1
                        if left <= 0 { return }
                    }
                }
            }
        }
    }
}
