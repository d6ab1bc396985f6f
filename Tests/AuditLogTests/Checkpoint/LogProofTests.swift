// SPDX-License-Identifier: Apache-2.0

import AuditLog
import TestSeeds
import Testing

@Suite struct LogProofTests {
    @Test func `a proof file is what C2SP tlog-proof describes and proves its record`() throws {
        let log = try TestLog(size: 5)
        let bytes = try proof(of: 2, in: log)
        let lines = String(decoding: bytes, as: UTF8.self).split(
            separator: "\n",
            omittingEmptySubsequences: false
        )
        #expect(lines[0] == "c2sp.org/tlog-proof@v1")
        #expect(lines[1] == "index 2")
        #expect(lines[2...4].allSatisfy { $0.utf8.count == 44 })
        #expect(lines[5] == "")
        #expect(lines[6] == "example.org/audit/one")
        let read = try LogProof(parsing: bytes, of: log.leaves[2], key: log.key)
        #expect(read.index == 2)
        #expect(read.encoded == bytes)
        #expect(read.checkpoint.checkpoint == log.checkpoint(5))
    }

    @Test func `a proof proves its own record only`() throws {
        let log = try TestLog(size: 5)
        let bytes = try proof(of: 2, in: log)
        for (index, leaf) in log.leaves.enumerated() where index != 2 {
            #expect(throws: LogProofError.recordNotProved) {
                try LogProof(parsing: bytes, of: leaf, key: log.key)
            }
        }
    }

    @Test func `a changed bit anywhere is refused`() throws {
        let log = try TestLog(size: 5)
        let bytes = try proof(of: 2, in: log)
        for position in bytes.indices {
            for bit in 0..<8 {
                var changed = bytes
                changed[position] ^= 1 << UInt8(bit)
                #expect(throws: LogProofError.self, "byte \(position) bit \(bit)") {
                    try LogProof(parsing: changed, of: log.leaves[2], key: log.key)
                }
            }
        }
    }

    @Test func `extra data is passed over`() throws {
        let log = try TestLog(size: 5)
        let text = String(decoding: try proof(of: 2, in: log), as: UTF8.self)
        let extra = text.replacing("v1\n", with: "v1\nextra AAAA\n")
        #expect(
            try LogProof(parsing: Array(extra.utf8), of: log.leaves[2], key: log.key).index == 2
        )
    }

    @Test(arguments: [1, 2, 3] as [UInt64])
    func `mangled proofs never trap and prove nothing else`(seed: UInt64) throws {
        var random = SeededGenerator(seed: seed)
        let log = try TestLog(size: 5)
        let bytes = try proof(of: 2, in: log)
        for _ in 0..<500 {
            let mangled = Mutation.of(bytes, using: &random)
            if let read = try? LogProof(parsing: mangled, of: log.leaves[2], key: log.key) {
                #expect(read.index == 2)
                #expect(read.checkpoint.checkpoint == log.checkpoint(5))
            }
        }
    }

    @Test func `a proof of another size than the checkpoint's is none`() throws {
        let log = try TestLog(size: 5)
        var tree = log.tree
        let inclusion = try #require(try tree.proveInclusion(of: 1))
        #expect(LogProof(inclusion, checkpoint: try log.signed(log.checkpoint(4))) == nil)
    }

    private func proof(of index: UInt64, in log: TestLog) throws -> [UInt8] {
        var tree = log.tree
        let inclusion = try #require(try tree.proveInclusion(of: index))
        let signed = try log.signed(log.checkpoint(UInt64(log.leaves.count)))
        return try #require(LogProof(inclusion, checkpoint: signed)).encoded
    }
}
