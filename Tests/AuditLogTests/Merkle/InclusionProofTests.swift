// SPDX-License-Identifier: Apache-2.0

import AuditLog
import TestSeeds
import Testing

@Suite struct InclusionProofTests {
    /// RFC 6962 section 2.1.3 draws this tree of seven leaves and names its nodes.
    @Test func `the audit paths of RFC 6962 section 2_1_3 come out`() throws {
        let log = try TestLog(size: 7)
        let leaf = log.leaves.map { MerkleHash(leaf: $0) }
        let g = MerkleHash(left: leaf[0], right: leaf[1])
        let h = MerkleHash(left: leaf[2], right: leaf[3])
        let i = MerkleHash(left: leaf[4], right: leaf[5])
        let k = MerkleHash(left: g, right: h)
        let l = MerkleHash(left: i, right: leaf[6])
        var tree = log.tree
        #expect(try tree.proveInclusion(of: 0)?.path == [leaf[1], h, l])
        #expect(try tree.proveInclusion(of: 3)?.path == [leaf[2], g, l])
        #expect(try tree.proveInclusion(of: 4)?.path == [leaf[5], leaf[6], k])
        #expect(try tree.proveInclusion(of: 6)?.path == [i, k])
        #expect(try tree.proveInclusion(of: 7) == nil)
    }

    @Test func `every leaf of every small tree is proved, and only at its place`() throws {
        var log = try TestLog()
        for size in 1...40 {
            try log.append([Array("leaf \(size - 1)".utf8)])
            let hashes = log.leaves.map { MerkleHash(leaf: $0) }
            var tree = log.tree
            for index in 0..<size {
                let proof = try #require(try tree.proveInclusion(of: UInt64(index)))
                #expect(proof.path == RFC6962.path(index, hashes[...]))
                #expect(proof.leads(from: hashes[index], to: log.frontier.root))
                for other in 0..<size where other != index {
                    #expect(!proof.leads(from: hashes[other], to: log.frontier.root))
                    let moved = InclusionProof(
                        index: UInt64(other),
                        size: UInt64(size),
                        path: proof.path
                    )
                    #expect(!moved.leads(from: hashes[index], to: log.frontier.root))
                }
            }
        }
    }

    @Test(arguments: [1, 2, 3, 4] as [UInt64])
    func `a leaf of a larger tree is proved, and nothing altered is`(seed: UInt64) throws {
        var random = SeededGenerator(seed: seed)
        let size = Int.random(in: 257...1000, using: &random)
        let log = try TestLog(size: size)
        let hashes = log.leaves.map { MerkleHash(leaf: $0) }
        let root = log.frontier.root
        var tree = log.tree
        for _ in 0..<20 {
            let index = Int.random(in: 0..<size, using: &random)
            let proof = try #require(try tree.proveInclusion(of: UInt64(index)))
            #expect(proof.path == RFC6962.path(index, hashes[...]))
            #expect(proof.leads(from: hashes[index], to: root))

            var path = proof.path
            path.remove(at: Int.random(in: 0..<path.count, using: &random))
            #expect(!altered(proof, path).leads(from: hashes[index], to: root))
            path = proof.path + [hashes[0]]
            #expect(!altered(proof, path).leads(from: hashes[index], to: root))
            path = proof.path
            path[Int.random(in: 0..<path.count, using: &random)] = MerkleHash(leaf: [9])
            #expect(!altered(proof, path).leads(from: hashes[index], to: root))
        }
    }

    @Test func `a proof for a place beyond the tree leads nowhere`() {
        let hash = MerkleHash(leaf: [])
        for (index, size) in [(0, 0), (1, 1), (5, 3), (UInt64.max, UInt64.max)] as [(_, _)] {
            let proof = InclusionProof(index: index, size: size, path: [])
            #expect(!proof.leads(from: hash, to: hash))
        }
        let last = InclusionProof(index: UInt64.max - 1, size: UInt64.max, path: [hash, hash])
        #expect(!last.leads(from: hash, to: hash))
    }

    private func altered(_ proof: InclusionProof, _ path: [MerkleHash]) -> InclusionProof {
        InclusionProof(index: proof.index, size: proof.size, path: path)
    }
}
