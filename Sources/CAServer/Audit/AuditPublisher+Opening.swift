// SPDX-License-Identifier: Apache-2.0

internal import AuditLog
internal import Datastore
internal import DurableFiles
internal import FoundationEssentials

/// Why the audit log cannot be opened.
package enum AuditPublisherError: Error, CustomStringConvertible {
    /// The log was published and its checkpoint is gone.
    case checkpointMissing(path: String, size: UInt64)
    /// Files of a log are where one is to be made again.
    case rebuildingOverFiles(directory: String)
    /// The tiles on disk are not those of the leaves in the database.
    case tilesDiffer(String)

    package var description: String {
        switch self {
        case .checkpointMissing(let path, let size):
            "\(path) is missing, though a checkpoint of \(size) records was published; put the "
                + "audit log's files back, or start once with --rebuild-audit-log to make them "
                + "again from the database: see docs/audit.md, \"Files that are lost\""
        case .rebuildingOverFiles(let directory):
            "\(directory) is not empty: move it away, what it holds may be evidence, and start "
                + "again with --rebuild-audit-log"
        case .tilesDiffer(let what):
            "the audit log's files and the database differ (\(what)); do not start this server "
                + "before it is known who changed them: see docs/audit.md, \"After an alarm\""
        }
    }
}

extension AuditPublisher {
    /// Reads what was published last and compares it with the database.
    static func reopen(
        _ directory: String,
        key: NoteVerifierKey,
        datastore: ServerStore,
        rebuilds: Bool
    ) throws -> State {
        try DurableFile.makeDirectory(directory, mode: 0o700)
        try DurableFile.removeUnfinished(in: directory)
        let remembered = try remembered(by: datastore)
        let checkpoint = try latest(in: directory, key: key)
        guard let checkpoint else {
            if rebuilds {
                try requireEmpty(directory)
                try require(remembered, of: datastore)
            } else if remembered.size > 0 {
                throw AuditPublisherError.checkpointMissing(
                    path: "\(directory)/\(TilePath.checkpoint)",
                    size: remembered.size
                )
            }
            return State(frontier: MerkleFrontier(), checkpoint: nil)
        }
        if rebuilds { throw AuditPublisherError.rebuildingOverFiles(directory: directory) }
        let size = checkpoint.checkpoint.size
        let committed = try datastore.readNow { try $0.auditSize() }
        guard size <= committed else {
            throw AuditPublisherError.tilesDiffer(
                "a checkpoint of \(size) records was published, the database has \(committed)"
            )
        }
        let frontier = try frontier(of: size, in: directory)
        guard frontier.root == checkpoint.checkpoint.root else {
            throw AuditPublisherError.tilesDiffer("the root of the tiles is not the signed one")
        }
        if size > 0 {
            try requireEdge(of: frontier, in: directory)
            let last = try datastore.readNow { try $0.leaves(from: size - 1, limit: 1) }
            try compare(last, lastOf: size, in: directory)
        }
        try compare(remembered, with: frontier, in: directory)
        return State(frontier: frontier, checkpoint: checkpoint)
    }

    /// What the database remembers of an earlier run; empty if nothing was published.
    private static func remembered(by datastore: ServerStore) throws -> MerkleFrontier {
        let saved = try datastore.readNow { try $0.auditFrontier() }
        if saved.size == 0 { return MerkleFrontier() }
        guard let frontier = MerkleFrontier(encoded: saved.bytes), frontier.size == saved.size
        else { throw DatastoreError.corrupt("what it remembers of the audit log") }
        return frontier
    }

    private static func requireEmpty(_ directory: String) throws {
        let content = try FileManager.default.contentsOfDirectory(atPath: directory)
        guard content.isEmpty else {
            throw AuditPublisherError.rebuildingOverFiles(directory: directory)
        }
    }

    /// Requires that the leaves of the database are still those that were published.
    private static func require(
        _ remembered: MerkleFrontier,
        of datastore: ServerStore
    ) throws {
        var frontier = MerkleFrontier()
        while frontier.size < remembered.size {
            let (from, left) = (frontier.size, remembered.size - frontier.size)
            let leaves = try datastore.readNow {
                try $0.leaves(from: from, limit: Int(min(left, UInt64(leavesPerCheckpointMax))))
            }
            guard !leaves.isEmpty else { break }
            for leaf in leaves { frontier.append(MerkleHash(leaf: leaf.bytes)) }
        }
        guard frontier == remembered else {
            throw AuditPublisherError.tilesDiffer(
                "the records are not the \(remembered.size) that were published"
            )
        }
    }

    private static func frontier(of size: UInt64, in directory: String) throws -> MerkleFrontier {
        do {
            var tree = TiledTree(size: size) { try read($0, in: directory) }
            return try tree.frontier()
        } catch {
            throw AuditPublisherError.tilesDiffer("\(error)")
        }
    }

    /// Requires that the newest tiles are those of the tree, also the tile of the records: the next
    /// publication goes on from them, unless the newest tile of records is exactly full.
    private static func requireEdge(of frontier: MerkleFrontier, in directory: String) throws {
        do {
            _ = try TileIntegration(appending: [], to: frontier) { try read($0, in: directory) }
            var tree = TiledTree(size: frontier.size) { try read($0, in: directory) }
            try tree.requireNewestFullEntries()
        } catch {
            throw AuditPublisherError.tilesDiffer("\(error)")
        }
    }

    private static func latest(
        in directory: String,
        key: NoteVerifierKey
    ) throws -> SignedCheckpoint? {
        do {
            let note = try DurableFile.read(
                "\(directory)/\(TilePath.checkpoint)",
                bytesMax: SignedCheckpoint.bytesMax
            )
            return try SignedCheckpoint(parsing: note, key: key)
        } catch let error as FileError where error.isNotFound {
            return nil
        } catch let error as CheckpointError {
            throw AuditPublisherError.tilesDiffer("the checkpoint: \(error)")
        }
    }

    /// Whether the database's last published leaf is the one in the tiles.
    private static func compare(
        _ stored: [StoredLeaf],
        lastOf size: UInt64,
        in directory: String
    ) throws {
        guard let leaf = stored.first else {
            throw AuditPublisherError.tilesDiffer("record \(size - 1) is not in the database")
        }
        var tree = TiledTree(size: size) { try read($0, in: directory) }
        let proof = try tree.proveInclusion(of: size - 1)
        let root = try tree.frontier().root
        guard let proof, proof.leads(from: MerkleHash(leaf: leaf.bytes), to: root) else {
            throw AuditPublisherError.tilesDiffer("record \(size - 1)")
        }
    }

    /// Whether the published log goes on from what the database remembers.
    private static func compare(
        _ remembered: MerkleFrontier,
        with published: MerkleFrontier,
        in directory: String
    ) throws {
        var tree = TiledTree(size: published.size) { try read($0, in: directory) }
        guard let proof = try tree.proveConsistency(from: remembered.size),
            proof.joins(oldRoot: remembered.root, newRoot: published.root)
        else {
            throw AuditPublisherError.tilesDiffer(
                "a checkpoint of \(remembered.size) records was published, the files show "
                    + "\(published.size)"
            )
        }
    }
}
