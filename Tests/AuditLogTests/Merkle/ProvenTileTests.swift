// SPDX-License-Identifier: Apache-2.0

import AuditLog
import Testing

@Suite struct ProvenTileTests {
    @Test(arguments: [1, 2, 255, 256, 257, 300, 511, 512, 600, 768, 1000])
    func `every tile of leaves is proven, and none beyond the tree`(size: Int) throws {
        let log = try TestLog(size: size)
        let hashes = log.leaves.map { MerkleHash(leaf: $0) }
        var tree = log.tree
        var found: [MerkleHash] = []
        for index in 0..<(UInt64(size) + 255) / 256 {
            let leaves = try tree.provenLeaves(ofTile: index, under: log.frontier.root)
            found += try #require(leaves)
        }
        #expect(found == hashes)
        for index in [(UInt64(size) + 255) / 256, UInt64.max] {
            #expect(try tree.provenLeaves(ofTile: index, under: log.frontier.root) == nil)
        }
    }

    @Test(arguments: [300, 700])
    func `no hash of a tile can be another`(size: Int) throws {
        let log = try TestLog(size: size)
        let path = TilePath(.hashes(level: 0), index: 1, width: min(size - 256, 256)).description
        let tile = try #require(log.files[path])
        for place in stride(from: 0, to: tile.count, by: MerkleHash.byteCount) {
            var changed = log
            changed.files[path]?[place] ^= 1
            var tree = changed.tree
            #expect(try tree.provenLeaves(ofTile: 1, under: log.frontier.root) == nil)
        }
        var changed = log
        changed.files[path] = nil
        var tree = changed.tree
        #expect(throws: TileError.self) {
            try tree.provenLeaves(ofTile: 1, under: log.frontier.root)
        }
    }
}
