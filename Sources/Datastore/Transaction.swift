// SPDX-License-Identifier: Apache-2.0

internal import GRDB

/// A consistent view of the store: everything read in it belongs to the same commit.
///
/// It is valid only inside the closure it is given to.
package class ReadTransaction {
    let database: Database

    init(_ database: Database) {
        self.database = database
    }

    /// The first row that the statement yields.
    func first<Value>(
        _ sql: String,
        _ arguments: StatementArguments = [],
        _ decode: (Row) throws -> Value
    ) throws(DatastoreError) -> Value? {
        do {
            let statement = try database.cachedStatement(sql: sql)
            return try Row.fetchOne(statement, arguments: arguments).map(decode)
        } catch {
            throw DatastoreError(error)
        }
    }

    /// All rows that the statement yields; the statement bounds their number.
    func all<Value>(
        _ sql: String,
        _ arguments: StatementArguments = [],
        _ decode: (Row) throws -> Value
    ) throws(DatastoreError) -> [Value] {
        do {
            let statement = try database.cachedStatement(sql: sql)
            let cursor = try Row.fetchCursor(statement, arguments: arguments)
            var values: [Value] = []
            while let row = try cursor.next() { values.append(try decode(row)) }
            return values
        } catch {
            throw DatastoreError(error)
        }
    }
}

/// One logical transaction: all of it is committed, or nothing.
package final class Transaction: ReadTransaction {
    /// The revision number this transaction has taken, if it has.
    var takenRevision: UInt64?
    /// Why a statement failed, if one did.
    ///
    /// A method of several statements may then be half done, so the transaction is rolled back
    /// even if its body has caught the error.
    private(set) var spoiledBy: DatastoreError?

    /// Runs a statement and tells how many rows it changed.
    @discardableResult
    func execute(
        _ sql: String,
        _ arguments: StatementArguments = []
    ) throws(DatastoreError) -> Int {
        do {
            try database.cachedStatement(sql: sql).execute(arguments: arguments)
            return database.changesCount
        } catch {
            throw spoil(DatastoreError(error))
        }
    }

    /// Runs a statement that writes one row and returns something of it.
    func executeReturning<Value>(
        _ sql: String,
        _ arguments: StatementArguments,
        _ decode: (Row) throws -> Value
    ) throws(DatastoreError) -> Value {
        do {
            guard let value = try first(sql, arguments, decode) else {
                throw DatastoreError.corrupt("a row that was written returned nothing")
            }
            return value
        } catch {
            throw spoil(DatastoreError(error))
        }
    }

    private func spoil(_ error: DatastoreError) -> DatastoreError {
        spoiledBy = spoiledBy ?? error
        return error
    }
}
