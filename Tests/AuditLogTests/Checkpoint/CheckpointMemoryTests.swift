// SPDX-License-Identifier: Apache-2.0

import AuditLog
import TestSeeds
import Testing

@Suite struct CheckpointMemoryTests {
    @Test func `the first checkpoint is remembered, the next ones with a proof`() throws {
        var log = try TestLog(size: 3)
        var memory = try CheckpointMemory(key: log.key, note: nil)
        #expect(memory.rememberedSize == 0)
        let first = try log.read("checkpoint")
        #expect(memory.received(note: first, path: [], have: 0) == .remember(note: first))
        #expect(memory.rememberedSize == 3)
        #expect(memory.received(note: first, path: [], have: 3) == .unchanged)

        let (second, proof) = try grown(&log, by: 7)
        #expect(memory.received(note: second, path: proof, have: 3) == .remember(note: second))
        #expect(memory.rememberedSize == 10)
    }

    @Test func `an empty log is remembered and may grow`() throws {
        var log = try TestLog(size: 0)
        var memory = try CheckpointMemory(key: log.key, note: try log.read("checkpoint"))
        #expect(memory.rememberedSize == 0)
        let (note, proof) = try grown(&log, by: 2)
        #expect(proof.isEmpty)
        #expect(memory.received(note: note, path: proof, have: 0) == .remember(note: note))
    }

    @Test func `a memory survives a restart`() throws {
        var log = try TestLog(size: 3)
        let note = try log.read("checkpoint")
        var memory = try CheckpointMemory(key: log.key, note: note)
        #expect(memory.rememberedSize == 3)
        #expect(memory.received(note: note, path: [], have: 3) == .unchanged)
        let (next, proof) = try grown(&log, by: 1)
        #expect(memory.received(note: next, path: proof, have: 3) == .remember(note: next))
    }

    @Test func `a damaged memory is refused`() throws {
        let log = try TestLog(size: 3)
        var note = try log.read("checkpoint")
        note[22] ^= 1
        #expect(throws: CheckpointError.self) { try CheckpointMemory(key: log.key, note: note) }
    }

    @Test func `another history of the same size is an alarm`() throws {
        let (log, other) = try histories(size: 5, otherSize: 5)
        var memory = try CheckpointMemory(key: log.key, note: try log.read("checkpoint"))
        let note = try other.read("checkpoint")
        for have in [0, 3, 5] as [UInt64] {
            let action = memory.received(note: note, path: [], have: have)
            #expect(action == .alarm(.forked(size: 5)))
        }
        #expect(memory.latest?.checkpoint == log.checkpoint(5))
    }

