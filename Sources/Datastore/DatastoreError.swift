// SPDX-License-Identifier: Apache-2.0

package import SPIFFE

/// Why the datastore did not do what was asked; nothing of a refused write is visible.
package enum DatastoreError: Error, Hashable, Sendable, CustomStringConvertible {
    /// `establish` was called on a store that has an identity already.
    case alreadyEstablished
    /// Another connection held the lock for longer than the busy timeout.
    case busy
    /// The file or its directory cannot be opened.
    case cannotOpen(String)
    /// The datastore was closed.
    case closed
    /// The document is not in the version the writer saw; nil when it does not exist.
    case conflict(DocumentKey, current: UInt64?)
    /// A rule of the schema refused the row (unique, check, not null, foreign key).
    case constraint(String)
    /// The file is damaged, or is no SQLite database.
    ///
    /// The datastore refuses every later write.
    case corrupt(String)
    /// Another failure of the database engine, with its extended result code.
    case engine(code: Int32, message: String)
    /// The file is a SQLite database of another program.
    case foreignFile
    /// The disk, or the configured size of the database, is full.
    case full
    /// Reading or writing the disk failed.
    ///
    /// After a commit the outcome is unknown until the next opening, so the datastore refuses
    /// every later write.
    case inputOutput(String)
    /// Whoever asked for it waits no more (`BackupInterruption`).
    case interrupted
    /// A newer release has migrated the file.
    case newerSchema
    /// The store has no identity yet.
    case notEstablished
    /// The file, the file system or the opening mode allows no writes.
    case readOnly
    /// A change names a revision number that this transaction has not taken.
    case revisionNotAdvanced(UInt64)
    /// More than `DatastoreOptions.queuedWritesMax` writes are waiting.
    case tooManyWrites

    /// Whether nothing may be written any more until the file is opened anew.
    package var endsWriting: Bool {
        switch self {
        case .corrupt, .inputOutput: true
        default: false
        }
    }

    /// Whether the file or its engine failed, and not what a statement asked for.
    var isFault: Bool {
        switch self {
        case .alreadyEstablished, .conflict, .constraint, .notEstablished, .revisionNotAdvanced:
            false
        case .busy, .cannotOpen, .closed, .corrupt, .engine, .foreignFile, .full, .inputOutput,
            .interrupted, .newerSchema, .readOnly, .tooManyWrites:
            true
        }
    }

    package var description: String {
        switch self {
        case .alreadyEstablished: "the datastore already belongs to a server"
        case .busy: "another process holds the database lock"
        case .cannotOpen(let detail): "the database cannot be opened: \(detail)"
        case .closed: "the datastore is closed"
        case .conflict(let key, let current?): "\(key) is at version \(current)"
        case .conflict(let key, nil): "\(key) does not exist"
        case .constraint(let detail): "the database refuses the row: \(detail)"
        case .corrupt(let detail): "the database is damaged: \(detail)"
        case .engine(let code, let message): "database error \(code): \(message)"
        case .foreignFile: "the file is a database of another program"
        case .full: "the disk or the database is full"
        case .inputOutput(let detail): "the disk failed: \(detail)"
        case .interrupted: "it was interrupted"
        case .newerSchema: "the database was written by a newer release"
        case .notEstablished: "the datastore has no identity yet"
        case .readOnly: "the database is read-only"
        case .revisionNotAdvanced(let number):
            "revision \(number) was not taken by this transaction"
        case .tooManyWrites: "too many writes are waiting"
        }
    }
}
