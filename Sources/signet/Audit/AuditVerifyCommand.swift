// SPDX-License-Identifier: Apache-2.0

internal import ArgumentParser
internal import AuditLog
internal import DurableFiles
internal import Foundation

/// `signet audit verify`.
struct AuditVerifyCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "verify",
        abstract: "Check every record against the signed checkpoint.",
        discussion: """
            With --dir nothing but the directory is read: no server, no network. Without it the \
            log is fetched from the server. Exit status 4, and the first bad record, when a byte \
            was changed anywhere.

            Take the key from somewhere else than the log itself: who holds both can write a \
            new history. A checkpoint kept elsewhere (--checkpoint) shows even that. An agent \
            keeps both, in the files `identity` and `checkpoint` of its data directory.

            Example: signet audit verify --dir copy --key verifier.key --checkpoint kept-elsewhere
            """
    )
    @OptionGroup var server: ServerOptions
    @OptionGroup var output: OutputOptions
    @Option(
        help: ArgumentHelp(
            "A directory made by signet audit export, or the server's own.",
            valueName: "path"
        ),
        completion: .directory
    )
    var dir: String?
    @Option(
        help: ArgumentHelp(
            "The log's verifier key, or a file that holds it, also an agent's `identity`.",
            valueName: "key-or-file"
        ),
        completion: .file()
    )
    var key: String?
    @Option(
        name: .customLong("checkpoint"),
        help: ArgumentHelp(
            "A checkpoint of this log kept elsewhere, also an agent's; repeatable.",
            valueName: "file"
        ),
        completion: .file()
    )
    var remembered: [String] = []

    struct View: Encodable {
        var intact: Bool
        var records: UInt64
        var root: String
        var key: String
        var uncheckedFiles: [String]
        /// Not there when all is well.
        var firstBadRecord: UInt64?
        var file: String?
        var problem: String?
    }

    func validate() throws {
        guard let dir, key == nil else { return }
        do throws(CommandFailure) {
            try AuditDirectory(dir).checkIsLog()
        } catch {
            throw ValidationError(error.message + ". " + (error.remedy ?? ""))
        }
        throw ValidationError(AuditDirectory(dir).keyNeeded)
    }

    func run() async throws {
        if let dir, let key {
            try AuditDirectory(dir).checkIsLog()
            try report(AuditDirectory(dir), key: Self.key(key))
            return
        }
        let copy = FileManager.default.temporaryDirectory.appending(
            path: "signet-audit-\(UInt64.random(in: 0 ... .max))"
        )
        defer { try? FileManager.default.removeItem(at: copy) }
        let directory = AuditDirectory(copy.path)
        // What is wrong with it is reported below.
        let log = try await AuditDownload(directory: directory, isJudged: false).run(server)
        if key == nil {
            Terminal.error(
                "the key is the one the server gave; compare it with one you kept: --key"
            )
        }
        if log.unsigned > 0 {
            Terminal.error("\(log.unsigned) newer record(s) are not under a checkpoint yet")
        }
        try report(directory, key: key.map(Self.key) ?? log.key)
    }

    /// The verifier key as typed, or out of a file.
    static func key(_ text: String) throws -> NoteVerifierKey {
        let path = text
        var text = text
        if !text.contains("+") || FileManager.default.fileExists(atPath: path) {
            let bytes: [UInt8]
            do throws(FileError) {
                bytes = try DurableFile.read(path, bytesMax: AgentFileFrame.identityBytesMax)
            } catch {
                throw CommandFailure(
                    "--key is neither a verifier key nor a file that can be read: \(error)",
                    remedy: "A key has the form name+id+base64; `signet audit export` writes it."
                )
            }
            text = try AgentFileFrame.key(bytes, path: path)
                .trimmingCharacters(in: .whitespacesAndNewlines)
        }
        do {
            return try NoteVerifierKey(parsing: text)
        } catch {
            throw CommandFailure(
                "\(path) is no verifier key: \(error)",
                remedy: "A key has the form name+id+base64; `signet audit export` writes it."
            )
        }
    }

    private func report(_ directory: AuditDirectory, key: NoteVerifierKey) throws {
        let checkpoints = try RememberedCheckpoints(files: remembered, key: key)
        switch try directory.verify(key: key, remembered: checkpoints.notes) {
        case .intact(let log):
            let checkpoint = log.checkpoint.checkpoint
            let view = View(
                intact: true,
                records: checkpoint.size,
                root: Data(checkpoint.root.bytes).base64EncodedString(),
                key: key.description,
                uncheckedFiles: log.unsignedFiles + log.unknownFiles
            )
            if output.format == .table {
                Terminal.out(
                    "intact: \(view.records) records, root \(view.root), signed by \(key)"
                )
                for file in view.uncheckedFiles { Terminal.error("not checked: \(file)") }
            } else {
                try output.print(view) { Table(headings: [], rows: []) }
            }
        case .broken(let defect):
            let sentence = checkpoints.sentence(for: defect, size: directory.size(key: key))
            if output.format != .table {
                try output.print(
                    View(
                        intact: false,
                        records: 0,
                        root: "",
                        key: key.description,
                        uncheckedFiles: [],
                        firstBadRecord: defect.firstRecord,
                        file: defect.path,
                        problem: sentence
                    )
                ) { Table(headings: [], rows: []) }
            }
            throw CommandFailure(
                sentence,
                remedy: "Keep this copy and see docs/audit.md, \"After an alarm\".",
                status: .tampered
            )
        }
    }
}

/// `signet audit export`.
struct AuditExportCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "export",
        abstract: "Copy the log into a directory, to be kept and verified elsewhere.",
        discussion: """
            The directory then holds the signed checkpoint, all records and hashes, and the \
            verifier key. Keep the key apart from the copy. A copy that is there is continued: only \
            what is missing is fetched, also after an interrupted run, and taken in when it is what \
            the checkpoint signs. Exit status 4 when the log does not continue the copy, as that of \
            a server that was set back or restored; the copy stays as it was, and what the server \
            sent is in .refused in it.

            Example: signet audit export --dir audit-copy
            """
    )
    @OptionGroup var server: ServerOptions
    @Option(
        help: ArgumentHelp("Where to write; made if it is missing.", valueName: "path"),
        completion: .directory
    )
    var dir: String

    func run() async throws {
        let directory = AuditDirectory(dir)
        guard try directory.isNew() || directory.hasCheckpoint() else {
            throw CommandFailure(
                "\(dir) is not empty and holds no audit log",
                remedy: "Name an empty directory, or one made by this command."
            )
        }
        let log = try await AuditDownload(directory: directory).run(server)
        try directory.keep(log.key)
        Terminal.out("\(log.checkpoint.size) records below \(dir), \(log.files) files of them new")
        Terminal.error(
            "next: signet audit verify --dir \(dir) --key \(dir)/\(AuditDirectory.keyFile)"
        )
    }
}
