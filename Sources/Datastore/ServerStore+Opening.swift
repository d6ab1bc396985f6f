// SPDX-License-Identifier: Apache-2.0

internal import FoundationEssentials
internal import GRDB

extension ServerStore {
    /// Page cache of one connection: 16 MiB hold the inner pages of every index at a million
    /// entries.
    private static let cacheKibibytesMax = 16_384
    /// Pages in the WAL that start a checkpoint: 16 MiB, so that a page written by many commits
    /// is copied to the file once, and recovery after a crash still takes milliseconds.
    private static let checkpointPages = 4_000
    /// Nobody but the server's user: the file tells who may become whom.
    private static let permissions: Int16 = 0o600

    static func openPool(path: String, options: DatastoreOptions) throws -> DatabasePool {
        if options.access == .readWrite { try createFile(path: path) }
        let configuration = configuration(options)
        // Before the pool is opened, for that already turns a file to WAL. What is refused is left
        // as it is: a writer would put the WAL into the file at its end. Only to undo what a power
        // cut has left of a first start it must write.
        var checking = configuration
        checking.readonly = !FileManager.default.fileExists(atPath: path + "-journal")
        let check = try DatabaseQueue(path: path, configuration: checking)
        try check.read { try checkOwnership($0, options: options) }
        try check.close()
        let pool = try DatabasePool(path: path, configuration: configuration)
        if options.access == .readWrite {
            // FULL: a commit is on disk before it is acknowledged, also through a power cut. Said
            // again, because GRDB sets NORMAL when it turns the writer to WAL.
            try pool.writeWithoutTransaction { database in
                try database.execute(sql: "PRAGMA synchronous = FULL")
            }
            try Schema.migrator.migrate(pool)
        }
        return pool
    }

    /// SQLite gives the WAL and the shared memory file the mode of the main file.
    private static func createFile(path: String) throws {
        if FileManager.default.fileExists(atPath: path) { return }
        guard
            FileManager.default.createFile(
                atPath: path,
                contents: nil,
                attributes: [.posixPermissions: permissions]
            )
        else { throw DatastoreError.cannotOpen("\(path) cannot be created") }
    }

    private static func configuration(_ options: DatastoreOptions) -> Configuration {
        var configuration = Configuration()
        configuration.label = "signet.datastore"
        configuration.readonly = options.access == .readOnly
        configuration.foreignKeysEnabled = true
        configuration.maximumReaderCount = options.readersMax
        configuration.busyMode = .timeout(options.busyTimeout / .seconds(1))
        configuration.prepareDatabase { database in
            try database.execute(sql: "PRAGMA synchronous = FULL")
            // A damaged page is noticed when it is read, and no function in a damaged or planted
            // schema is ever called.
            try database.execute(sql: "PRAGMA cell_size_check = ON")
            try database.execute(sql: "PRAGMA trusted_schema = OFF")
            // What a savepoint needs to roll back stays out of temporary files.
            try database.execute(sql: "PRAGMA temp_store = MEMORY")
            try database.execute(sql: "PRAGMA cache_size = -\(cacheKibibytesMax)")
            try database.execute(sql: "PRAGMA wal_autocheckpoint = \(checkpointPages)")
            if let pagesMax = options.pagesMax {
                try database.execute(sql: "PRAGMA max_page_count = \(pagesMax)")
            }
        }
        return configuration
    }

    /// Refuses what is not ours, what we cannot read, and what is damaged.
    private static func checkOwnership(
        _ database: Database,
        options: DatastoreOptions
    ) throws {
        let id = try Int32.fetchOne(database, sql: "PRAGMA application_id")
        // GRDB makes these before the first migration: a power cut may leave them alone.
        let tables = try Int.fetchOne(
            database,
            sql: """
                SELECT count(*) FROM sqlite_schema
                WHERE tbl_name NOT IN ('grdb_issue_102', 'grdb_migrations')
                """
        )
        guard id == Schema.applicationID || (id == 0 && tables == 0) else {
            throw DatastoreError.foreignFile
        }
        if try Schema.migrator.hasBeenSuperseded(database) { throw DatastoreError.newerSchema }
        if options.access == .readOnly, try !Schema.migrator.hasCompletedMigrations(database) {
            throw DatastoreError.cannotOpen("the file needs a migration and is opened read-only")
        }
        if options.checksIntegrity {
            let findings = try String.fetchAll(database, sql: "PRAGMA quick_check(1)")
            guard findings == ["ok"] else {
                throw DatastoreError.corrupt(findings.first ?? "the check gave no answer")
            }
        }
    }
}
