// SPDX-License-Identifier: Apache-2.0

internal import GRDB

/// One write on its way to the commit it shares with others.
struct PendingWrite: Sendable {
    /// What became of the body inside the transaction that is still open.
    struct Attempt {
        /// Why the body was rolled back to its savepoint; nil when it was not.
        let failure: (any Error)?
        /// Tells the writer the outcome, given why the commit failed, or nil if it did not.
        let answer: (DatastoreError?) -> Void
    }

    /// Runs the body in its own savepoint and holds the result back until the commit is known.
    let run: @Sendable (Database) -> Attempt
    /// Answers a write that was never run.
    let refuse: @Sendable (DatastoreError) -> Void

    init<Value: Sendable>(
        body: @escaping @Sendable (Transaction) throws -> Value,
        answer: @escaping @Sendable (Result<Value, any Error>) -> Void
    ) {
        refuse = { answer(.failure($0)) }
        run = { database in
            let outcome = Self.outcome(of: body, in: database)
            // A refusal may rest on what a neighbour wrote before it in the same commit, so it
            // too is told only once that is certain.
            return switch outcome {
            case .success:
                Attempt(failure: nil) { answer($0.map { .failure($0) } ?? outcome) }
            case .failure(let error):
                Attempt(failure: error) { answer($0.map { .failure($0) } ?? outcome) }
            }
        }
    }

    private static func outcome<Value: Sendable>(
        of body: (Transaction) throws -> Value,
        in database: Database
    ) -> Result<Value, any Error> {
        do {
            var value: Value?
            try database.inSavepoint {
                let transaction = Transaction(database)
                value = try body(transaction)
                if let error = transaction.spoiledBy { throw error }
                return .commit
            }
            guard let value else { return .failure(DatastoreError.closed) }
            return .success(value)
        } catch {
            return .failure(DatastoreError.mappingEngine(error))
        }
    }
}
