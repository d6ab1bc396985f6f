// SPDX-License-Identifier: Apache-2.0

/// One pass over a log from its first record to its last, from the leaves up.
///
/// Every hash of every tile is compared with the one that the files below it give, and at the end
/// the root with the signed one; so a change anywhere shows at the first record it touches.
struct TreeWalk {
    private let checkpoint: Checkpoint
    private let remembered: [Checkpoint]
    private var tree: TiledTree
    private var frontier = MerkleFrontier()

    init(
        checkpoint: Checkpoint,
        remembered: [Checkpoint],
        read: @escaping (String) throws -> [UInt8]
    ) {
        self.checkpoint = checkpoint
        self.remembered = remembered.sorted { $0.size < $1.size }
        tree = TiledTree(size: checkpoint.size, read: read)
    }

    /// - Parameters:
    ///   - known: How many records need not be read; a checkpoint of so many is among those
    ///     remembered, unless there are none.
    ///   - visit: Called with each record after them.
    /// - Throws: `FoundDefect`, the first fault.
    mutating func run(
        after known: UInt64 = 0,
        visit: (UInt64, ArraySlice<UInt8>) -> Void
    ) throws(FoundDefect) {
        let width = UInt64(TilePath.fullWidth)
        var bundle = min(known, checkpoint.size) / width
        if bundle > 0 { try begin(at: bundle * width) }
        try compareWithMemory()
        while bundle * width < checkpoint.size {
            try checkBundle(bundle) { index, leaf in
                if index >= known { visit(index, leaf) }
            }
            bundle += 1
        }
        guard frontier.root == checkpoint.root else {
            throw FoundDefect(
                .rewrittenAfterSigning,
                path: TilePath.checkpoint,
                records: 0..<checkpoint.size
            )
        }
        if let longer = remembered.last, longer.size > checkpoint.size {
            throw FoundDefect(
                .recordsCutOff(rememberedSize: longer.size),
                path: TilePath.checkpoint
            )
        }
    }

    /// Takes the tree over the first records as the hashes above them show it.
    ///
    /// They are believed no more than records: a wrong one gives neither the known root nor, at the
    /// end, the signed one.
    private mutating func begin(at size: UInt64) throws(FoundDefect) {
        do {
            frontier = try tree.frontier(of: size)
        } catch {
            throw FoundDefect(error)
        }
        for old in remembered where old.size > 0 && old.size < size {
            guard try continues(old) else {
                throw FoundDefect(
                    .historyRewritten(size: old.size),
                    path: TilePath.checkpoint,
                    records: 0..<old.size
                )
            }
        }
    }

    private mutating func continues(_ old: Checkpoint) throws(FoundDefect) -> Bool {
        do {
            let proof = try tree.proveConsistency(from: old.size)
            return proof?.joins(oldRoot: old.root, newRoot: checkpoint.root) == true
        } catch {
            throw FoundDefect(error)
        }
    }

    private mutating func checkBundle(
        _ index: UInt64,
        visit: (UInt64, ArraySlice<UInt8>) -> Void
    ) throws(FoundDefect) {
        let path = TilePath(.entries, index: index, width: tree.width(.entries, index: index))
        let (bytes, found) = try file(path)
        let (leaves, malformed) = EntryBundle.readable(bytes, count: found.width)
        let first = path.records.lowerBound
        let stored = try tile(level: 0, index: index)
        for (position, leaf) in leaves.prefix(path.width).enumerated() {
            let record = first + UInt64(position)
            let hash = MerkleHash(leaf: leaf)
            guard stored[position] == hash else {
                throw try blame(level: 0, record, below: .entryChanged, path: found)
            }
            visit(record, leaf)
            frontier.append(hash)
            try compareWithMemory()
        }
        guard malformed == nil else {
            let bad = min(first + UInt64(leaves.count), path.records.upperBound - 1)
            throw FoundDefect(.entryMalformed, path: found.description, records: bad..<bad + 1)
        }
        if !path.isPartial { try compareWithParent(level: 0, index) }
    }

    /// Compares a full tile with its hash in the level above, and the tile that this hash may
    /// have completed there in the same way.
    private mutating func compareWithParent(level: Int, _ index: UInt64) throws(FoundDefect) {
        let root = MerkleHash.root(of: try tile(level: level, index: index))
        guard try storedHash(level: level + 1, index) == root else {
            let path = TilePath(.hashes(level: level), index: index)
            throw try blame(level: level + 1, index, below: .rewrittenAfterSigning, path: path)
        }
        tree.forget(level: level, before: index + 1)
        let width = UInt64(TilePath.fullWidth)
        guard index % width == width - 1 else { return }
        try compareWithParent(level: level + 1, index / width)
    }

