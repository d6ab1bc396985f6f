// SPDX-License-Identifier: Apache-2.0

/// Which writes wait for the next physical commit.
///
/// At most one drain runs at a time; it takes batches until nothing is left.
package struct WriteQueue<Write> {
    /// What follows from a submission.
    package enum SubmitAction {
        /// Nobody may write (any more): tell the writer.
        case refuse(DatastoreError)
        /// Nothing drains the queue: start.
        case startDraining
        /// The running drain will come to this write.
        case wait
    }

    /// What the drain does next.
    package enum DrainAction {
        /// Commit these together, then ask again.
        case commit([Write])
        /// Tell these that nothing can be written, then ask again.
        case refuse([Write], DatastoreError)
        /// Nothing is left; the next submission starts a new drain.
        case rest
    }

    package let batchMax: Int
    package let queuedMax: Int
    /// Why writes are refused, once they are.
    package private(set) var refusal: DatastoreError?
    private var isDraining = false
    private var waiting: [Write] = []

    package init(batchMax: Int, queuedMax: Int) {
        precondition(batchMax > 0 && queuedMax > 0, "limits are positive")
        self.batchMax = batchMax
        self.queuedMax = queuedMax
    }

    /// Writes that wait, those of the running commit excluded.
    package var count: Int { waiting.count }

    /// A writer wants `write` to be committed.
    package mutating func submitted(_ write: Write) -> SubmitAction {
        if let refusal { return .refuse(refusal) }
        guard waiting.count < queuedMax else { return .refuse(.tooManyWrites) }
        waiting.append(write)
        if isDraining { return .wait }
        isDraining = true
        return .startDraining
    }

    /// The drain has started, or has finished what it was given last.
    package mutating func batchFinished() -> DrainAction {
        precondition(isDraining, "a batch finished that was never started")
        if waiting.isEmpty {
            isDraining = false
            return .rest
        }
        if let refusal, refusal != .closed {
            defer { waiting = [] }
            return .refuse(waiting, refusal)
        }
        let batch = Array(waiting.prefix(batchMax))
        waiting.removeFirst(batch.count)
        return .commit(batch)
    }

    /// No write is accepted from here on; those that wait are still committed.
    package mutating func closed() {
        refusal = refusal ?? .closed
    }

    /// The outcome of a commit is unknown: no write is made from here on.
    package mutating func stopped(by error: DatastoreError) {
        refusal = error
    }
}
