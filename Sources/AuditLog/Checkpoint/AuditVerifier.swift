// SPDX-License-Identifier: Apache-2.0

/// What a walk over a whole log found.
package enum AuditVerdict: Hashable, Sendable {
    /// Something was changed, removed or damaged.
    case broken(AuditDefect)
    /// Every record and every hash is what the checkpoint signs.
    case intact(IntactLog)
}

/// A log whose every byte was checked against its signed checkpoint.
package struct IntactLog: Hashable, Sendable {
    package let checkpoint: SignedCheckpoint
    /// Tiles of the files listed that reach beyond the checkpoint: written, not yet signed, and
    /// therefore not checked.
    package let unsignedFiles: [String]
    /// Files listed that are not of a log.
    package let unknownFiles: [String]
}

/// Checks a whole log, for example a copied directory, with nothing but the log's key.
package struct AuditVerifier {
    private let key: NoteVerifierKey
    private let remembered: [Checkpoint]
    private let read: (String) throws -> [UInt8]

    /// Prepares the check of one log.
    ///
    /// - Parameters:
    ///   - key: The log's verifier key, from a source other than the log's own directory.
    ///   - remembered: Checkpoints of this log kept elsewhere, as agents do; only they show a
    ///     history that was rewritten by somebody who also holds the log's signing key.
    ///   - read: Returns the file at a path below the log's directory; throws if there is none.
    package init(
        key: NoteVerifierKey,
        remembered: [Checkpoint] = [],
        read: @escaping (String) throws -> [UInt8]
    ) {
        self.key = key
        self.remembered = remembered.filter { $0.origin == key.name }
        self.read = read
    }

    /// Reads every file of the tree once, from the first record to the last.
    ///
    /// - Parameters:
    ///   - files: All paths below the log's directory, if they can be listed: older forms of
    ///     partial tiles are then checked as well.
    ///   - known: A checkpoint of this log that is trusted already: only what follows it is read and
    ///     visited, from the bundle on in which it ends. Of the records before it the files may say
    ///     anything; that the log goes on from it is checked. Nil: from the first record on.
    ///   - visit: Called with each record's index and bytes after its hash was found in the tree.
    ///     Until the verdict is `intact` that hash may itself turn out to be unsigned.
    /// - Returns: What was found; the walk ends at the first fault.
    package func verify(
        files: [String] = [],
        after known: Checkpoint? = nil,
        visit: (UInt64, ArraySlice<UInt8>) -> Void = { _, _ in }
    ) -> AuditVerdict {
        let signed: SignedCheckpoint
        switch readCheckpoint() {
        case .success(let checkpoint): signed = checkpoint
        case .failure(let defect): return .broken(defect.defect)
        }
        var walk = TreeWalk(
            checkpoint: signed.checkpoint,
            remembered: remembered + (known.map { [$0] } ?? []),
            read: read
        )
        do {
            try walk.run(after: known?.size ?? 0, visit: visit)
            let rest = try walk.checkOthers(files)
            return .intact(
                IntactLog(
                    checkpoint: signed,
                    unsignedFiles: rest.unsigned,
                    unknownFiles: rest.unknown
                )
            )
        } catch {
            return .broken(error.defect)
        }
    }

    private func readCheckpoint() -> Result<SignedCheckpoint, FoundDefect> {
        let path = TilePath.checkpoint
        let note: [UInt8]
        do {
            note = try read(path)
        } catch {
            return .failure(FoundDefect(.fileUnreadable(reason: "\(error)"), path: path))
        }
        do {
            return .success(try SignedCheckpoint(parsing: note, key: key))
        } catch {
            return .failure(FoundDefect(.checkpoint(error), path: path))
        }
    }
}

/// Ends a walk.
struct FoundDefect: Error {
    let defect: AuditDefect

    init(_ kind: AuditDefect.Kind, path: String, records: Range<UInt64>? = nil) {
        defect = AuditDefect(kind: kind, path: path, records: records)
    }

    init(_ error: TileError) {
        let path = error.path
        switch error {
        case .unreadable(_, let reason):
            self.init(
                .fileUnreadable(reason: reason),
                path: path.description,
                records: path.records
            )
        case .wrongLength(_, let bytes):
            self.init(.fileLength(bytes: bytes), path: path.description, records: path.records)
        }
    }
}
