// SPDX-License-Identifier: Apache-2.0

import AuditLog
import Crypto
import TestSeeds
import Testing

@Suite struct SignedCheckpointTests {
    static let goSum = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8"
    static let goSumNote = """
        go.sum database tree
        6476701
        mb8QLQIs0Z0yP5Cstq6guj87oXWeC9gEM8oVikmm9Wk=

        \u{2014} sum.golang.org \
        Az3grsLX85Gz+s1SiTbgkuqxgItqFq7gsMUEyVnrsa9LM7Us9S+1xbFIGu95949rj4nPRYfvimWEPWL+o3GeoWwOoAw=

        """

    @Test func `a checkpoint is the text that C2SP tlog-checkpoint describes`() throws {
        let log = try TestLog(size: 3)
        let signed = try log.signed(log.checkpoint(3))
        let lines = String(decoding: signed.note, as: UTF8.self).split(
            separator: "\n",
            omittingEmptySubsequences: false
        )
        #expect(lines.count == 6)
        #expect(lines[0] == "example.org/audit/one")
        #expect(lines[1] == "3")
        #expect(lines[2].utf8.count == 44)
        #expect(lines[3] == "")
        #expect(lines[4].hasPrefix("\u{2014} example.org/audit/one "))
        #expect(lines[5] == "")
        #expect(try SignedCheckpoint(parsing: signed.note, key: log.key) == signed)
    }

    /// Their signature is checked before their texts are found to be no checkpoint of ours.
    @Test func `notes signed by others verify`() throws {
        let goSum = try NoteVerifierKey(parsing: Self.goSum)
        #expect(error(Self.goSumNote, goSum) == .originDiffers("go.sum database tree"))
        let changed = Self.goSumNote.replacing("6476701", with: "6476702")
        #expect(error(changed, goSum) == .badSignature)

        let peter = try NoteVerifierKey(parsing: NoteVerifierKeyTests.published[0])
        let text = """
            If you think cryptography is the answer to your problem,
            then you don't know what your problem is.

            \u{2014} PeterNeumann \
            x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=

            """
        #expect(error(text, peter) == .notANote)
        #expect(error(text.replacing("If", with: "if"), peter) == .badSignature)
    }

