// SPDX-License-Identifier: Apache-2.0

/// Why new leaves cannot be joined to the tiles on disk.
package enum TileIntegrationError: Error, Hashable, Sendable, CustomStringConvertible {
    /// A tile of the old tree's right edge, mostly a partial one, does not belong to it.
    case partialTileDiffers(TilePath)
    /// A partial tile of the old tree is missing or has the wrong length.
    case tile(TileError)
    /// The tree would pass `MerkleFrontier.sizeMax`.
    case treeFull

    package var description: String {
        switch self {
        case .partialTileDiffers(let path):
            "\(path) is not what the database holds"
        case .tile(let error): "\(error)"
        case .treeFull: "the audit log is full"
        }
    }
}

/// The files that turn the tiles of a tree into those of a longer one.
///
/// Write the files in their order, each one under another name first, synced, then renamed; after
/// the last of them sync the directories, and only then publish a checkpoint. Every file is
/// immutable, so writing one again after a crash changes nothing. When a full tile is safely
/// written and a checkpoint of that size or more is published, its `partialsDirectory` may go.
package struct TileIntegration: Hashable, Sendable {
    /// One file to write.
    package struct File: Hashable, Sendable {
        package let path: TilePath
        package let bytes: [UInt8]
    }

    /// Bundles of leaves first, then hash tiles from level 0 up; of one kind from left to right.
    package let files: [File]
    /// The frontier of the longer tree.
    package let frontier: MerkleFrontier

    /// Joins leaves to a tree.
    ///
    /// Costs memory for the leaves and the touched tiles: give long backlogs in pieces.
    ///
    /// - Parameters:
    ///   - leaves: The leaves that follow, in their order, each at most 65,535 bytes.
    ///   - frontier: The frontier of the tree whose tiles are on disk.
    ///   - read: Returns the file at a path below the log's directory; only partial tiles of the
    ///     old tree's right edge (or their full successors) are asked for.
    /// - Throws: `TileIntegrationError`; nothing may then be written.
    package init(
        appending leaves: [[UInt8]],
        to frontier: MerkleFrontier,
        read: @escaping (String) throws -> [UInt8]
    ) throws(TileIntegrationError) {
        guard UInt64(leaves.count) <= MerkleFrontier.sizeMax - frontier.size else {
            throw .treeFull
        }
        let edge = try Edge(of: frontier, read: read)
        var newFrontier = frontier
        var hashes: [MerkleHash] = []
        for leaf in leaves {
            let hash = MerkleHash(leaf: leaf)
            hashes.append(hash)
            newFrontier.append(hash)
        }
        var files = edge.bundles(appending: leaves)
        for level in 0...TilePath.levelMax where !hashes.isEmpty {
            let (tiles, completed) = edge.tiles(level: level, appending: hashes)
            files += tiles
            hashes = completed
        }
        self.files = files
        self.frontier = newFrontier
    }
}

extension TiledTree {
    /// Requires that the newest bundle of leaves is that of the tree when it is exactly full.
    ///
    /// A full bundle is not needed to go on from, so joining leaves to the tree reads it never
    /// again. The hashes beside it are taken as they are: an inclusion proof of the newest leaf
    /// shows whether they are those of the tree.
    ///
    /// - Throws: `TileIntegrationError`.
    package mutating func requireNewestFullEntries() throws(TileIntegrationError) {
        let fullWidth = UInt64(TilePath.fullWidth)
        guard size > 0, size % fullWidth == 0 else { return }
        let index = size / fullWidth - 1
        let path = TilePath(.entries, index: index)
        let bytes: [UInt8]
        let known: [MerkleHash]
        do {
            bytes = try file(path).bytes
            known = try hashes(level: 0, index: index)
        } catch {
            throw .tile(error)
        }
        let (leaves, malformed) = EntryBundle.readable(bytes, count: TilePath.fullWidth)
        guard malformed == nil, leaves.map({ MerkleHash(leaf: $0) }) == known else {
            throw .partialTileDiffers(path)
        }
    }
}

