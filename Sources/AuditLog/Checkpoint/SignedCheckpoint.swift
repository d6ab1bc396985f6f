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
        let text = Array(checkpoint.text.utf8)
        let signature: [UInt8]
        do {
            signature = try sign(text)
        } catch {
            throw .signerFailed("\(error)")
        }
        guard key.verifies(signature, over: text) else { throw .signatureDoesNotVerify }
        let line = "\n\u{2014} \(key.name) \(Base64.text(key.keyIDBytes + signature))\n"
        self.checkpoint = checkpoint
        note = text + Array(line.utf8)
    }

    /// Reads a note and checks the key's signature on it; signatures by other keys are ignored
    /// (C2SP signed-note, "Signatures").
    ///
    /// - Throws: `CheckpointError` naming what is wrong.
    package init(parsing note: [UInt8], key: NoteVerifierKey) throws(CheckpointError) {
        guard note.count <= Self.bytesMax else { throw .noteTooLarge }
        let (text, signatures) = try Self.parts(of: note)
        guard signatures.count <= Self.signaturesMax else { throw .tooManySignatures }
        var isSigned = false
        for line in signatures {
            guard let (name, bytes) = Self.signature(line) else { throw .notANote }
            // Byte by byte: strings may be equal whose bytes are not.
            guard name.utf8.elementsEqual(key.name.utf8), bytes.starts(with: key.keyIDBytes)
            else { continue }
            guard key.verifies(Array(bytes.dropFirst(4)), over: Array(text.utf8)) else {
                throw .badSignature
            }
            isSigned = true
        }
        guard isSigned else { throw .notSignedByKey }
        let checkpoint = try Checkpoint(parsing: text)
        guard checkpoint.origin.utf8.elementsEqual(key.name.utf8) else {
            throw .originDiffers(checkpoint.origin)
        }
        self.checkpoint = checkpoint
        self.note = note
    }

    /// The text with its last newline, and the signature lines.
    private static func parts(
        of note: [UInt8]
    ) throws(CheckpointError) -> (text: String, signatures: [Substring]) {
        guard let whole = String(validating: note, as: UTF8.self),
            note.allSatisfy({ $0 >= 0x20 || $0 == 0x0A })
        else { throw .notANote }
        let lines = whole.split(separator: "\n", omittingEmptySubsequences: false)
        // The last empty line separates text and signatures; the note ends in a newline.
        guard lines.last?.isEmpty == true,
            let blank = lines.dropLast().lastIndex(where: \.isEmpty)
        else { throw .notANote }
        let signatures = lines[(blank + 1)...].dropLast()
        guard !signatures.isEmpty else { throw .notANote }
        return (lines[..<blank].joined(separator: "\n") + "\n", Array(signatures))
    }

    /// A line `— name base64(key ID || signature)`; nil if it is none.
    private static func signature(_ line: Substring) -> (name: Substring, bytes: [UInt8])? {
        let parts = line.split(separator: " ", omittingEmptySubsequences: false)
        guard parts.count == 3, parts[0] == "\u{2014}", !parts[1].isEmpty,
            let bytes = Base64.bytes(parts[2]), bytes.count > 4
        else { return nil }
        return (parts[1], bytes)
    }
}
