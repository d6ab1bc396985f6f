// SPDX-License-Identifier: Apache-2.0

internal import ArgumentParser
internal import Clocks
internal import ControlAPIProtos
internal import Foundation
internal import GRPCCore
internal import SwiftProtobuf

/// `signet ca`: what the server has issued.
struct CACommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "ca",
        abstract: "Check what the server has issued.",
        discussion: "Example: signet ca recheck --since 2h",
        subcommands: [Recheck.self]
    )

    struct Recheck: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract:
                "Make again the certificates that were issued; compare them with records and log.",
            discussion: """
                The server goes through its audit log and its records of certificates, which are kept \
                until an hour after their end. Each certificate is made again from its record and \
                compared with what was signed; today's rules and profiles read it; the authority has \
                to be the one that signed then; the entry's revision has to grant it; record and log \
                have to say the same; and the log in the database has to be the published one. It \
                takes a reader of the database, never the writer.

                Certificates alone are judged. Of JWT-SVIDs, exchanged tokens and revocation lists it \
                is only looked whether their records in the log are the published ones: whether they \
                should have been issued is not said. `signet audit query --event jwtSVIDsIssued`, \
                `delegatedTokenIssued` and `revocationListSigned` show what there is.

                What another release or other profiles issued, or whose entry or authority is \
                forgotten, cannot be judged wholly and is counted. Exit status 1 if anything was \
                found; `signet audit verify` says whether the published log was changed.

                Example: signet ca recheck --since 2h -o json
                """
        )
        @OptionGroup var server: ServerOptions
        @OptionGroup var output: OutputOptions
        @Option(
            help: ArgumentHelp(
                "Only what was issued since: 15m, 2h, 7d ago, or RFC 3339; all on record without it.",
                valueName: "time"
            )
        )
        var since: String?

        func validate() throws {
            do {
                _ = try since.map { try Moment.parse($0, now: SystemClock().wallTime) }
            } catch let failure as CommandFailure {
                throw ValidationError(failure.message + ". " + (failure.remedy ?? ""))
            }
        }

        func run() async throws {
            let now = SystemClock().wallTime
            let request = try Signet_Admin_V1alpha1_RecheckRequest.with {
                $0.sinceUnixMilliseconds = try since.map { try Moment.parse($0, now: now) } ?? 0
            }
            let view = try await server.withClient { client in
                try await Signet_Admin_V1alpha1_Audit.Client(wrapping: client)
                    .recheck(request) { response in
                        var reading = RecheckReading()
                        defer { Terminal.endProgress() }
                        for try await part in response.messages {
                            if let progress = try reading.take(part) { Terminal.progress(progress) }
                        }
                        return try reading.finish()
                    }
            }
            try output.print(view) { view.table }
            if output.format == .table { Terminal.out(view.summary) }
            guard view.findings == 0 else { throw ExitStatus.failed.code }
        }
    }
}
