// SPDX-License-Identifier: Apache-2.0

internal import Datastore

/// What somebody wants restored (docs/decisions/0022-backup-and-restore.md, "Restore").
package struct RestoreOrder: Sendable {
    /// Where the database comes from.
    package enum Source: Hashable, Sendable {
        /// The file of a backup.
        case backup(String)
        /// The data directory itself.
        case inPlace
        /// Nowhere: a restore that was made ready is finished.
        case unfinished
    }

    package let source: Source
    /// The directory that holds copies of `audit/`, `logs/` and `keys/`; nil: those of the data
    /// directory count.
    package let copies: String?
    /// Files with checkpoints of the log that were kept elsewhere, as agents keep them.
    package let checkpoints: [String]
    /// Whether nothing of the data directory is changed.
    package let isRehearsal: Bool

    package init(
        _ source: Source,
        copies: String? = nil,
        checkpoints: [String] = [],
        isRehearsal: Bool = false
    ) {
        self.source = source
        self.copies = copies
        self.checkpoints = checkpoints
        self.isRehearsal = isRehearsal
    }
}

/// Why a restore has ended; unless it says so, nothing has happened.
package enum RestoreError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The backup's file is not usable.
    case backupUnusable(path: String, reason: String)
    /// There is no database to take in place.
    case databaseMissing(String)
    /// The log does not fit the backup, its own checkpoints or those of agents.
    case logDiffers(String)
    /// `--from` names a directory that has none of the copies.
    case noCopies(String)
    /// Nothing is named to restore, and no restore was made ready before.
    case nothingBegun
    /// No passphrase is named for the backup.
    case noPassphrase
    /// The backup is of another server than the data directory.
    case otherServer(backup: String, here: String)
    /// The backup is of another trust domain than the configuration.
    case otherTrustDomain(backup: String, here: String)
    /// The data directory belongs to another user, who could not use what is made.
    case otherUser(path: String, uid: UInt32)
    /// A restore has to be finished first.
    case unfinished(String)

    package var description: String {
        switch self {
        case .backupUnusable(let path, let reason): "\(path): \(reason)"
        case .databaseMissing(let path):
            "there is no \(path) that could be restored in place: name the file of a backup"
        case .logDiffers(let what):
            "logDiffers: \(what). Nothing was changed; see docs/operations.md, \"Restore\""
        case .noCopies(let path):
            "\(path) has neither audit/ nor logs/ nor keys/: name the directory that holds copies of "
                + "them with --from"
        case .nothingBegun:
            "there is no restore to finish: name either the file of a backup or --in-place"
        case .noPassphrase:
            "backups are encrypted: name the file of their passphrase with --backup-passphrase, or "
                + "write backupPassphrase into the configuration"
        case .otherServer(let backup, let here):
            "otherServer: the backup is of server \(backup), and the data directory of \(here): move "
                + "the data directory away to restore the other server here"
        case .otherTrustDomain(let backup, let here):
            "the backup is of trust domain \(backup), and the configuration says \(here)"
        case .otherUser(let path, let uid):
            "\(path) belongs to uid \(uid): run this as that user, for example with sudo -u"
        case .unfinished(let path):
            "\(path) has a restore that has to be finished first: run signet-server restore without "
                + "--rehearse"
        }
    }
}

/// What a restore has made, or would make.
package struct RestoreReport: Hashable, Sendable {
    /// One for each thing to know, in order.
    package let lines: [String]
}

extension RestoreReport {
    /// Of a restore that was killed after it was ready.
    static let finished = RestoreReport(
        lines: [
            "a restore that had been made ready before was finished; what was asked for now was not "
                + "looked at",
            next,
        ]
    )

    static let next =
        "start the server: it is held, and `signet server recover --rehearse` says what may be missing"
}
