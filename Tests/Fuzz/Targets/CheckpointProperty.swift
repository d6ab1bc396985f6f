// SPDX-License-Identifier: Apache-2.0

internal import AuditLog
internal import FoundationEssentials

/// A checkpoint, a key and a proof have one text each, and only what the log signed is taken.
enum CheckpointProperty {
    /// The leaf that the proofs of the kept inputs are about.
    private static let leaf = Array("leaf".utf8)

    static func check(_ input: [UInt8]) throws(PropertyBroken) -> Bool {
        guard let log = SampleLog.shared else { throw PropertyBroken("no sample log") }
        if let text = String(validating: input, as: UTF8.self),
            let key = try? NoteVerifierKey(parsing: text)
        {
            try expect(Array(key.description.utf8) == input, "the key \(text) became \(key)")
            return true
        }
        if let signed = try? SignedCheckpoint(parsing: input, key: log.key) {
            try expect(signed.note == input, "the note changed")
            let text = Array(signed.checkpoint.text.utf8)
            try expect(input.starts(with: text), "the note does not start with what was read")
            return true
        }
        if let proof = try? LogProof(parsing: input, of: leaf, key: log.key) {
            let again = try? LogProof(parsing: proof.encoded, of: leaf, key: log.key)
            try expect(again == proof, "the proof does not read as itself")
            let other = try? LogProof(parsing: input, of: leaf + [0], key: log.key)
            try expect(other == nil, "the proof is of two records")
            return true
        }
        return try checkSigned(input, by: log)
    }

    /// Behind the signature: the input as a text that the log has signed.
    private static func checkSigned(
        _ text: [UInt8],
        by log: SampleLog
    ) throws(PropertyBroken) -> Bool {
        // Anything else needs no signature to be refused.
        let beginnings = [log.key.name, "signet-log-succession/v1\n"]
        guard beginnings.contains(where: { text.starts(with: $0.utf8) }),
            text.last == UInt8(ascii: "\n")
        else { return false }
        let signature = try expectSuccess("sign") { try log.signature(for: text) }
        let keyID = [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: log.key.keyID >> $0) }
        let encoded = Data(keyID + signature).base64EncodedString()
        let note = text + Array("\n\u{2014} \(log.key.name) \(encoded)\n".utf8)
        if let succession = try? LogSuccession(parsing: note, key: log.key) {
            try expect(
                (try? SignedCheckpoint(parsing: note, key: log.key)) == nil,
                "a note is a succession and a checkpoint"
            )
            let again = try? LogSuccession(
                of: succession.former,
                by: log.key,
                to: succession.newKey
            ) {
                try log.signature(for: $0)
            }
            try expect(again == succession, "the log would sign another note for a succession")
            return true
        }
        guard let signed = try? SignedCheckpoint(parsing: note, key: log.key) else {
            return false
        }
        try expect(
            Array(signed.checkpoint.text.utf8) == text,
            "a signed text that is not the text of its checkpoint"
        )
        let again = try? SignedCheckpoint(signing: signed.checkpoint, key: log.key) {
            try log.signature(for: $0)
        }
        try expect(again == signed, "the log would sign another note for the same checkpoint")
        return true
    }
}
