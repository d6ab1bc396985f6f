// SPDX-License-Identifier: Apache-2.0

/// A file of the tree that cannot be used.
package enum TileError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The reader failed, most often because the file is missing.
    case unreadable(TilePath, reason: String)
    /// The file has so many bytes, which is not what its place in the tree demands.
    case wrongLength(TilePath, bytes: Int)

    package var path: TilePath {
        switch self {
        case .unreadable(let path, _), .wrongLength(let path, _): path
        }
    }

    package var description: String {
        switch self {
        case .unreadable(let path, let reason): "\(path) cannot be read: \(reason)"
        case .wrongLength(let path, let bytes):
            "\(path) has \(bytes) bytes; a tile of \(path.width) hashes has "
                + "\(path.width * MerkleHash.byteCount)"
        }
    }
}

/// A tree of a known size as its tiles show it; reads each tile at most once while it lives.
///
/// Nothing read is trusted: a proof made from wrong tiles does not verify against the signed
/// root, which is for its receiver to check.
package struct TiledTree {
    /// Leaves in the tree.
    package let size: UInt64
    private let read: (String) throws -> [UInt8]
    private var tiles: [TilePath: [MerkleHash]] = [:]

    /// Opens the tree of `size` leaves.
    ///
    /// - Parameters:
    ///   - size: At most `MerkleFrontier.sizeMax`, as every verified checkpoint is.
    ///   - read: Returns the file at a path below the log's directory; throws if there is none.
    package init(size: UInt64, read: @escaping (String) throws -> [UInt8]) {
        precondition(size <= MerkleFrontier.sizeMax)
        self.size = size
        self.read = read
    }

    /// How wide the tile is in this tree; 0 if the tree does not reach it.
    func width(_ content: TilePath.Content, index: UInt64) -> Int {
        let hashes: UInt64
        switch content {
        case .entries: hashes = size
        case .hashes(let level): hashes = size >> UInt64(8 * level)
        }
        let full = UInt64(TilePath.fullWidth)
        if index < hashes / full { return TilePath.fullWidth }
        return index == hashes / full ? Int(hashes % full) : 0
    }

    /// The hashes of one tile.
    mutating func hashes(level: Int, index: UInt64) throws(TileError) -> [MerkleHash] {
        let content = TilePath.Content.hashes(level: level)
        let path = TilePath(content, index: index, width: width(content, index: index))
        if let known = tiles[path] { return known }
        let (bytes, found) = try file(path)
        guard bytes.count == found.width * MerkleHash.byteCount else {
            throw .wrongLength(found, bytes: bytes.count)
        }
        let hashes = Array(MerkleHash.list(bytes[...]).prefix(path.width))
        tiles[path] = hashes
        return hashes
    }

    /// Forgets tiles of this level left of `index`, so that a walk over a long log stays small.
    mutating func forget(level: Int, before index: UInt64) {
        tiles = tiles.filter { path, _ in
            path.content != .hashes(level: level) || path.index >= index
        }
    }

    /// The bytes of a tile and where they were: a partial tile may have been deleted after it
    /// became full, and then the full tile starts with it (C2SP tlog-tiles, "Partial Tiles").
    func file(_ path: TilePath) throws(TileError) -> (bytes: [UInt8], path: TilePath) {
        do {
            return (try read(path.description), path)
        } catch {
            if path.isPartial, let bytes = try? read(path.full.description) {
                return (bytes, path.full)
            }
            throw .unreadable(path, reason: "\(error)")
        }
    }

    /// The root of the complete subtree of 2^height leaves, the index-th of that height.
    private mutating func subtree(height: Int, index: UInt64) throws(TileError) -> MerkleHash {
        let first = index << UInt64(height % 8)
        let full = UInt64(TilePath.fullWidth)
        let tile = try hashes(level: height / 8, index: first / full)
        let offset = Int(first % full)
        return MerkleHash.root(of: tile[offset..<offset + (1 << (height % 8))])
    }

    /// The complete subtrees that cover `leaves`, from left to right.
    ///
    /// `leaves` starts at a multiple of the largest power of two in its length, as every range
    /// that RFC 6962 section 2.1 splits off does.
    private mutating func peaks(of leaves: Range<UInt64>) throws(TileError) -> [MerkleHash] {
        var peaks: [MerkleHash] = []
        var start = leaves.lowerBound
        while start < leaves.upperBound {
            let height = 63 - (leaves.upperBound - start).leadingZeroBitCount
            try peaks.append(subtree(height: height, index: start >> UInt64(height)))
            start += 1 << UInt64(height)
        }
        return peaks
    }

    /// MTH(D[lower:upper]) of RFC 6962 section 2.1.
    ///
    /// - Throws: `TileError` for a tile that is missing or has the wrong length.
    package mutating func root(of leaves: Range<UInt64>) throws(TileError) -> MerkleHash {
        guard var root = try peaks(of: leaves).last else { return .emptyRoot }
        for peak in try peaks(of: leaves).dropLast().reversed() {
            root = MerkleHash(left: peak, right: root)
        }
        return root
    }

    /// The frontier of the tree, rebuilt from the tiles of its right edge.
    ///
    /// The caller compares its root with a checkpoint it trusts.
    ///
    /// - Throws: `TileError` for a tile that is missing or has the wrong length.
    package mutating func frontier() throws(TileError) -> MerkleFrontier {
        try frontier(of: size)
    }

    /// The frontier of the tree's first leaves, at most `size`.
    mutating func frontier(of size: UInt64) throws(TileError) -> MerkleFrontier {
        let peaks = try peaks(of: 0..<size)
        // One peak per binary digit 1 of the size: the restoring initializer cannot refuse.
        return MerkleFrontier(size: size, peaks: peaks) ?? MerkleFrontier()
    }
}
