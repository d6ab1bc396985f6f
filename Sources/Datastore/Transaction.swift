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

    /// Runs `body` as if it were the rest of this transaction, and takes back all that it wrote.
    ///
    /// The body gets a transaction of its own, which sees what this one has written: a number that
    /// it takes, and a statement that fails in it, do not stay with this one. Only what it returns
    /// or throws tells what would have come of it.
    ///
    /// - Parameter body: Runs once, at once; the transaction it is given is not valid afterwards.
    /// - Returns: What `body` returned.
    /// - Throws: What `body` throws; the error of a statement that failed in it, also when it has
    ///   caught that. After a fault of the datastore (a full, failing or damaged file) this
    ///   transaction is rolled back too, even if its body catches the error.
    package func rehearse<Value>(_ body: (Transaction) throws -> Value) throws -> Value {
        try nested(Transaction(database), isKept: { _ in false }, body)
    }

    /// Runs `body` as the rest of this transaction, and keeps what it wrote if its result is wanted.
    ///
    /// - Parameters:
    ///   - isKept: Whether what was written stays, by what `body` returned.
    ///   - body: As in `rehearse`; the number that it takes is this transaction's, if it is kept.
    /// - Returns: What `body` returned.
    /// - Throws: As `rehearse`; then nothing that `body` wrote stays.
    package func attempt<Value>(
        keptIf isKept: (Value) -> Bool,
        _ body: (Transaction) throws -> Value
    ) throws -> Value {
        let attempt = Transaction(database)
        attempt.takenRevision = takenRevision
        var isTaken = false
        let value = try nested(
            attempt,
            isKept: { value in
                isTaken = isKept(value)
                return isTaken
            },
            body
        )
        if isTaken { takenRevision = attempt.takenRevision }
        return value
    }

    private func nested<Value>(
        _ inner: Transaction,
        isKept: (Value) -> Bool,
        _ body: (Transaction) throws -> Value
    ) throws -> Value {
        var outcome: Result<Value, any Error>?
        do {
            try database.inSavepoint {
                let result = Result { try body(inner) }
                if let error = inner.spoiledBy {
                    outcome = .failure(error)
                } else {
                    outcome = result
                }
                // SQLite may have rolled back everything; then there is no savepoint to go to.
                guard database.isInsideTransaction else {
                    throw inner.spoiledBy ?? DatastoreError.full
                }
                if case .success(let value)? = outcome, isKept(value) { return .commit }
                return .rollback
            }
        } catch {
            throw spoil(DatastoreError(error))
        }
        guard let outcome else { throw spoil(.engine(code: 0, message: "nothing was rehearsed")) }
        if case .failure(let error as DatastoreError) = outcome, error.isFault {
            throw spoil(error)
        }
        return try outcome.get()
    }

    private func spoil(_ error: DatastoreError) -> DatastoreError {
        spoiledBy = spoiledBy ?? error
        return error
    }
}
