// SPDX-License-Identifier: Apache-2.0

extension TiledTree {
    /// The hashes of the leaves of one tile, if the tiles lead from them to a root.
    ///
    /// The audit path of the tile's first leaf is computed from every other hash of the tile, so that
    /// one proof holds for all of them.
    ///
    /// - Parameters:
    ///   - index: Counts tiles of 256 leaves from the left, from 0.
    ///   - root: The root of the tree of `size` leaves that somebody signed.
    /// - Returns: The hashes from leaf `index * 256` on; nil if they do not lead to the root, or the tree
    ///   does not reach there.
    /// - Throws: `TileError` for a tile that is missing or has the wrong length.
    package mutating func provenLeaves(
        ofTile index: UInt64,
        under root: MerkleHash
    ) throws(TileError) -> [MerkleHash]? {
        let width = UInt64(TilePath.fullWidth)
        guard index <= MerkleFrontier.sizeMax / width, index * width < size else { return nil }
        let leaves = try hashes(level: 0, index: index)
        guard let first = leaves.first, let proof = try proveInclusion(of: index * width),
            proof.leads(from: first, to: root)
        else { return nil }
        return leaves
    }
}