/// The partial tiles of a tree: everything a longer tree takes over from it.
private struct Edge {
    private let size: UInt64
    private var entries: [UInt8] = []
    /// The hashes of each level's partial tile, level 0 first.
    private var partials: [[MerkleHash]] = []

    init(
        of frontier: MerkleFrontier,
        read: @escaping (String) throws -> [UInt8]
    ) throws(TileIntegrationError) {
        size = frontier.size
        var tree = TiledTree(size: size, read: read)
        var peaks = frontier.peaks[...]
        for level in (0...TilePath.levelMax).reversed() {
            let hashes = try Self.partial(of: &tree, level: level)
            partials.insert(hashes, at: 0)
            // The peaks of the tree are the peaks of its partial tiles, top level first.
            var edge = MerkleFrontier()
            for hash in hashes { edge.append(hash) }
            guard peaks.starts(with: edge.peaks) else {
                throw .partialTileDiffers(Self.path(level: level, size: size))
            }
            peaks = peaks.dropFirst(edge.peaks.count)
        }
        try readEntries(of: tree)
    }

    private static func path(level: Int, size: UInt64) -> TilePath {
        let count = size >> UInt64(8 * level)
        let width = Int(count % UInt64(TilePath.fullWidth))
        return TilePath(.hashes(level: level), index: count >> 8, width: max(1, width))
    }

    private static func partial(
        of tree: inout TiledTree,
        level: Int
    ) throws(TileIntegrationError) -> [MerkleHash] {
        let index = tree.size >> UInt64(8 * level + 8)
        guard tree.width(.hashes(level: level), index: index) > 0 else { return [] }
        do {
            return try tree.hashes(level: level, index: index)
        } catch {
            throw .tile(error)
        }
    }

    private mutating func readEntries(of tree: TiledTree) throws(TileIntegrationError) {
        let width = partials[0].count
        guard width > 0 else { return }
        let path = TilePath(.entries, index: size >> 8, width: width)
        let found: (bytes: [UInt8], path: TilePath)
        do {
            found = try tree.file(path)
        } catch {
            throw .tile(error)
        }
        let (leaves, malformed) = EntryBundle.readable(found.bytes, count: found.path.width)
        guard malformed == nil else { throw .partialTileDiffers(found.path) }
        for (leaf, hash) in zip(leaves, partials[0]) {
            guard MerkleHash(leaf: leaf) == hash else { throw .partialTileDiffers(found.path) }
            EntryBundle.append(Array(leaf), to: &entries)
        }
    }

    /// The bundles that the leaves fill or begin.
    func bundles(appending leaves: [[UInt8]]) -> [TileIntegration.File] {
        var files: [TileIntegration.File] = []
        var bytes = entries
        var width = partials[0].count
        var index = size >> 8
        for leaf in leaves {
            EntryBundle.append(leaf, to: &bytes)
            width += 1
            guard width == TilePath.fullWidth else { continue }
            files.append(.init(path: TilePath(.entries, index: index), bytes: bytes))
            index += 1
            width = 0
            bytes = []
        }
        if width > 0, !leaves.isEmpty {
            let path = TilePath(.entries, index: index, width: width)
            files.append(.init(path: path, bytes: bytes))
        }
        return files
    }

    /// The tiles of one level that `hashes` fill or begin, and the roots of those they fill.
    func tiles(
        level: Int,
        appending hashes: [MerkleHash]
    ) -> (files: [TileIntegration.File], completed: [MerkleHash]) {
        var files: [TileIntegration.File] = []
        var completed: [MerkleHash] = []
        var index = size >> UInt64(8 * level + 8)
        var rest = (partials[level] + hashes)[...]
        while !rest.isEmpty {
            let tile = rest.prefix(TilePath.fullWidth)
            rest = rest.dropFirst(tile.count)
            var bytes: [UInt8] = []
            for hash in tile { hash.append(to: &bytes) }
            let path = TilePath(.hashes(level: level), index: index, width: tile.count)
            files.append(.init(path: path, bytes: bytes))
            if !path.isPartial { completed.append(MerkleHash.root(of: tile)) }
            index += 1
        }
        return (files, completed)
    }
}