    private func compareWithMemory() throws(FoundDefect) {
        for old in remembered where old.size == frontier.size && old.root != frontier.root {
            throw FoundDefect(
                .historyRewritten(size: old.size),
                path: TilePath.checkpoint,
                records: 0..<old.size
            )
        }
    }

    /// Decides which of two files that contradict each other is wrong: the tile with the index-th
    /// hash of a level, or what lies below it, which is right if the signed root does not cover
    /// the tile.
    private mutating func blame(
        level: Int,
        _ index: UInt64,
        below kind: AuditDefect.Kind,
        path: TilePath
    ) throws(FoundDefect) -> FoundDefect {
        let first = index << UInt64(8 * level)
        let records = first..<first + 1 << UInt64(8 * level)
        if try isSigned(level: level, tile: index / UInt64(TilePath.fullWidth)) {
            return FoundDefect(kind, path: path.description, records: records)
        }
        let tile = index / UInt64(TilePath.fullWidth)
        let content = TilePath.Content.hashes(level: level)
        let changed = TilePath(content, index: tile, width: tree.width(content, index: tile))
        return FoundDefect(.hashChanged, path: changed.description, records: records)
    }

    /// Whether the signed root covers a tile: through its parents up to the right edge, whose
    /// tiles together give the root.
    private mutating func isSigned(level: Int, tile: UInt64) throws(FoundDefect) -> Bool {
        var level = level
        var index = tile
        while tree.width(.hashes(level: level), index: index) == TilePath.fullWidth {
            let root = MerkleHash.root(of: try self.tile(level: level, index: index))
            guard try storedHash(level: level + 1, index) == root else { return false }
            level += 1
            index /= UInt64(TilePath.fullWidth)
        }
        do {
            return try tree.root(of: 0..<checkpoint.size) == checkpoint.root
        } catch {
            throw FoundDefect(error)
        }
    }

    private mutating func storedHash(
        level: Int,
        _ index: UInt64
    ) throws(FoundDefect) -> MerkleHash {
        let width = UInt64(TilePath.fullWidth)
        return try tile(level: level, index: index / width)[Int(index % width)]
    }

    private mutating func tile(
        level: Int,
        index: UInt64
    ) throws(FoundDefect) -> [MerkleHash] {
        do {
            return try tree.hashes(level: level, index: index)
        } catch {
            throw FoundDefect(error)
        }
    }

    private func file(
        _ path: TilePath
    ) throws(FoundDefect) -> (bytes: [UInt8], path: TilePath) {
        do {
            return try tree.file(path)
        } catch {
            throw FoundDefect(error)
        }
    }
}

extension TreeWalk {
    /// Checks files that the tree does not need, after `run` has found it intact.
    ///
    /// - Returns: Tiles beyond the checkpoint, and files that are none of a log's.
    func checkOthers(
        _ files: [String]
    ) throws(FoundDefect) -> (unsigned: [String], unknown: [String]) {
        var unsigned: [String] = []
        var unknown: [String] = []
        for name in files.sorted() where name != TilePath.checkpoint {
            guard let path = TilePath(parsing: name) else {
                unknown.append(name)
                continue
            }
            let width = tree.width(path.content, index: path.index)
            if path.width > width {
                unsigned.append(name)
            } else if path.width < width {
                try checkSuperseded(path, width: width)
            }
        }
        return (unsigned, unknown)
    }

    /// An older, narrower form of a tile is the beginning of the wider one.
    private func checkSuperseded(_ path: TilePath, width: Int) throws(FoundDefect) {
        let wider = TilePath(path.content, index: path.index, width: width)
        let bytes = try exactly(path)
        let whole = try file(wider)
        let expected: Int
        switch path.content {
        case .hashes: expected = path.width * MerkleHash.byteCount
        case .entries:
            let leaves = EntryBundle.readable(whole.bytes, count: path.width).leaves
            expected = leaves.reduce(0) { $0 + 2 + $1.count }
        }
        guard bytes.elementsEqual(whole.bytes.prefix(expected)) else {
            throw FoundDefect(
                .supersededTileChanged,
                path: path.description,
                records: path.records
            )
        }
    }

    /// The bytes of this form of a tile and no other.
    private func exactly(_ path: TilePath) throws(FoundDefect) -> [UInt8] {
        let (bytes, found) = try file(path)
        guard found == path else {
            throw FoundDefect(TileError.unreadable(path, reason: "listed, but not readable"))
        }
        return bytes
    }
}
