// SPDX-License-Identifier: Apache-2.0

internal import FoundationEssentials
internal import GRDB
internal import Synchronization

/// Everything a server keeps: one SQLite file (WAL, synchronous FULL).
///
/// A write is one logical transaction. Many of them share a physical one, each in its own
/// savepoint, and nobody is answered before that is on disk. Reads see only what is committed.
package final class ServerStore: Sendable {
    let pool: DatabasePool
    private let queue: Mutex<WriteQueue<PendingWrite>>
    private let counted = Mutex(CommitCounts())

    /// Opens the file at `path`, creates it (mode 0600) or migrates it as `options` allow.
    ///
    /// - Throws: `DatastoreError.cannotOpen`, `.corrupt`, `.foreignFile`, `.newerSchema`, `.busy`,
    ///   `.readOnly`, `.full`.
    package init(path: String, options: DatastoreOptions = .init()) throws(DatastoreError) {
        queue = Mutex(
            WriteQueue(batchMax: options.batchedWritesMax, queuedMax: options.queuedWritesMax)
        )
        do {
            pool = try Self.openPool(path: path, options: options)
        } catch {
            throw DatastoreError(error)
        }
    }

    /// Runs `body` as one transaction and returns once it is on disk.
    ///
    /// A body that throws leaves nothing behind and disturbs no other write. The body runs at most
    /// once, possibly after the caller's task was cancelled: a queued write has one outcome, and
    /// the caller learns it.
    ///
    /// - Throws: what `body` throws; `DatastoreError.tooManyWrites` or `.closed` before the body
    ///   runs; any other `DatastoreError` when the commit failed.
    package func write<Value: Sendable>(
        _ body: @escaping @Sendable (Transaction) throws -> Value
    ) async throws -> Value {
        try await withCheckedThrowingContinuation { continuation in
            submit(PendingWrite(body: body) { continuation.resume(with: $0) })
        }
    }

    /// Like `write`, on the calling thread, which it blocks until the commit.
    ///
    /// For the simulation and for start-up; never call it inside another transaction.
    package func writeNow<Value: Sendable>(
        _ body: @escaping @Sendable (Transaction) throws -> Value
    ) throws -> Value {
        if let refusal = queue.withLock({ $0.refusal }) { throw refusal }
        let outcome = Mutex<Result<Value, any Error>>(.failure(DatastoreError.closed))
        let write = PendingWrite(body: body) { result in outcome.withLock { $0 = result } }
        pool.writeWithoutTransaction { commit([write], in: $0) }
        return try outcome.withLock { $0 }.get()
    }

    /// Runs `body` over a consistent view of what is committed.
    ///
    /// A read that finds the file damaged, or the disk failing, is the end of all writing.
    package func read<Value: Sendable>(
        _ body: @escaping @Sendable (ReadTransaction) throws -> Value
    ) async throws -> Value {
        do {
            return try await pool.read { try body(ReadTransaction($0)) }
        } catch {
            throw noticed(error)
        }
    }

    /// Like `read`, on the calling thread.
    package func readNow<Value>(_ body: (ReadTransaction) throws -> Value) throws -> Value {
        do {
            return try pool.read { try body(ReadTransaction($0)) }
        } catch {
            throw noticed(error)
        }
    }

    /// Says that another reader of the file has found it damaged: the end of all writing, as if a
    /// read of this store had.
    ///
    /// - Returns: Whether it is; what else befell that reader is not of this store.
    @discardableResult
    package func foundDamaged(_ error: DatastoreError) -> Bool {
        guard case .corrupt = error else { return false }
        _ = noticed(error)
        return true
    }

    /// Commits a row of its own: succeeds only if the store takes writes and the disk keeps them.
    package func probeWritable() async throws(DatastoreError) {
        do {
            try await write { try $0.recordProbe() }
        } catch {
            throw DatastoreError(error)
        }
    }

    /// What was committed since the opening.
    package var commitCounts: CommitCounts { counted.withLock { $0 } }

    /// Writes waiting for their commit.
    package var queuedWrites: Int { queue.withLock { $0.count } }

    /// Refuses new writes, finishes those that wait, and closes the file.
    ///
    /// What the write-ahead log holds goes into the file, unless the disk has failed.
    package func close() throws(DatastoreError) {
        let refusal = queue.withLock { queue in
            queue.closed()
            return queue.refusal
        }
        do {
            if refusal == .closed {
                _ = try? pool.writeWithoutTransaction { try $0.checkpoint(.truncate) }
            }
            try pool.close()
        } catch {
            throw DatastoreError(error)
        }
    }
}

extension ServerStore {
    private func submit(_ write: PendingWrite) {
        let action = queue.withLock { queue in
            let action = queue.submitted(write)
            // Under the lock, though it only enqueues: so a drain is always enqueued before the
            // closing of the connection it runs on.
            if case .startDraining = action {
                pool.asyncWriteWithoutTransaction { self.drain($0) }
            }
            return action
        }
        if case .refuse(let error) = action { write.refuse(error) }
    }

    private func drain(_ database: Database) {
        while true {
            switch queue.withLock({ $0.batchFinished() }) {
            case .commit(let batch): commit(batch, in: database)
            case .refuse(let batch, let error): for write in batch { write.refuse(error) }
            case .rest: return
            }
        }
    }

    /// Stops all writing after an error that leaves no ground to write on.
    ///
    /// The outcome of a failed fsync is unknown: what was written may or may not come back after a
    /// crash. A damaged file may be damaged anywhere. Nothing is built on top of either.
    private func noticed(_ error: any Error) -> any Error {
        let mapped = DatastoreError.mappingEngine(error)
        if let failure = mapped as? DatastoreError, failure.endsWriting {
            queue.withLock { $0.stopped(by: failure) }
        }
        return mapped
    }

    /// One physical transaction over `batch`; everybody is answered when it is over.
    private func commit(_ batch: [PendingWrite], in database: Database) {
        var attempts: [PendingWrite.Attempt] = []
        var failure: DatastoreError?
        do {
            try database.inTransaction(.immediate) {
                for write in batch {
                    let attempt = write.run(database)
                    attempts.append(attempt)
                    // A full or failing disk makes SQLite roll back the whole transaction, not
                    // only the savepoint: what follows would be committed on its own.
                    guard database.isInsideTransaction else {
                        throw attempt.failure ?? DatastoreError.full
                    }
                }
                return .commit
            }
        } catch {
            failure = DatastoreError(error)
        }
        counted.withLock { $0.finished(batch.count, failed: failure != nil) }
        if let failure { _ = noticed(failure) }
        for attempt in attempts {
            if let refusal = attempt.failure { _ = noticed(refusal) }
            attempt.answer(failure)
        }
        for write in batch.dropFirst(attempts.count) {
            write.refuse(failure ?? .closed)
        }
    }
}
