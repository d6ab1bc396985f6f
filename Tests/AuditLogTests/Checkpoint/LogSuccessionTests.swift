// SPDX-License-Identifier: Apache-2.0

import AuditLog
import Crypto
import Testing

/// That one log follows another, signed by the former one's key
/// (docs/decisions/0022-backup-and-restore.md).
@Suite struct LogSuccessionTests {
    private static let newName = "example.org/audit/one/0202"

    private static func newKey(_ name: String = newName) throws -> NoteVerifierKey {
        let signer = try Curve25519.Signing.PrivateKey(
            rawRepresentation: [UInt8](repeating: 7, count: 32)
        )
        return try NoteVerifierKey(
            name: name,
            publicKey: Array(signer.publicKey.rawRepresentation)
        )
    }

    private static func succession(_ log: TestLog) throws -> LogSuccession {
        try LogSuccession(of: log.checkpoint(3), by: log.key, to: newKey()) {
            Array(try log.signer.signature(for: $0))
        }
    }

    private static func signed(_ text: String, by log: TestLog) throws -> [UInt8] {
        let keyID = [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: log.key.keyID >> $0) }
        let signature = keyID + Array(try log.signer.signature(for: Array(text.utf8)))
        let line = "\n\u{2014} \(log.key.name) \(Mutation.base64(signature))\n"
        return Array((text + line).utf8)
    }

    @Test func `a succession names what ends, where, and what follows`() throws {
        let log = try TestLog(size: 3)
        let succession = try Self.succession(log)
        let lines = String(decoding: succession.note, as: UTF8.self).split(
            separator: "\n",
            omittingEmptySubsequences: false
        )
        #expect(lines.count == 8)
        #expect(lines[0] == "signet-log-succession/v1")
        #expect(lines[1] == "example.org/audit/one" && lines[2] == "3")
        #expect(lines[4] == "\(try Self.newKey())")
        #expect(lines[6].hasPrefix("\u{2014} example.org/audit/one "))
        let read = try LogSuccession(parsing: succession.note, key: log.key)
        #expect(read == succession)
        #expect(read.former == log.checkpoint(3))
    }

    @Test func `a changed bit anywhere is refused`() throws {
        let log = try TestLog(size: 3)
        let note = try Self.succession(log).note
        for position in note.indices {
            for bit in 0..<8 {
                var changed = note
                changed[position] ^= 1 << UInt8(bit)
                #expect(throws: CheckpointError.self, "\(position), \(bit)") {
                    _ = try LogSuccession(parsing: changed, key: log.key)
                }
            }
        }
    }

    @Test func `a checkpoint is no succession, and a succession no checkpoint`() throws {
        let log = try TestLog(size: 3)
        let checkpoint = try log.read("checkpoint")
        #expect(throws: CheckpointError.notANote) {
            _ = try LogSuccession(parsing: checkpoint, key: log.key)
        }
        let note = try Self.succession(log).note
        #expect(throws: CheckpointError.self) {
            _ = try SignedCheckpoint(parsing: note, key: log.key)
        }
    }

    @Test func `nobody but the former log's key ends it`() throws {
        let log = try TestLog(size: 3)
        let note = try Self.succession(log).note
        #expect(throws: CheckpointError.notSignedByKey) {
            _ = try LogSuccession(parsing: note, key: Self.newKey(log.key.name))
        }
    }

    @Test func `a signed text that is no succession is refused`() throws {
        let log = try TestLog(size: 3)
        let former = log.checkpoint(3).text
        let key = try Self.newKey()
        let texts = [
            "signet-log-succession/v2\n\(former)\(key)\n",
            "signet-log-succession/v1\n\(former)",
            "signet-log-succession/v1\n\(former)\(key)\nmore\n",
            "signet-log-succession/v1\n\(former)example.org/x\n",
            // A log does not follow itself.
            "signet-log-succession/v1\n\(former)\(try Self.newKey(log.key.name))\n",
            // Of another log's end it says nothing.
            "signet-log-succession/v1\n"
                + Checkpoint(origin: "example.org/audit/two", size: 0, root: .emptyRoot).text
                + "\(key)\n",
        ]
        for text in texts {
            let note = try Self.signed(text, by: log)
            #expect(throws: CheckpointError.self, "\(text)") {
                _ = try LogSuccession(parsing: note, key: log.key)
            }
        }
        let good = try Self.signed("signet-log-succession/v1\n\(former)\(key)\n", by: log)
        #expect(try LogSuccession(parsing: good, key: log.key) == Self.succession(log))
    }
}