    @Test func `a changed bit anywhere is refused`() throws {
        let log = try TestLog(size: 3)
        let note = try log.read("checkpoint")
        for position in note.indices {
            for bit in 0..<8 {
                var changed = note
                changed[position] ^= 1 << UInt8(bit)
                #expect(throws: CheckpointError.self, "byte \(position) bit \(bit)") {
                    try SignedCheckpoint(parsing: changed, key: log.key)
                }
            }
            #expect(throws: CheckpointError.self) {
                try SignedCheckpoint(parsing: Array(note[..<position]), key: log.key)
            }
        }
    }

    @Test func `signatures of others beside ours are passed over, up to a number`() throws {
        let log = try TestLog(size: 3)
        let note = String(decoding: try log.read("checkpoint"), as: UTF8.self)
        let other = "\u{2014} witness.example AAAAAAAA\n"
        #expect(error(note + other, log.key) == nil)
        #expect(error(note + String(repeating: other, count: 15), log.key) == nil)
        #expect(error(note + String(repeating: other, count: 16), log.key) == .tooManySignatures)
        #expect(error(note + "witness\n", log.key) == .notANote)
        #expect(error(note + "\u{2014} witness.example AAAAAA==\n", log.key) == .notANote)
        #expect(error(note + "\u{2014} witness.example AAAAAAAB=\n", log.key) == .notANote)
    }

    /// Each text is signed for real, so that only the text itself can be what is refused.
    @Test(arguments: [
        ("example.org/audit/one\n1\n", CheckpointError.notANote),
        ("example.org/audit/one\n01\n%\n", .sizeMalformed),
        ("example.org/audit/one\n+1\n%\n", .sizeMalformed),
        ("example.org/audit/one\n-1\n%\n", .sizeMalformed),
        ("example.org/audit/one\n\n%\n", .sizeMalformed),
        ("example.org/audit/one\n99999999999999999999\n%\n", .sizeMalformed),
        ("example.org/audit/one\n72057594037927937\n%\n", .sizeMalformed),
        ("example.org/audit/one\n1\nAAAA\n", .rootMalformed),
        ("example.org/audit/one\n0\n%\n", .rootMalformed),
        ("example.org/audit/one\n1\n%\nextension\n", .notANote),
        ("example.org/audit/two\n1\n%\n", .originDiffers("example.org/audit/two")),
        ("\n1\n%\n", .notANote),
    ])
    func `a signed text that is no checkpoint is refused`(
        text: String,
        expected: CheckpointError
    ) throws {
        let log = try TestLog(size: 1)
        let root = String(log.checkpoint(1).text.split(separator: "\n")[2])
        let body = text.replacing("%", with: root)
        let sample = String(decoding: try log.read("checkpoint"), as: UTF8.self)
        #expect(error(sample, log.key) == nil)
        #expect(error(try signedNote(body, log), log.key) == expected)
    }

    @Test(arguments: [0, 1, 63, 65, 128])
    func `a signature of another length is refused`(length: Int) throws {
        let log = try TestLog(size: 1)
        let keyID = [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: log.key.keyID >> $0) }
        let signature = Mutation.base64(keyID + [UInt8](repeating: 1, count: length))
        let note = log.checkpoint(1).text + "\n\u{2014} \(log.key.name) \(signature)\n"
        #expect(error(note, log.key) == (length == 0 ? .notANote : .badSignature))
    }

    @Test func `a signer's failure, a wrong key and a wrong name leave nothing signed`() throws {
        struct Broken: Error {}
        let log = try TestLog(size: 1)
        let checkpoint = log.checkpoint(1)
        #expect(throws: CheckpointSigningError.signerFailed("Broken()")) {
            try SignedCheckpoint(signing: checkpoint, key: log.key) { _ in throw Broken() }
        }
        #expect(throws: CheckpointSigningError.signatureDoesNotVerify) {
            try SignedCheckpoint(signing: checkpoint, key: log.key) { _ in
                [UInt8](repeating: 0, count: 64)
            }
        }
        let other = Checkpoint(origin: "example.org/audit/two", size: 1, root: checkpoint.root)
        #expect(throws: CheckpointSigningError.originDiffers) { try log.signed(other) }
    }

    @Test(arguments: [1, 2, 3] as [UInt64])
    func `random bytes and mangled notes never trap`(seed: UInt64) throws {
        var random = SeededGenerator(seed: seed)
        let log = try TestLog(size: 1)
        let note = try log.read("checkpoint")
        for _ in 0..<500 {
            let mangled = Mutation.of(note, using: &random)
            guard mangled != note else { continue }
            // Only appending a line that reads as another's signature could leave a note valid.
            if let read = try? SignedCheckpoint(parsing: mangled, key: log.key) {
                #expect(read.checkpoint == log.checkpoint(1))
            }
        }
    }

    @Test func `a note has a limit`() throws {
        let log = try TestLog(size: 1)
        let note = [UInt8](repeating: 0x41, count: SignedCheckpoint.bytesMax + 1)
        #expect(throws: CheckpointError.noteTooLarge) {
            try SignedCheckpoint(parsing: note, key: log.key)
        }
    }

    private func signedNote(_ text: String, _ log: TestLog) throws -> String {
        let keyID = [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: log.key.keyID >> $0) }
        let signature = keyID + Array(try log.signer.signature(for: Array(text.utf8)))
        return text + "\n\u{2014} \(log.key.name) \(Mutation.base64(signature))\n"
    }

    private func error(_ note: String, _ key: NoteVerifierKey) -> CheckpointError? {
        do throws(CheckpointError) {
            _ = try SignedCheckpoint(parsing: Array(note.utf8), key: key)
            return nil
        } catch {
            return error
        }
    }
}
