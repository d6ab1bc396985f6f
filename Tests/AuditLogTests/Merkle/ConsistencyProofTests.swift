// SPDX-License-Identifier: Apache-2.0

import AuditLog
import TestSeeds
import Testing

@Suite struct ConsistencyProofTests {
    /// RFC 6962 section 2.1.3 draws this tree of seven leaves and names its nodes.
    @Test func `the consistency proofs of RFC 6962 section 2_1_3 come out`() throws {
        let log = try TestLog(size: 7)
        let leaf = log.leaves.map { MerkleHash(leaf: $0) }
        let g = MerkleHash(left: leaf[0], right: leaf[1])
        let h = MerkleHash(left: leaf[2], right: leaf[3])
        let i = MerkleHash(left: leaf[4], right: leaf[5])
        let k = MerkleHash(left: g, right: h)
        let l = MerkleHash(left: i, right: leaf[6])
        var tree = log.tree
        #expect(try tree.proveConsistency(from: 3)?.path == [leaf[2], leaf[3], g, l])
        #expect(try tree.proveConsistency(from: 4)?.path == [l])
        #expect(try tree.proveConsistency(from: 6)?.path == [i, leaf[6], k])
        #expect(try tree.proveConsistency(from: 7)?.path == [])
        #expect(try tree.proveConsistency(from: 8) == nil)
    }

    @Test func `every pair of small trees is joined, and by its own roots only`() throws {
        var log = try TestLog()
        var roots = [MerkleHash.emptyRoot]
        for size in 1...40 {
            try log.append([Array("leaf \(size - 1)".utf8)])
            roots.append(log.frontier.root)
            let hashes = log.leaves.map { MerkleHash(leaf: $0) }
            var tree = log.tree
            for old in 0...size {
                let proof = try #require(try tree.proveConsistency(from: UInt64(old)))
                #expect(proof.path == RFC6962.proof(old, hashes[...]))
                #expect(proof.joins(oldRoot: roots[old], newRoot: roots[size]))
                for other in 0...size where other != old {
                    #expect(!proof.joins(oldRoot: roots[other], newRoot: roots[size]))
                }
                if old > 0 {
                    #expect(!proof.joins(oldRoot: roots[old], newRoot: roots[size - 1]))
                }
            }
        }
    }

    @Test(arguments: [1, 2, 3, 4] as [UInt64])
    func `a larger tree is proved from any size, and nothing altered is`(seed: UInt64) throws {
        var random = SeededGenerator(seed: seed)
        let size = Int.random(in: 257...1000, using: &random)
        let log = try TestLog(size: size)
        let hashes = log.leaves.map { MerkleHash(leaf: $0) }
        let root = log.frontier.root
        var tree = log.tree
        for _ in 0..<20 {
            let old = Int.random(in: 1..<size, using: &random)
            let oldRoot = RFC6962.root(hashes.prefix(old))
            let proof = try #require(try tree.proveConsistency(from: UInt64(old)))
            #expect(proof.path == RFC6962.proof(old, hashes[...]))
            #expect(proof.joins(oldRoot: oldRoot, newRoot: root))

            for position in proof.path.indices {
                var path = proof.path
                path.remove(at: position)
                #expect(!altered(proof, path).joins(oldRoot: oldRoot, newRoot: root))
                path = proof.path
                path[position] = MerkleHash(leaf: [9])
                #expect(!altered(proof, path).joins(oldRoot: oldRoot, newRoot: root))
            }
            let longer = altered(proof, proof.path + [oldRoot])
            #expect(!longer.joins(oldRoot: oldRoot, newRoot: root))
        }
    }

    @Test func `a proof that goes backwards joins nothing`() {
        let hash = MerkleHash(leaf: [])
        for (old, new) in [(2, 1), (UInt64.max, 0)] as [(UInt64, UInt64)] {
            let proof = ConsistencyProof(oldSize: old, newSize: new, path: [hash])
            #expect(!proof.joins(oldRoot: hash, newRoot: hash))
        }
        let equal = ConsistencyProof(oldSize: 3, newSize: 3, path: [hash])
        #expect(!equal.joins(oldRoot: hash, newRoot: hash))
        let noProof = ConsistencyProof(oldSize: 3, newSize: 4, path: [])
        #expect(!noProof.joins(oldRoot: hash, newRoot: hash))
    }

    private func altered(_ proof: ConsistencyProof, _ path: [MerkleHash]) -> ConsistencyProof {
        ConsistencyProof(oldSize: proof.oldSize, newSize: proof.newSize, path: path)
    }
}
