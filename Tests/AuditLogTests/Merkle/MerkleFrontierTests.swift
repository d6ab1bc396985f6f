// SPDX-License-Identifier: Apache-2.0

import AuditLog
import Testing

@Suite struct MerkleFrontierTests {
    /// The leaves and roots that implementations of RFC 6962 share as their test vectors.
    static let vectors: [(leaf: [UInt8], root: String)] = [
        ([], "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"),
        ([0x00], "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"),
        ([0x10], "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77"),
        ([0x20, 0x21], "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7"),
        ([0x30, 0x31], "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4"),
        (
            [0x40, 0x41, 0x42, 0x43],
            "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef"
        ),
        (
            [UInt8](0x50...0x57),
            "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c"
        ),
        (
            [UInt8](0x60...0x6F),
            "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"
        ),
    ]

    @Test func `roots are those of the RFC 6962 vectors`() {
        var frontier = MerkleFrontier()
        #expect(
            frontier.root.description
                == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        )
        for (leaf, root) in Self.vectors {
            frontier.append(MerkleHash(leaf: leaf))
            #expect(frontier.root.description == root)
        }
        #expect(frontier.size == 8)
    }

    @Test func `the frontier of every size has the root of the definition`() {
        var frontier = MerkleFrontier()
        var hashes: [MerkleHash] = []
        for leaf in TestLog.leaves(0..<300) {
            hashes.append(MerkleHash(leaf: leaf))
            frontier.append(MerkleHash(leaf: leaf))
            #expect(frontier.root == RFC6962.root(hashes[...]))
            #expect(frontier.peaks.count == frontier.size.nonzeroBitCount)
        }
    }

    @Test(arguments: [0, 1, 2, 3, 255, 256, 257])
    func `a stored frontier goes on where it was`(size: Int) throws {
        var frontier = MerkleFrontier()
        for leaf in TestLog.leaves(0..<size) { frontier.append(MerkleHash(leaf: leaf)) }
        let restored = try #require(MerkleFrontier(encoded: frontier.encoded))
        #expect(restored == frontier)
        #expect(restored.root == frontier.root)
    }

    @Test func `bytes that are no frontier are refused`() throws {
        var frontier = MerkleFrontier()
        for leaf in TestLog.leaves(0..<5) { frontier.append(MerkleHash(leaf: leaf)) }
        let bytes = frontier.encoded
        #expect(bytes.count == 8 + 2 * 32)
        for count in 0..<bytes.count {
            #expect(MerkleFrontier(encoded: Array(bytes.prefix(count))) == nil)
        }
        #expect(MerkleFrontier(encoded: bytes + [0]) == nil)
        let hash = MerkleHash(leaf: [])
        #expect(MerkleFrontier(size: 3, peaks: [hash]) == nil)
        #expect(MerkleFrontier(size: MerkleFrontier.sizeMax + 1, peaks: [hash, hash]) == nil)
        #expect(MerkleFrontier(size: MerkleFrontier.sizeMax, peaks: [hash]) != nil)
    }

    @Test func `a full tree takes no leaf`() async {
        await #expect(processExitsWith: .failure) {
            let hash = MerkleHash(leaf: [])
            var frontier = MerkleFrontier(size: MerkleFrontier.sizeMax, peaks: [hash])
            frontier?.append(hash)
        }
    }

    @Test func `a hash has 32 bytes`() {
        #expect(MerkleHash([UInt8](repeating: 1, count: 31)) == nil)
        #expect(MerkleHash([UInt8](repeating: 1, count: 33)) == nil)
        let bytes = [UInt8](0..<32)
        #expect(MerkleHash(bytes)?.bytes == bytes)
    }
}
