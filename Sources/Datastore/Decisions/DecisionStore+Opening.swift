// SPDX-License-Identifier: Apache-2.0

internal import FoundationEssentials
internal import GRDB

extension DecisionStore {
    /// Page cache of one connection: the inner pages of its indexes.
    private static let cacheKibibytesMax = 8_192
    /// Bytes of a page, as SQLite makes them.
    private static let pageBytes = 4_096
    private static let permissions: Int16 = 0o600
    /// Read connections: one for people, one for digests.
    private static let readersMax = 2

    static func openPool(path: String, newID: [UInt8], bytesMax: Int) throws -> DatabasePool {
        if !FileManager.default.fileExists(atPath: path) {
            guard
                FileManager.default.createFile(
                    atPath: path,
                    contents: nil,
                    attributes: [.posixPermissions: permissions]
                )
            else { throw DatastoreError.cannotOpen("\(path) cannot be created") }
        }
        let pool = try DatabasePool(path: path, configuration: configuration(bytesMax))
        try pool.write { database in
            try checkOwnership(database)
            try createTables(database, newID)
        }
        return pool
    }

    private static func configuration(_ bytesMax: Int) -> Configuration {
        var configuration = Configuration()
        configuration.label = "signet.decisions"
        configuration.maximumReaderCount = readersMax
        configuration.busyMode = .timeout(5)
        configuration.prepareDatabase { database in
            try database.execute(sql: "PRAGMA synchronous = NORMAL")
            // As of the main database: damage is noticed, and nothing planted is called.
            try database.execute(sql: "PRAGMA cell_size_check = ON")
            try database.execute(sql: "PRAGMA trusted_schema = OFF")
            try database.execute(sql: "PRAGMA temp_store = MEMORY")
            try database.execute(sql: "PRAGMA cache_size = -\(cacheKibibytesMax)")
            try database.execute(sql: "PRAGMA max_page_count = \(bytesMax / pageBytes)")
        }
        return configuration
    }

    private static func checkOwnership(_ database: Database) throws {
        let id = try Int32.fetchOne(database, sql: "PRAGMA application_id") ?? 0
        let tables = try Int.fetchOne(database, sql: "SELECT count(*) FROM sqlite_schema") ?? 0
        guard id == applicationID || (id == 0 && tables == 0) else {
            throw DatastoreError.foreignFile
        }
        let version = try Int.fetchOne(database, sql: "PRAGMA user_version") ?? 0
        guard version <= schemaVersion else { throw DatastoreError.newerSchema }
    }

    /// A release that needs other tables adds a step by `user_version`.
    private static func createTables(_ database: Database, _ newID: [UInt8]) throws {
        guard try Int.fetchOne(database, sql: "PRAGMA user_version") == 0 else { return }
        try database.execute(
            sql: """
                CREATE TABLE meta (
                    one INTEGER PRIMARY KEY CHECK (one = 1),
                    store_id BLOB NOT NULL CHECK (length(store_id) = 16),
                    next_sequence INTEGER NOT NULL,
                    trimmed_through INTEGER NOT NULL
                ) STRICT;
                CREATE TABLE segments (
                    sequence INTEGER PRIMARY KEY,
                    agent TEXT NOT NULL,
                    spool BLOB NOT NULL CHECK (length(spool) = 16),
                    number INTEGER NOT NULL,
                    sha256 BLOB NOT NULL CHECK (length(sha256) = 32),
                    stored_at INTEGER NOT NULL,
                    first_time INTEGER NOT NULL,
                    last_time INTEGER NOT NULL,
                    records INTEGER NOT NULL,
                    lost INTEGER NOT NULL,
                    -- Last sequence under the audit leaf that covers it.
                    digested_with INTEGER,
                    UNIQUE (agent, spool, number)
                ) STRICT;
                CREATE INDEX segments_by_time ON segments (last_time);
                CREATE INDEX segments_by_digest ON segments (digested_with);
                CREATE TABLE contents (
                    sequence INTEGER PRIMARY KEY REFERENCES segments (sequence),
                    content BLOB NOT NULL
                ) STRICT;
                CREATE TABLE decisions (
                    id TEXT NOT NULL,
                    sequence INTEGER NOT NULL,
                    PRIMARY KEY (id, sequence)
                ) STRICT, WITHOUT ROWID;
                CREATE INDEX decisions_by_sequence ON decisions (sequence);
                """
        )
        try database.execute(
            sql: "INSERT INTO meta VALUES (1, ?, 1, 0)",
            arguments: [newID.stored]
        )
        try database.execute(sql: "PRAGMA application_id = \(applicationID)")
        try database.execute(sql: "PRAGMA user_version = \(schemaVersion)")
    }
}
