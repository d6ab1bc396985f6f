// SPDX-License-Identifier: Apache-2.0

internal import ArgumentParser
internal import AuditLog
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
        discussion: "Example: signet audit query --since 15m",
        subcommands: [
            Query.self, Tail.self, AuditVerifyCommand.self, AuditExportCommand.self,
        ]
    )

    struct Query: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Records, newest first, that match all of the options.",
            discussion: """
                Example: signet audit query --since 2h --spiffe-id spiffe://example.org/web
                """
        )
        @OptionGroup var server: ServerOptions
        @OptionGroup var output: OutputOptions
        /// What the server answers at most; more is a copy of the log (`signet audit export`).
        static let limitMax = 1000

        @Option(
            help: ArgumentHelp(
                "Not before this time (RFC 3339) or so long ago (90s, 15m, 2h, 7d).",
                valueName: "time"
            )
        )
        var since: String?
        @Option(
            help: ArgumentHelp("Not after this time, in the same forms.", valueName: "time")
        )
        var until: String?
        @Option(
            help: ArgumentHelp("Event name, for example svidsIssued.", valueName: "name"),
            completion: .list(AuditEvent.Name.allCases.map(\.rawValue))
        )
        var event = ""
        @Option(
            help: ArgumentHelp("Who: spiffe://..., uid:N@host, system:PART.", valueName: "who"),
            transform: TypedQuery.actor
        )
        var actor: String?
        @Option(
            name: .customLong("spiffe-id"),
            help: ArgumentHelp("Records that name this ID.", valueName: "spiffe-id"),
            transform: TypedSPIFFEID.read
        )
        var spiffeID: TypedSPIFFEID?
        @Option(
            help: ArgumentHelp("Records that name this certificate serial.", valueName: "hex"),
            transform: TypedQuery.serial
        )
        var serial: String?
        @Option(
            name: [.customShort("n"), .customLong("namespace")],
            help: ArgumentHelp("Records about this namespace.", valueName: "name")
        )
        var namespace = ""
        @Option(help: ArgumentHelp("Most records, at most \(limitMax).", valueName: "number"))
        var limit = 50

        func validate() throws {
            guard (1...Self.limitMax).contains(limit) else {
                throw ValidationError(
                    "--limit takes 1 to \(Self.limitMax); `signet audit export` copies everything"
                )
            }
            let now = SystemClock().wallTime
            do {
                for time in [since, until] { _ = try time.map { try Moment.parse($0, now: now) } }
            } catch let failure as CommandFailure {
                throw ValidationError(failure.message + ". " + (failure.remedy ?? ""))
            }
        }

        func run() async throws {
            let now = SystemClock().wallTime
            let request = try Signet_Admin_V1alpha1_AuditQueryRequest.with {
                $0.sinceUnixMilliseconds = try since.map { try Moment.parse($0, now: now) } ?? 0
                $0.untilUnixMilliseconds = try until.map { try Moment.parse($0, now: now) } ?? 0
                $0.event = event
                $0.actor = actor ?? ""
                $0.spiffeID = spiffeID?.text ?? ""
                $0.serial = serial ?? ""
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
            abstract: "Print records as they are committed, one line each, until Ctrl-C.",
            discussion: "Example: signet audit tail -o json --from-start"
        )
        @OptionGroup var server: ServerOptions
        @OptionGroup var output: OutputOptions
        @Flag(name: .customLong("from-start"), help: "Begin with the first record.")
        var fromStart = false
        @Option(help: ArgumentHelp("End after this many records.", valueName: "number"))
        var count: Int?

        func validate() throws {
            guard count ?? 1 > 0 else { throw ValidationError("--count is above 0") }
        }

        func run() async throws {
            let (fromStart, count, format) = (fromStart, count ?? Int.max, output.format)
            try await server.withClient { client in
                let request = Signet_Admin_V1alpha1_AuditTailRequest.with {
                    $0.fromStart = fromStart
                }
                try await Signet_Admin_V1alpha1_Audit.Client(wrapping: client).tail(request) {
                    var left = count
                    for try await record in $0.messages {
                        switch format {
                        case .table: Terminal.out(AuditPrinter.line(record))
                        case .json: Terminal.out(AuditPrinter.json(record))
                        case .yaml: Terminal.out(AuditPrinter.yaml([record]))
                        }
                        left -= 1
                        if left <= 0 { return }
                    }
                }
            }
        }
    }
}
