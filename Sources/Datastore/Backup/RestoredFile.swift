// SPDX-License-Identifier: Apache-2.0

internal import GRDB

/// The database of a backup, before anything of it is used.
package enum RestoredFile {
    /// Requires that a file is a whole store of this release or an older one, and has nothing in it
    /// that its migrations did not make: a trigger or a view would be run with every later write.
    ///
    /// The file is only read, on the calling thread, all of it.
    ///
    /// - Throws: `DatastoreError`: `.foreignFile`, `.newerSchema`, `.corrupt`, others of the engine.
    package static func check(_ path: String) throws(DatastoreError) {
        do {
            let queue = try DatabaseQueue(path: path, configuration: configuration)
            defer { try? queue.close() }
            let (count, found) = try queue.read { database in
                let id = try Int32.fetchOne(database, sql: "PRAGMA application_id")
                guard id == Schema.applicationID else { throw DatastoreError.foreignFile }
                if try Schema.migrator.hasBeenSuperseded(database) {
                    throw DatastoreError.newerSchema
                }
                let findings = try String.fetchAll(database, sql: "PRAGMA integrity_check(1)")
                guard findings == ["ok"] else {
                    throw DatastoreError.corrupt(findings.first ?? "the check gave no answer")
                }
                let applied = try Schema.migrator.appliedMigrations(database)
                guard applied == Schema.migrations.prefix(applied.count).map(\.name) else {
                    throw DatastoreError.corrupt("its migrations are not those of any release")
                }
                return (applied.count, try objects(database))
            }
            let made = try DatabaseQueue()
            try Schema.migrator(upTo: count).migrate(made)
            let expected = try made.read { try objects($0) }
            guard found == expected else {
                let other = found.first { !expected.contains($0) } ?? found.first ?? []
                throw DatastoreError.corrupt(
                    "its schema is not what \(count) migrations make: \(other.prefix(2))"
                )
            }
        } catch {
            throw DatastoreError(error)
        }
    }

    /// The server that a database is of, whatever release wrote it; nil if it says nothing.
    ///
    /// - Throws: `DatastoreError`.
    package static func serverID(of path: String) throws(DatastoreError) -> String? {
        try read(path) { try String.fetchOne($0, sql: "SELECT server_id FROM meta") }
    }

    /// Whether a database has to be migrated before this release reads it.
    ///
    /// - Throws: `DatastoreError`.
    package static func isOfEarlierRelease(_ path: String) throws(DatastoreError) -> Bool {
        try read(path) { try !Schema.migrator.hasCompletedMigrations($0) }
    }

    /// Copies all of a database, which others may use meanwhile, into a new file.
    ///
    /// - Throws: `DatastoreError`.
    package static func copy(_ path: String, to target: String) throws(DatastoreError) {
        do {
            let queue = try DatabaseQueue(path: path, configuration: configuration)
            defer { try? queue.close() }
            try queue.inDatabase { try $0.execute(sql: "VACUUM INTO ?", arguments: [target]) }
        } catch {
            throw DatastoreError(error)
        }
    }

    private static func read<Value>(
        _ path: String,
        _ body: (Database) throws -> Value
    ) throws(DatastoreError) -> Value {
        do {
            let queue = try DatabaseQueue(path: path, configuration: configuration)
            defer { try? queue.close() }
            return try queue.read { database in
                let id = try Int32.fetchOne(database, sql: "PRAGMA application_id")
                guard id == Schema.applicationID else { throw DatastoreError.foreignFile }
                return try body(database)
            }
        } catch {
            throw DatastoreError(error)
        }
    }

    private static var configuration: Configuration {
        var configuration = Configuration()
        configuration.label = "signet.restore"
        configuration.readonly = true
        configuration.prepareDatabase { database in
            try database.execute(sql: "PRAGMA cell_size_check = ON")
            try database.execute(sql: "PRAGMA trusted_schema = OFF")
            try database.execute(sql: "PRAGMA temp_store = MEMORY")
        }
        return configuration
    }

    /// Every table, index, trigger and view, with the text that made it.
    private static func objects(_ database: Database) throws -> [[String]] {
        try Row.fetchAll(
            database,
            sql: """
                SELECT type, name, tbl_name, coalesce(sql, '') AS sql FROM sqlite_schema
                ORDER BY type, name, tbl_name
                """
        ).map { row in
            try ["type", "name", "tbl_name", "sql"].map { try row.value($0, as: String.self) }
        }
    }
}
