// SPDX-License-Identifier: Apache-2.0

/// Shows that the leaf at `index` is in the tree of `size` leaves (RFC 6962 section 2.1.1).
package struct InclusionProof: Hashable, Sendable {
    package let index: UInt64
    package let size: UInt64
    /// From the leaf's sibling up to the child of the root.
    package let path: [MerkleHash]

    package init(index: UInt64, size: UInt64, path: [MerkleHash]) {
        self.index = index
        self.size = size
        self.path = path
    }

    /// Whether the proof leads from the leaf's hash to the root (RFC 9162 section 2.1.3.2).
    package func leads(from leaf: MerkleHash, to root: MerkleHash) -> Bool {
        guard index < size else { return false }
        var node = index
        var last = size - 1
        var hash = leaf
        for sibling in path {
            guard last > 0 else { return false }
            if node & 1 == 1 || node == last {
                hash = MerkleHash(left: sibling, right: hash)
                while node & 1 == 0, node > 0 {
                    node >>= 1
                    last >>= 1
                }
            } else {
                hash = MerkleHash(left: hash, right: sibling)
            }
            node >>= 1
            last >>= 1
        }
        return last == 0 && hash == root
    }
}

extension TiledTree {
    /// Proves that the leaf at `index` is in this tree.
    ///
    /// - Returns: Nil if the tree has no such leaf.
    /// - Throws: `TileError` for a tile that is missing or has the wrong length.
    package mutating func proveInclusion(
        of index: UInt64
    ) throws(TileError) -> InclusionProof? {
        guard index < size else { return nil }
        var path: [MerkleHash] = []
        var leaves = 0..<size
        // RFC 6962 splits from the root down; the path is written from the leaf up.
        while leaves.count > 1 {
            let (left, right) = leaves.splitByRFC6962()
            let holdsLeaf = left.contains(index) ? left : right
            try path.append(root(of: holdsLeaf == left ? right : left))
            leaves = holdsLeaf
        }
        return InclusionProof(index: index, size: size, path: path.reversed())
    }
}

extension Range<UInt64> {
    /// Splits after the largest power of two smaller than the length (RFC 6962 section 2.1);
    /// the range holds at least two leaves.
    func splitByRFC6962() -> (left: Self, right: Self) {
        let length = upperBound - lowerBound
        let middle = lowerBound + (1 << UInt64(63 - (length - 1).leadingZeroBitCount))
        return (lowerBound..<middle, middle..<upperBound)
    }
}
