// SPDX-License-Identifier: Apache-2.0

/// Shows that the tree of `newSize` leaves starts with the tree of `oldSize` leaves: nothing was
/// changed or removed (RFC 6962 section 2.1.2).
package struct ConsistencyProof: Hashable, Sendable {
    package let oldSize: UInt64
    package let newSize: UInt64
    package let path: [MerkleHash]

    package init(oldSize: UInt64, newSize: UInt64, path: [MerkleHash]) {
        self.oldSize = oldSize
        self.newSize = newSize
        self.path = path
    }

    /// Whether the proof joins the two roots (RFC 9162 section 2.1.4.2).
    ///
    /// From the empty tree every tree has grown: that proof is empty.
    package func joins(oldRoot: MerkleHash, newRoot: MerkleHash) -> Bool {
        guard oldSize <= newSize else { return false }
        if oldSize == newSize { return path.isEmpty && oldRoot == newRoot }
        if oldSize == 0 { return path.isEmpty && oldRoot == .emptyRoot }
        // An old tree that is one complete subtree is its own first hash.
        let hashes = oldSize.nonzeroBitCount == 1 ? [oldRoot] + path : path
        guard let first = hashes.first else { return false }
        let skipped = UInt64((~(oldSize - 1)).trailingZeroBitCount)
        var node = (oldSize - 1) >> skipped
        var last = (newSize - 1) >> skipped
        var old = first
        var new = first
        for hash in hashes.dropFirst() {
            guard last > 0 else { return false }
            if node & 1 == 1 || node == last {
                old = MerkleHash(left: hash, right: old)
                new = MerkleHash(left: hash, right: new)
                while node & 1 == 0, node > 0 {
                    node >>= 1
                    last >>= 1
                }
            } else {
                new = MerkleHash(left: new, right: hash)
            }
            node >>= 1
            last >>= 1
        }
        return last == 0 && old == oldRoot && new == newRoot
    }
}

extension TiledTree {
    /// Proves that this tree starts with the tree of `oldSize` leaves.
    ///
    /// - Returns: Nil if the old tree would be larger than this one.
    /// - Throws: `TileError` for a tile that is missing or has the wrong length.
    package mutating func proveConsistency(
        from oldSize: UInt64
    ) throws(TileError) -> ConsistencyProof? {
        guard oldSize <= size else { return nil }
        var path: [MerkleHash] = []
        if oldSize > 0 {
            var leaves = 0..<size
            var oldIsWholeSubtree = true
            // SUBPROOF of RFC 6962 section 2.1.2, from the root down.
            while leaves.upperBound != oldSize {
                let (left, right) = leaves.splitByRFC6962()
                if oldSize <= left.upperBound {
                    try path.append(root(of: right))
                    leaves = left
                } else {
                    try path.append(root(of: left))
                    leaves = right
                    oldIsWholeSubtree = false
                }
            }
            if !oldIsWholeSubtree { try path.append(root(of: leaves)) }
        }
        return ConsistencyProof(oldSize: oldSize, newSize: size, path: path.reversed())
    }
}
