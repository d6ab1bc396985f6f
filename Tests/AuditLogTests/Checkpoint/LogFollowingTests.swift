// SPDX-License-Identifier: Apache-2.0

import AuditLog
import Crypto
import Testing

/// How a memory goes over to the log that a restore began
/// (docs/decisions/0022-backup-and-restore.md, "Agents").
@Suite struct LogFollowingTests {
    private let signer: Curve25519.Signing.PrivateKey
    private let newKey: NoteVerifierKey

    init() throws {
        signer = try Curve25519.Signing.PrivateKey(
            rawRepresentation: [UInt8](repeating: 7, count: 32)
        )
        newKey = try NoteVerifierKey(
            name: "example.org/audit/one/0202",
            publicKey: Array(signer.publicKey.rawRepresentation)
        )
    }

    private func succession(_ log: TestLog, at size: UInt64) throws -> [UInt8] {
        try LogSuccession(of: log.checkpoint(size), by: log.key, to: newKey) {
            Array(try log.signer.signature(for: $0))
        }.note
    }

    private func proof(_ log: TestLog, from old: UInt64, to new: UInt64) throws -> [MerkleHash] {
        var tree = TiledTree(size: new) { try log.read($0) }
        return try #require(try tree.proveConsistency(from: old)).path
    }

    private func memory(_ log: TestLog, at size: UInt64) throws -> CheckpointMemory {
        try CheckpointMemory(key: log.key, note: log.signed(log.checkpoint(size)).note)
    }

    @Test func `nothing is lost of what is proved to be in the log as it ended`() throws {
        let log = try TestLog(size: 9)
        let note = try succession(log, at: 9)
        for seen: UInt64 in [1, 4, 8, 9] {
            var memory = try memory(log, at: seen)
            let following = try #require(
                memory.follow(note, proof: try proof(log, from: seen, to: 9))
            )
            #expect(following.isProved, "\(seen)")
            #expect(following.last?.checkpoint.size == seen)
            #expect(memory.key == newKey && memory.latest == nil && memory.rememberedSize == 0)
        }
        var fresh = try CheckpointMemory(key: log.key, note: nil)
        #expect(fresh.follow(note, proof: nil)?.isProved == true)
    }

    @Test func `a shorter end, another one, and one without a proof are a loss`() throws {
        let log = try TestLog(size: 9)
        let other = try TestLog(leaves: TestLog.leaves(100..<109))
        var shorter = try memory(log, at: 9)
        let early = try succession(log, at: 5)
        let toEarly = try proof(log, from: 5, to: 9)
        #expect(shorter.follow(early, proof: toEarly)?.isProved == false)
        let note = try succession(log, at: 9)
        for path in [nil, [], [MerkleHash(leaf: [1])], try proof(other, from: 4, to: 9)] {
            var unproved = try memory(log, at: 4)
            #expect(unproved.follow(note, proof: path)?.isProved == false)
        }
        // Of one size with another root.
        var forked = try CheckpointMemory(
            key: log.key,
            note: log.signed(
                Checkpoint(origin: TestLog.origin, size: 9, root: other.checkpoint(9).root)
            ).note
        )
        #expect(forked.follow(note, proof: [])?.isProved == false)
    }

    @Test func `only the key of the log that is remembered leads on`() throws {
        let log = try TestLog(size: 3)
        let before = try memory(log, at: 3)
        var memory = before
        var changed = try succession(log, at: 3)
        changed[40] ^= 1
        #expect(memory.follow(changed, proof: []) == nil)
        #expect(memory.follow(try log.read("checkpoint"), proof: []) == nil)
        #expect(memory == before)
        let note = try succession(log, at: 3)
        #expect(memory.follow(note, proof: []) != nil)
        // The same again is of a log that is not remembered any more.
        #expect(memory.follow(note, proof: []) == nil)
        let first = Checkpoint(origin: newKey.name, size: 1, root: MerkleHash(leaf: [1]))
        let signed = try SignedCheckpoint(signing: first, key: newKey) {
            Array(try signer.signature(for: $0))
        }
        #expect(memory.received(note: signed.note, proof: nil) == .remember(note: signed.note))
        // The machine of before shows what it has: nothing is contradicted, and nothing counts.
        let former = try log.read("checkpoint")
        let following = memory
        #expect(memory.received(note: former, proof: nil) == .formerLog(log.key))
        #expect(memory == following && memory.formerKeys == [log.key])
        let restarted = try CheckpointMemory(key: newKey, note: nil, formerKeys: [log.key])
        var unknowing = try CheckpointMemory(key: newKey, note: nil)
        var knowing = restarted
        #expect(knowing.received(note: former, proof: nil) == .formerLog(log.key))
        #expect(
            unknowing.received(note: former, proof: nil) == .alarm(.unreadable(.notSignedByKey))
        )
    }
}
