// SPDX-License-Identifier: Apache-2.0

internal import ArgumentParser
internal import CAServer
internal import Clocks
internal import Logging
internal import Telemetry

/// `signet-server restore`.
struct RestoreCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "restore",
        abstract: "Restore a server that is stopped, from a backup and the audit log.",
        discussion: """
            The backup has what is declared; what happened since is brought forward from the audit \
            log, as far as there is one. The restored server has a new epoch and a new log, and is \
            held: it signs nothing until `signet server recover`.

            Run it as the server's user. The log and the keys are those of the data directory, or \
            the copies of audit/, logs/ and keys/ below --from. Everything is made beside what is \
            there; killed before the last step, nothing has happened, and afterwards the next \
            restore finishes it. What it replaces stays in replaced-<epoch>/.

            Example: signet-server restore server.signetbackup --from /mnt/copies --rehearse
            """
    )
    @Argument(
        help: ArgumentHelp("The backup, as `signet server backup` wrote it.", valueName: "file"),
        completion: .file()
    )
    var file: String?
    @Flag(
        name: .customLong("in-place"),
        help: "Take the data directory's own database: the machine was set back."
    )
    var inPlace = false
    @Option(
        help: ArgumentHelp(
            "The directory with copies of audit/, logs/ and keys/.",
            valueName: "directory"
        ),
        completion: .directory
    )
    var from: String?
    @Option(
        help: ArgumentHelp(
            "A checkpoint that an agent keeps, which the log has to fit; may be repeated.",
            valueName: "file"
        ),
        completion: .file()
    )
    var checkpoint: [String] = []
    @Flag(help: "Change nothing; say what would be restored. The server may run.")
    var rehearse = false
    @OptionGroup var configuration: ConfigurationOption
    @Option(
        name: .customLong("backup-passphrase"),
        help: ArgumentHelp(
            "The file of the backup's passphrase, in place of backupPassphrase.",
            valueName: "file"
        ),
        completion: .file()
    )
    var backupPassphrase: String?
    @Option(
        name: .customLong("key-passphrase"),
        help: ArgumentHelp(
            "The file of the keys' passphrase, in place of keyPassphrase.",
            valueName: "file"
        ),
        completion: .file()
    )
    var keyPassphrase: String?

    func validate() throws {
        // Neither is enough to finish a restore that was made ready before.
        guard file == nil || !inPlace else {
            throw ValidationError("name either the file of a backup or --in-place")
        }
    }

    func run() async throws {
        bootstrapLogging(format: .text, level: .warning)
        do {
            var settings = try ServerConfiguration(file: configuration.config)
            if let backupPassphrase { settings.backupPassphrase = .file(backupPassphrase) }
            if let keyPassphrase { settings.keyPassphrase = .file(keyPassphrase) }
            let report = try await Restoration.run(
                RestoreOrder(
                    file.map { .backup($0) } ?? (inPlace ? .inPlace : .unfinished),
                    copies: from,
                    checkpoints: checkpoint,
                    isRehearsal: rehearse
                ),
                settings,
                clock: SystemClock(),
                logger: Logger(label: "signet-server")
            )
            for line in report.lines { print(line) }
        } catch {
            StandardError().write("signet-server: \(error)\n")
            throw ExitCode.failure
        }
    }
}
