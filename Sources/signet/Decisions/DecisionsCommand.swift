// SPDX-License-Identifier: Apache-2.0

internal import ArgumentParser
internal import AuditLog
internal import ControlAPIProtos
internal import Foundation
internal import GRPCCore
internal import SwiftProtobuf

/// `signet decisions`: what proxies decided, as agents sent it.
struct DecisionsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "decisions",
        abstract: "Prove what the decision log holds.",
        discussion: "Example: signet decisions verify",
        subcommands: [DecisionsVerifyCommand.self]
    )
}

/// `signet decisions verify`.
struct DecisionsVerifyCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "verify",
        abstract: "Check every stored segment against the digests in the audit log.",
        discussion: """
            The audit log is fetched and checked first, as signet audit verify does it; with --dir \
            it is read from a copy. Then every segment of the server's decision store is read, and \
            hashes and roots are computed here. Exit status 4, and what is missing or altered, when \
            the two differ. Segments that were removed for their age are counted.

            A store that the audit log tells of and that is not there any more counts as missing \
            while its digests are younger than the server keeps segments: whoever can write the \
            store could give it another ID. If you deleted it yourself, name it with \
            --accept-store.

            Example: signet decisions verify --dir copy --key verifier.key
            """
    )
    @OptionGroup var server: ServerOptions
    @OptionGroup var output: OutputOptions
    @Option(
        help: ArgumentHelp(
            "A copy of the audit log, made by signet audit export.",
            valueName: "path"
        ),
        completion: .directory
    )
    var dir: String?
    @Option(
        help: ArgumentHelp(
            "The audit log's verifier key, or a file that holds it, also an agent's `identity`.",
            valueName: "key-or-file"
        ),
        completion: .file()
    )
    var key: String?
    @Option(
        name: .customLong("accept-store"),
        help: ArgumentHelp(
            "A store that you know to be gone, by the ID that the audit log has; may be repeated.",
            valueName: "id"
        ),
        transform: acceptedStore
    )
    var accepted: [[UInt8]] = []

    private static func acceptedStore(_ text: String) throws -> [UInt8] {
        guard let id = StoreID.bytes(text) else {
            throw ValidationError(
                "the ID of a store is 32 hexadecimal digits, as in `store` of the audit log's "
                    + "decisionDigest records"
            )
        }
        return id
    }

    struct View: Encodable {
        var intact: Bool
        /// Digests of the audit log that were proved.
        var digests: Int
        var segments: Int
        var records: Int
        var undigested: Int
        /// Digests whose segments are no longer kept, and when the newest of these was made.
        var expired: Int
        var expiredUntil: String?
        /// Digests of stores that are gone and say nothing.
        var otherStores: Int
        /// Segments whose numbers are left out among others of one spool.
        var gaps: UInt64
        var notices: [String]
        var problems: [String]
    }

    func validate() throws {
        guard let dir, key == nil else { return }
        throw ValidationError(AuditDirectory(dir).keyNeeded)
    }

    func run() async throws {
        let copy = FileManager.default.temporaryDirectory.appending(
            path: "signet-audit-\(UInt64.random(in: 0 ... .max))"
        )
        defer { try? FileManager.default.removeItem(at: copy) }
        let leaves: [DecisionStoreCheck.Leaf]
        if let dir, let key {
            try AuditDirectory(dir).checkIsLog()
            leaves = try Self.leaves(AuditDirectory(dir), AuditVerifyCommand.key(key))
        } else {
            let directory = AuditDirectory(copy.path)
            let log = try await AuditDownload(directory: directory, isJudged: false).run(server)
            leaves = try Self.leaves(directory, key.map(AuditVerifyCommand.key) ?? log.key)
        }
        let report = try await check(leaves)
        try print(report)
        guard report.isIntact else {
            throw CommandFailure(
                "\(report.problemCount) part(s) of the decision log are missing or altered",
                remedy:
                    "Keep the server's decisions.db and audit log as they are, and find out who "
                    + "could write there.",
                status: .tampered
            )
        }
    }

    /// The digests of a log that is intact.
    private static func leaves(
        _ directory: AuditDirectory,
        _ key: NoteVerifierKey
    ) throws -> [DecisionStoreCheck.Leaf] {
        var leaves: [DecisionStoreCheck.Leaf] = []
        let verdict = AuditVerifier(key: key, read: directory.read).verify { index, bytes in
            if let leaf = DecisionStoreCheck.Leaf(index: index, bytes: bytes) {
                leaves.append(leaf)
            }
        }
        guard case .intact = verdict else {
            throw CommandFailure(
                "the audit log itself is not intact",
                remedy: "`signet audit verify` says where.",
                status: .tampered
            )
        }
        return leaves
    }

    private func check(
        _ leaves: [DecisionStoreCheck.Leaf]
    ) async throws -> DecisionStoreCheck.Report {
        try await server.withClient { client in
            let service = Signet_Admin_V1alpha1_Administration.Client(wrapping: client)
            var check: DecisionStoreCheck?
            var after: UInt64 = 0
            while true {
                let from = after
                let page = try await service.readDecisionSegments(
                    .with { $0.afterSequence = from }
                )
                if check == nil {
                    check = DecisionStoreCheck(
                        leaves: leaves,
                        storeID: page.storeID,
                        oldest: page.oldestSequence,
                        accepted: Set(accepted),
                        keptSince: Self.keptSince(page.retentionSeconds)
                    )
                }
                check?.kept(from: page.oldestSequence)
                for segment in page.segments { check?.received(segment) }
                guard page.more, let last = page.segments.last, last.sequence > after else {
                    break
                }
                after = last.sequence
            }
            return check?.finished() ?? .init()
        }
    }

    /// When what is kept now began; nil if the server, of another release, does not tell.
    private static func keptSince(_ retentionSeconds: Int64) -> AuditTime? {
        guard retentionSeconds > 0 else { return nil }
        return AuditTime(Date(timeIntervalSinceNow: -Double(retentionSeconds)))
    }

    private func print(_ report: DecisionStoreCheck.Report) throws {
        let view = View(
            intact: report.isIntact,
            digests: report.proved,
            segments: report.segments,
            records: report.records,
            undigested: report.undigested,
            expired: report.expired,
            expiredUntil: report.expiredUntil?.description,
            otherStores: report.others,
            gaps: report.gaps,
            notices: report.notices,
            problems: report.problems
        )
        guard output.format == .table else {
            return try output.print(view) { Table(headings: [], rows: []) }
        }
        let verdict = report.isIntact ? "intact" : "NOT INTACT"
        Terminal.out(
            "\(verdict): \(view.segments) segments with \(view.records) records, "
                + "\(view.digests) digests proved, \(view.undigested) segments not digested yet"
        )
        if let until = view.expiredUntil {
            Terminal.out("no longer kept: what \(view.expired) digests cover, the last of \(until)")
        }
        if view.otherStores > 0 {
            Terminal.out("\(view.otherStores) digests are of stores that were before this one")
        }
        if view.gaps > 0 {
            Terminal.out("\(view.gaps) segments were numbered by their agents and never came")
        }
        for notice in view.notices { Terminal.out("  " + Terminal.printable(notice)) }
        for problem in view.problems { Terminal.error(Terminal.printable(problem)) }
    }
}
