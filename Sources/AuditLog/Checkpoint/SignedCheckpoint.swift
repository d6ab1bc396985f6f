// SPDX-License-Identifier: Apache-2.0

/// Why a checkpoint was not signed.
package enum CheckpointSigningError: Error, Hashable, Sendable {
    /// The checkpoint's origin is not the key's name.
    case originDiffers
    /// What the signer returned is not a signature by the key: its halves do not belong together.
    case signatureDoesNotVerify
    /// The signer threw.
    case signerFailed(String)
}

/// A checkpoint whose signature was checked, as a C2SP signed note.
package struct SignedCheckpoint: Hashable, Sendable {
    /// Largest note.
    ///
    /// A note by one log key is under 1 KiB; `signaturesMax` signatures of up to 5 kB each, as
    /// post-quantum ones are, fit as well.
    package static let bytesMax = 96 * 1024
    /// Most signatures of a note: as many as a verifier must admit (C2SP signed-note, "Format").
    package static let signaturesMax = 16

    package let checkpoint: Checkpoint
    /// The whole note, as it stands in the file `checkpoint`.
    package let note: [UInt8]

    /// Signs a checkpoint.
    ///
    /// A log must never sign two checkpoints that are inconsistent (C2SP tlog-checkpoint): the
    /// caller signs only what its committed leaves say.
    ///
    /// - Parameters:
    ///   - checkpoint: What to sign; its origin is the name of `key`.
    ///   - key: The public half of the signer's key; the signature is checked against it.
    ///   - sign: Returns the 64-byte Ed25519 signature over the bytes given.
    /// - Throws: `CheckpointSigningError`.
    package init(
        signing checkpoint: Checkpoint,
        key: NoteVerifierKey,
        sign: ([UInt8]) throws -> [UInt8]
    ) throws(CheckpointSigningError) {
        guard checkpoint.origin == key.name else { throw .originDiffers }
        self.checkpoint = checkpoint
        note = try SignedNote.make(checkpoint.text, key: key, sign: sign)
    }

    /// Reads a note and checks the key's signature on it; signatures by other keys are ignored
    /// (C2SP signed-note, "Signatures").
    ///
    /// - Throws: `CheckpointError` naming what is wrong.
    package init(parsing note: [UInt8], key: NoteVerifierKey) throws(CheckpointError) {
        let text = try SignedNote.text(of: note, signedBy: key)
        let checkpoint = try Checkpoint(parsing: text)
        guard checkpoint.origin.utf8.elementsEqual(key.name.utf8) else {
            throw .originDiffers(checkpoint.origin)
        }
        self.checkpoint = checkpoint
        self.note = note
    }
}
