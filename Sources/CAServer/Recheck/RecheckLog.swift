// SPDX-License-Identifier: Apache-2.0

internal import AuditLog
internal import Datastore

/// What is published of the log: whoever has the database alone cannot change it.
///
/// The server keeps size and root of the checkpoint that it signed last in memory; the files lead from
/// there to the leaves.
struct RecheckLog: Sendable {
    enum Standing: Hashable, Sendable {
        /// It is the leaf that was published at its place.
        case published
        /// Another one was published there.
        case changed
        /// No checkpoint holds it yet.
        case unpublished
        /// The files do not say which leaf was published there; why.
        case unproven(String)
    }

    /// Leaves that are published.
    let size: UInt64
    /// Leaves that were committed when it was waited for their publication; at least `size`.
    let end: UInt64
    private let root: MerkleHash
    private let read: @Sendable (String) throws -> [UInt8]
    /// The tile that was read last: leaves come in order.
    private var tile: Tile?

    private struct Tile: Sendable {
        let index: UInt64
        let hashes: [MerkleHash]
        /// Empty if the hashes are proven.
        let defect: String
    }

    /// - Parameters:
    ///   - size: Leaves of the newest checkpoint.
    ///   - committed: Leaves that the database said it had before the checkpoint was looked at. A leaf
    ///     that was published and is not there is looked for, whatever it says.
    ///   - root: What it signs.
    ///   - read: Returns a file of the log by its path; throws if there is none.
    init(
        size: UInt64,
        committed: UInt64,
        root: MerkleHash,
        read: @escaping @Sendable (String) throws -> [UInt8]
    ) {
        self.size = size
        end = max(size, committed)
        self.root = root
        self.read = read
    }

    /// The tile of 256 leaves in which a leaf is.
    static func tileIndex(of leaf: UInt64) -> UInt64 { leaf / UInt64(TilePath.fullWidth) }

    /// Compares a leaf of the database with the published one.
    mutating func standing(of leaf: StoredLeaf) -> Standing {
        guard leaf.index < size else { return .unpublished }
        let tile = tile(Self.tileIndex(of: leaf.index))
        guard tile.defect.isEmpty else { return .unproven(tile.defect) }
        let place = Int(leaf.index % UInt64(TilePath.fullWidth))
        return tile.hashes[place] == MerkleHash(leaf: leaf.bytes) ? .published : .changed
    }

    private mutating func tile(_ index: UInt64) -> Tile {
        if let tile, tile.index == index { return tile }
        let next = Self.proven(index, TiledTree(size: size, read: read), under: root)
        tile = next
        return next
    }

    private static func proven(
        _ index: UInt64,
        _ source: TiledTree,
        under root: MerkleHash
    ) -> Tile {
        var tree = source
        do {
            guard let hashes = try tree.provenLeaves(ofTile: index, under: root) else {
                return Tile(
                    index: index,
                    hashes: [],
                    defect: "the files do not lead to the root that the server signed"
                )
            }
            return Tile(index: index, hashes: hashes, defect: "")
        } catch {
            return Tile(index: index, hashes: [], defect: "\(error)")
        }
    }
}
