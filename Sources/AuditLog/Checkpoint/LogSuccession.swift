// SPDX-License-Identifier: Apache-2.0

/// That a log ends and another one follows it, in a note that the key of the former one has signed
/// (docs/decisions/0022-backup-and-restore.md).
///
/// The text is `signet-log-succession/v1`, then origin, size and root of the former log as its
/// checkpoint has them, then the verifier key of the new one, each on a line. It is no checkpoint, as
/// that begins with the name of the log, and has fewer lines.
package struct LogSuccession: Hashable, Sendable {
    /// The file beside the former log's tiles.
    package static let file = "succession"
    private static let header = "signet-log-succession/v1"

    /// What was known of the former log when the new one began; its tree may have been larger.
    package let former: Checkpoint
    /// The key of the log that follows, which names it.
    package let newKey: NoteVerifierKey
    /// The whole note.
    package let note: [UInt8]

    /// Signs a succession.
    ///
    /// - Parameters:
    ///   - former: The last checkpoint of the log that ends; its origin is the name of `key`.
    ///   - key: The public half of that log's key.
    ///   - newKey: The key of the log that follows.
    ///   - sign: Returns the 64-byte Ed25519 signature over the bytes given.
    /// - Throws: `CheckpointSigningError`.
    package init(
        of former: Checkpoint,
        by key: NoteVerifierKey,
        to newKey: NoteVerifierKey,
        sign: ([UInt8]) throws -> [UInt8]
    ) throws(CheckpointSigningError) {
        guard former.origin == key.name, newKey.name != key.name else { throw .originDiffers }
        self.former = former
        self.newKey = newKey
        note = try SignedNote.make(
            "\(Self.header)\n\(former.text)\(newKey)\n",
            key: key,
            sign: sign
        )
    }

    /// Reads a note and checks the signature of the former log's key.
    ///
    /// - Throws: `CheckpointError` naming what is wrong.
    package init(parsing note: [UInt8], key: NoteVerifierKey) throws(CheckpointError) {
        try self.init(note, text: SignedNote.text(of: note, signedBy: key))
        guard former.origin.utf8.elementsEqual(key.name.utf8) else {
            throw .originDiffers(former.origin)
        }
    }

    /// Reads a note without looking at its signature, for who only hands it on.
    ///
    /// - Throws: `CheckpointError` naming what is wrong.
    package init(unverified note: [UInt8]) throws(CheckpointError) {
        try self.init(note, text: SignedNote.unverifiedText(of: note))
    }

    private init(_ note: [UInt8], text: String) throws(CheckpointError) {
        let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
        guard lines.count == 6, lines[0] == Self.header, lines[5].isEmpty else { throw .notANote }
        let former = try Checkpoint(parsing: lines[1...3].map { $0 + "\n" }.joined())
        guard let newKey = try? NoteVerifierKey(parsing: String(lines[4])),
            newKey.name != former.origin
        else { throw .notANote }
        self.former = former
        self.newKey = newKey
        self.note = note
    }
}