    @Test func `another and longer history is an alarm`() throws {
        let (log, other) = try histories(size: 5, otherSize: 9)
        var memory = try CheckpointMemory(key: log.key, note: try log.read("checkpoint"))
        var tree = other.tree
        let proof = try #require(try tree.proveConsistency(from: 5)).path
        let note = try other.read("checkpoint")
        #expect(
            memory.received(note: note, path: proof, have: 5)
                == .alarm(.inconsistent(remembered: 5, received: 9))
        )
        #expect(memory.rememberedSize == 5)
    }

    @Test func `a shorter log is an alarm`() throws {
        let log = try TestLog(size: 5)
        var memory = try CheckpointMemory(key: log.key, note: try log.read("checkpoint"))
        let note = try log.signed(log.checkpoint(4)).note
        #expect(
            memory.received(note: note, path: [], have: 5)
                == .alarm(.shrunk(remembered: 5, received: 4))
        )
        #expect(memory.rememberedSize == 5)
    }

    @Test func `an answer overtaken by a newer one is no alarm`() throws {
        var log = try TestLog(size: 5)
        var memory = try CheckpointMemory(key: log.key, note: try log.read("checkpoint"))
        let (slow, slowProof) = try grown(&log, by: 2)
        var tree = try TestLog(size: 9).tree
        let proof = try #require(try tree.proveConsistency(from: 5)).path
        try log.append(TestLog.leaves(7..<9))
        try log.publish()
        let fast = try log.read("checkpoint")
        #expect(memory.received(note: fast, path: proof, have: 5) == .remember(note: fast))
        #expect(memory.received(note: slow, path: slowProof, have: 5) == .askForProof(from: 9))
        #expect(memory.rememberedSize == 9)
    }

    @Test func `a server that never proves is an alarm`() throws {
        var log = try TestLog(size: 5)
        var memory = try CheckpointMemory(key: log.key, note: try log.read("checkpoint"))
        let (note, proof) = try grown(&log, by: 4)
        #expect(memory.received(note: note, path: [], have: 5) == .askForProof(from: 5))
        #expect(memory.received(note: note, path: [], have: 5) == .askForProof(from: 5))
        for _ in 0..<2 {
            #expect(
                memory.received(note: note, path: [], have: 5)
                    == .alarm(.unproven(remembered: 5, received: 9))
            )
        }
        #expect(memory.received(note: note, path: proof, have: 5) == .remember(note: note))
        let (next, _) = try grown(&log, by: 1)
        #expect(memory.received(note: next, path: [], have: 9) == .askForProof(from: 9))
    }

    @Test func `no proof at all is asked for, then an alarm, and a wrong size as well`() throws {
        var log = try TestLog(size: 5)
        let memory = try CheckpointMemory(key: log.key, note: try log.read("checkpoint"))
        let (note, path) = try grown(&log, by: 4)
        let wrong = ConsistencyProof(oldSize: 5, newSize: 8, path: path)
        for proof in [nil, wrong] {
            var memory = memory
            #expect(memory.received(note: note, proof: proof) == .askForProof(from: 5))
            #expect(memory.received(note: note, proof: proof) == .askForProof(from: 5))
            #expect(
                memory.received(note: note, proof: proof)
                    == .alarm(.unproven(remembered: 5, received: 9))
            )
        }
        let shorter = try log.signed(log.checkpoint(4)).note
        var shrunk = memory
        #expect(
            shrunk.received(note: shorter, proof: nil)
                == .alarm(.shrunk(remembered: 5, received: 4))
        )
    }

    @Test func `what the key did not sign is an alarm and nothing more`() throws {
        let log = try TestLog(size: 5)
        var memory = try CheckpointMemory(key: log.key, note: try log.read("checkpoint"))
        let action = memory.received(note: [1, 2], path: [], have: 5)
        #expect(action == .alarm(.unreadable(.notANote)))
        #expect(memory.rememberedSize == 5)
    }

    /// Whatever a server sends, the memory only ever moves to logs that contain what it knew.
    @Test(arguments: [1, 2, 3, 4, 5] as [UInt64])
    func `a memory never moves to another history`(seed: UInt64) throws {
        var random = SeededGenerator(seed: seed)
        let honest = try TestLog(size: 60)
        let fork = Int.random(in: 0..<60, using: &random)
        let forged = try TestLog(
            leaves: TestLog.leaves(0..<fork) + TestLog.leaves(1000..<1060 - fork)
        )
        var memory = try CheckpointMemory(key: honest.key, note: nil)
        var history: [[UInt8]] = []
        var moves = 0
        for _ in 0..<100 {
            let log = Bool.random(using: &random) ? forged : honest
            let size = Int.random(in: 1...60, using: &random)
            let leaves = Array(log.leaves.prefix(size))
            var tree = try TestLog(leaves: leaves).tree
            let have = memory.rememberedSize
            let proof = try tree.proveConsistency(from: have)?.path ?? []
            let note = try log.signed(log.checkpoint(UInt64(size))).note
            let before = memory
            switch memory.received(note: note, path: proof, have: have) {
            case .remember:
                #expect(leaves.starts(with: history))
                history = leaves
                moves += 1
            case .unchanged: #expect(leaves == history)
            default: #expect(memory.latest == before.latest)
            }
        }
        #expect(moves > 0)
    }

    private func grown(
        _ log: inout TestLog,
        by count: Int
    ) throws -> (note: [UInt8], proof: [MerkleHash]) {
        let size = log.leaves.count
        try log.append(TestLog.leaves(size..<size + count))
        try log.publish()
        var tree = log.tree
        let proof = try #require(try tree.proveConsistency(from: UInt64(size)))
        return (try log.read("checkpoint"), proof.path)
    }

    private func histories(size: Int, otherSize: Int) throws -> (TestLog, TestLog) {
        let other = try TestLog(leaves: [Array("other".utf8)] + TestLog.leaves(1..<otherSize))
        return (try TestLog(size: size), other)
    }
}

extension CheckpointMemory {
    /// As an agent does: the proof it builds names the size it sent and the size it got.
    fileprivate mutating func received(
        note: [UInt8],
        path: [MerkleHash],
        have: UInt64
    ) -> Action {
        let size = (try? SignedCheckpoint(parsing: note, key: key))?.checkpoint.size ?? 0
        let proof = ConsistencyProof(oldSize: have, newSize: size, path: path)
        return received(note: note, proof: proof)
    }
}
