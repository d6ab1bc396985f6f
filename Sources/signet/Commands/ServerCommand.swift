// SPDX-License-Identifier: Apache-2.0

internal import ArgumentParser
internal import ControlAPIProtos
internal import Crypto
internal import DurableFiles
internal import Foundation
internal import GRPCCore
internal import SwiftProtobuf

/// `signet server`: what keeps a server from being lost.
struct ServerCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "server",
        abstract: "Back up, restore and recover the server, and say that its clock is right.",
        discussion: "Example: signet server backup --out server.signetbackup",
        subcommands: [
            Backup.self, Restore.self, ServerAcceptClockCommand.self, ServerRecoverCommand.self,
        ]
    )

    struct Restore: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Restore a server that is stopped; runs signet-server restore.",
            discussion: """
                Everything that is written here is given to signet-server restore, which is taken from \
                the folder of this program or from PATH: `signet-server restore --help` says what there \
                is. Run it on the server's machine, as the server's user.

                Example: signet server restore server.signetbackup --from /mnt/copies --rehearse
                """
        )
        @Argument(
            parsing: .captureForPassthrough,
            help: ArgumentHelp("What signet-server restore takes.", valueName: "argument")
        )
        var arguments: [String] = []

        func run() throws {
            let program = try DevPrograms.path(of: "signet-server")
            throw CommandFailure("\(Launcher.become(program, arguments: ["restore"] + arguments))")
        }
    }

    struct Backup: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Write an encrypted backup of all that is declared into a file.",
            discussion: """
                It holds documents, nodes, authorities and what was issued and revoked, encrypted \
                for backupPassphrase of the server's configuration; keep that passphrase apart from \
                the backups. It holds no key, no join token and no audit log: copy the server's \
                keys/, and the log with `signet audit export --dir`, after each backup.

                The file is there whole or not at all; one that was there is replaced.

                Example: signet server backup --out server.signetbackup
                """
        )
        @OptionGroup var server: ServerOptions
        @OptionGroup var output: OutputOptions
        @Option(
            help: ArgumentHelp("The file to write, in mode 0600.", valueName: "file"),
            completion: .file()
        )
        var out: String

        struct View: Encodable {
            var id: String
            var file: String
            var bytes: UInt64
            var sha256: String
            var revision: UInt64
        }

        func run() async throws {
            let out = out
            let summary = try await server.withClient { client in
                try await AdministrationClient(wrapping: client).backup(.init()) { response in
                    var download = try BackupDownload(to: out)
                    defer { Terminal.endProgress() }
                    for try await part in response.messages { try download.take(part) }
                    return try download.finish()
                }
            }
            let view = View(
                id: summary.id,
                file: out,
                bytes: summary.bytes,
                sha256: summary.sha256.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }
                    .joined(),
                revision: summary.revision
            )
            guard output.format != .table else {
                Terminal.out("backup \(view.id): \(view.bytes) bytes in \(out)")
                Terminal.error("next: signet audit export --dir DIR, and copy the server's keys/")
                return
            }
            try output.print(view) { Table(headings: [], rows: []) }
        }
    }
}

/// A backup on its way into its file.
struct BackupDownload: ~Copyable {
    private var file: DurableFileWriter
    private var digest = SHA256()
    private var bytes: UInt64 = 0
    private var summary: Signet_Admin_V1alpha1_BackupSummary?

    /// Begins the file at a path.
    init(to path: String) throws {
        file = try DurableFileWriter(path, mode: 0o600)
    }

    /// Takes the next part that the server has sent.
    mutating func take(_ part: Signet_Admin_V1alpha1_BackupPart) throws {
        guard summary == nil else { throw Self.broken("more followed its end") }
        switch part.part {
        case .content(let content):
            digest.update(data: content)
            bytes += UInt64(content.count)
            try file.write(Array(content))
            Terminal.progress("\(bytes >> 20) MiB of the backup written")
        case .summary(let summary): self.summary = summary
        case nil: throw Self.broken("it sent something that this program does not know")
        }
    }

    /// Ends the file, which is on disk and in its place then.
    ///
    /// - Throws: `CommandFailure` when it is not what the server sent, `FileError`; then there is no
    ///   new file.
    mutating func finish() throws -> Signet_Admin_V1alpha1_BackupSummary {
        guard let summary else { throw Self.broken("it ended early") }
        guard summary.bytes == bytes, Array(summary.sha256) == Array(digest.finalize()) else {
            throw Self.broken("its bytes are not those that the server recorded")
        }
        try file.finish()
        return summary
    }

    private static func broken(_ what: String) -> CommandFailure {
        CommandFailure(
            "the backup is not complete: \(what)",
            remedy: "No file was written; try again."
        )
    }
}
