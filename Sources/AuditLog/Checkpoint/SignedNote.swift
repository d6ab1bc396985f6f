// SPDX-License-Identifier: Apache-2.0

/// A text with signatures below it (C2SP signed-note).
enum SignedNote {
    /// Signs a text, which ends in a newline.
    ///
    /// - Parameters:
    ///   - text: What to sign.
    ///   - key: The public half of the signer's key; the signature is checked against it.
    ///   - sign: Returns the 64-byte Ed25519 signature over the bytes given.
    /// - Returns: The note.
    /// - Throws: `CheckpointSigningError`.
    static func make(
        _ text: String,
        key: NoteVerifierKey,
        sign: ([UInt8]) throws -> [UInt8]
    ) throws(CheckpointSigningError) -> [UInt8] {
        let text = Array(text.utf8)
        let signature: [UInt8]
        do {
            signature = try sign(text)
        } catch {
            throw .signerFailed("\(error)")
        }
        guard key.verifies(signature, over: text) else { throw .signatureDoesNotVerify }
        let line = "\n\u{2014} \(key.name) \(Base64.text(key.keyIDBytes + signature))\n"
        return text + Array(line.utf8)
    }

    /// The text of a note that the key has signed; signatures by other keys are ignored
    /// (C2SP signed-note, "Signatures").
    ///
    /// - Throws: `CheckpointError` naming what is wrong.
    static func text(
        of note: [UInt8],
        signedBy key: NoteVerifierKey
    ) throws(CheckpointError) -> String {
        guard note.count <= SignedCheckpoint.bytesMax else { throw .noteTooLarge }
        let (text, signatures) = try parts(of: note)
        guard signatures.count <= SignedCheckpoint.signaturesMax else {
            throw .tooManySignatures
        }
        var isSigned = false
        for line in signatures {
            guard let (name, bytes) = signature(line) else { throw .notANote }
            // Byte by byte: strings may be equal whose bytes are not.
            guard name.utf8.elementsEqual(key.name.utf8), bytes.starts(with: key.keyIDBytes)
            else { continue }
            guard key.verifies(Array(bytes.dropFirst(4)), over: Array(text.utf8)) else {
                throw .badSignature
            }
            isSigned = true
        }
        guard isSigned else { throw .notSignedByKey }
        return text
    }

    /// The text of a note, whoever has signed it.
    ///
    /// - Throws: `CheckpointError` naming what is wrong.
    static func unverifiedText(of note: [UInt8]) throws(CheckpointError) -> String {
        guard note.count <= SignedCheckpoint.bytesMax else { throw .noteTooLarge }
        return try parts(of: note).text
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
