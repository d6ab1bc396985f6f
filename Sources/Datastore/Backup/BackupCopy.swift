// SPDX-License-Identifier: Apache-2.0

internal import FoundationEssentials
internal import GRDB
package import NodeSync

/// What a copy of a store holds.
package struct BackupSnapshot: Hashable, Sendable {
    package let identity: StoreIdentity
    package let revision: Revision
    /// The number of the log's leaves at the moment of the copy.
    package let auditSize: UInt64
    /// The hashes of its last leaves, from the one asked for on; 32 bytes each.
    package let leafHashes: [[UInt8]]

    package init(
        identity: StoreIdentity,
        revision: Revision,
        auditSize: UInt64,
        leafHashes: [[UInt8]]
    ) {
        self.identity = identity
        self.revision = revision
        self.auditSize = auditSize
        self.leafHashes = leafHashes
    }
}

/// A copy of one moment of a store, without what must not come back with a restore.
///
/// It is made over a connection of its own, beside the store that is open: writers do not wait, the
/// write-ahead log only grows meanwhile.
package enum BackupCopy {
    /// Bytes of a page, as SQLite makes them.
    package static let pageBytes: UInt64 = 4096
    /// Least pages of a copy: an empty file of the schema has fewer.
    package static let pagesMin: UInt64 = 256
    /// Most of the log's leaves whose hashes are read: the publisher is behind by fewer, or nothing
    /// is committed any more.
    package static let leafHashesMax = 1 << 20

    /// Copies the store at `source` into a new file at `path`, on the calling thread.
    ///
    /// - Parameters:
    ///   - source: The file of a store that this process has opened.
    ///   - path: A file that does not exist yet, for the server's user alone.
    ///   - bytesMax: The most that the copy may take of the disk.
    ///   - leaf: From which leaf of the log on hashes are wanted.
    ///   - interruption: Ends it before it is complete.
    /// - Returns: What is in the copy, which is a closed file without a write-ahead log.
    /// - Throws: `DatastoreError`: `.full` when `bytesMax` or the disk is too small, `.notEstablished`
    ///   for a store without identity, `.interrupted`, others of the engine. The file at `path` is then for the
    ///   caller to delete.
    package static func make(
        of source: String,
        at path: String,
        bytesMax: UInt64,
        leafHashesFrom leaf: UInt64,
        until interruption: BackupInterruption
    ) throws(DatastoreError) -> BackupSnapshot {
        let pagesMax = bytesMax / pageBytes
        guard pagesMax >= pagesMin else { throw .full }
        do {
            guard FileManager.default.fileExists(atPath: source) else {
                throw DatastoreError.cannotOpen("\(source) does not exist")
            }
            guard
                FileManager.default.createFile(
                    atPath: path,
                    contents: nil,
                    attributes: [.posixPermissions: Int16(0o600)]
                )
            else { throw DatastoreError.cannotOpen("\(path) cannot be created") }
            let copy = try DatabaseQueue(path: path, configuration: configuration(pagesMax))
            defer { try? copy.close() }
            try Schema.migrator.migrate(copy)
            return try interruption.during {
                copy.interrupt()
            } _: {
                try copy.writeWithoutTransaction { database in
                    try database.execute(sql: "ATTACH DATABASE ? AS source", arguments: [source])
                    let snapshot = try fill(database, leafHashesFrom: leaf, until: interruption)
                    try database.execute(sql: "DETACH DATABASE source")
                    return snapshot
                }
            }
        } catch {
            throw DatastoreError(error)
        }
    }

    private static func configuration(_ pagesMax: UInt64) -> Configuration {
        var configuration = Configuration()
        configuration.label = "signet.backup"
        // Tables are filled in any order; what they refer to is copied with them.
        configuration.foreignKeysEnabled = false
        configuration.busyMode = .timeout(5)
        configuration.prepareDatabase { database in
            // A copy that a crash interrupts is deleted, so nothing of it has to survive one. Of the
            // copy alone: the store is attached to the same connection.
            try database.execute(sql: "PRAGMA main.journal_mode = MEMORY")
            try database.execute(sql: "PRAGMA main.synchronous = OFF")
            // As of the store: damage is noticed, and nothing planted is called.
            try database.execute(sql: "PRAGMA cell_size_check = ON")
            try database.execute(sql: "PRAGMA trusted_schema = OFF")
            try database.execute(sql: "PRAGMA temp_store = MEMORY")
            try database.execute(sql: "PRAGMA main.max_page_count = \(Int64(clamping: pagesMax))")
        }
        return configuration
    }

    /// Copies rows, all of one moment of the source.
    private static func fill(
        _ database: Database,
        leafHashesFrom leaf: UInt64,
        until interruption: BackupInterruption
    ) throws -> BackupSnapshot {
        var snapshot: BackupSnapshot?
        try database.inTransaction(.deferred) {
            for table in BackupTables.copied {
                try copyRows(of: table, in: database)
                // Between two statements nothing is there that could be interrupted.
                try interruption.check()
            }
            let read = ReadTransaction(database)
            guard let identity = try read.identity() else { throw DatastoreError.notEstablished }
            snapshot = BackupSnapshot(
                identity: identity,
                revision: try read.revision(),
                auditSize: try auditSize(database),
                leafHashes: try leafHashes(database, from: leaf)
            )
            return .commit
        }
        guard let snapshot else { throw DatastoreError.notEstablished }
        return snapshot
    }

    /// By the names of this release's columns, so that a store without one of them is refused.
    private static func copyRows(of table: String, in database: Database) throws {
        let columns = try String.fetchAll(
            database,
            sql: "SELECT name FROM pragma_table_info(?, 'main') ORDER BY cid",
            arguments: [table]
        ).joined(separator: ", ")
        try database.execute(
            sql: """
                DELETE FROM main.\(table);
                INSERT INTO main.\(table) (\(columns)) SELECT \(columns) FROM source.\(table);
                """
        )
    }

    private static func auditSize(_ database: Database) throws -> UInt64 {
        let row = try Row.fetchOne(database, sql: "SELECT size FROM source.audit_tree")
        guard let row else {
            throw DatastoreError.corrupt("the row of the audit tree is missing")
        }
        return try row.number("size")
    }

    private static func leafHashes(
        _ database: Database,
        from leaf: UInt64
    ) throws -> [[UInt8]] {
        let hashes = try Row.fetchAll(
            database,
            sql: "SELECT hash FROM source.audit_leaves WHERE leaf >= ? ORDER BY leaf LIMIT ?",
            arguments: [leaf.stored, leafHashesMax + 1]
        ).map { try $0.bytes("hash") }
        guard hashes.count <= leafHashesMax else {
            throw DatastoreError.constraint("too many records are not published yet")
        }
        return hashes
    }
}
