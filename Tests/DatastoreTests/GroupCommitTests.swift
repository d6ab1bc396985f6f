// SPDX-License-Identifier: Apache-2.0

import Datastore
import Dispatch
import Foundation
import GRDB
import NodeSync
import SPIFFE
import Testing

/// An error of a caller, which must come back as it is.
struct Refusal: Error, Equatable {
    let number: Int
}

@Suite(.timeLimit(.minutes(1))) struct GroupCommitTests {
    let directory: TemporaryStore

    init() throws {
        directory = try TemporaryStore()
    }

    @Test func `many writes share few commits and each gets its own answer`() async throws {
        let store = try directory.openEstablished()
        let before = store.commitCounts
        let numbers = try await withThrowingTaskGroup(of: UInt64.self) { group in
            for _ in 0..<500 {
                group.addTask { try await store.write { try $0.advanceRevision().number } }
            }
            return try await group.reduce(into: []) { $0.append($1) }
        }
        #expect(numbers.sorted() == Array(1...500))
        #expect(try store.readNow { try $0.revision() }.number == 500)
        let counts = store.commitCounts
        #expect(counts.writes - before.writes == 500)
        #expect(counts.commits - before.commits < 500)
        #expect(counts.failedCommits == 0)
    }

    @Test func `a write that throws leaves nothing behind and disturbs no other`() async throws {
        let store = try directory.openEstablished()
        let refused = await withTaskGroup(of: Int?.self) { group in
            for number in 0..<200 {
                group.addTask {
                    do {
                        try await store.write { transaction in
                            try transaction.append("\(number)")
                            try transaction.raiseClockHighWater(to: noon + Double(number))
                            if number % 2 == 1 { throw Refusal(number: number) }
                        }
                        return nil
                    } catch {
                        return (error as? Refusal)?.number ?? -1
                    }
                }
            }
            return await group.reduce(into: Set<Int>()) { if let number = $1 { $0.insert(number) } }
        }
        #expect(refused == Set(stride(from: 1, to: 200, by: 2)))
        let leaves = try store.readNow { try $0.leaves(from: 0, limit: 1000) }
        #expect(leaves.map(\.index) == Array(0..<100))
        let texts = Set(leaves.map { String(decoding: $0.bytes, as: UTF8.self) })
        #expect(texts == Set(stride(from: 0, to: 200, by: 2).map(String.init)))
        #expect(try store.readNow { try $0.clockHighWater() } == noon + 198)
    }

    @Test func `a failed statement rolls its write back even if the body hides the error`()
        async throws
    {
        let store = try directory.openEstablished()
        try await store.write { try $0.put(JoinTokenRecord.sample(1)) }
        let error = await #expect(throws: DatastoreError.self) {
            try await store.write { transaction in
                try transaction.append("before")
                try? transaction.put(JoinTokenRecord.sample(1))
                try transaction.append("after")
            }
        }
        guard case .constraint = error else {
            Issue.record("\(String(describing: error))")
            return
        }
        #expect(try store.readNow { try $0.auditSize() } == 0)
    }

    @Test func `an answered write is visible to another connection`() async throws {
        let store = try directory.openEstablished()
        let other = try DatabaseQueue(path: directory.path)
        for _ in 0..<20 {
            let number = try await store.write { try $0.advanceRevision().number }
            let seen = try await other.read {
                try Int64.fetchOne($0, sql: "SELECT revision FROM meta")
            }
            #expect(seen.map(UInt64.init) ?? 0 >= number)
        }
    }

    @Test func `a lock held elsewhere is reported and passes`() async throws {
        let store = try directory.openEstablished { $0.busyTimeout = .milliseconds(50) }
        var configuration = Configuration()
        configuration.allowsUnsafeTransactions = true
        let other = try DatabaseQueue(path: directory.path, configuration: configuration)
        try await other.writeWithoutTransaction { try $0.execute(sql: "BEGIN IMMEDIATE") }
        await #expect(throws: DatastoreError.busy) {
            try await store.write { try $0.advanceRevision() }
        }
        #expect(throws: DatastoreError.busy) { try store.writeNow { try $0.advanceRevision() } }
        await #expect(throws: DatastoreError.busy) { try await store.probeWritable() }
        #expect(try store.readNow { try $0.revision() }.number == 0)
        try await other.writeWithoutTransaction { try $0.execute(sql: "ROLLBACK") }
        try await store.probeWritable()
        #expect(try await store.write { try $0.advanceRevision().number } == 1)
    }

    @Test func `a full disk refuses writes, keeps what is committed and recovers`() async throws {
        let store = try directory.openEstablished { $0.pagesMax = 100 }
        let blob = String(repeating: "x", count: 4000)
        var committed: UInt64 = 0
        var refusal: DatastoreError?
        while refusal == nil, committed < 1000 {
            do {
                _ = try await store.write { try $0.append(blob) }
                committed += 1
            } catch {
                refusal = error as? DatastoreError
            }
        }
        #expect(refusal == .full)
        #expect(committed > 0)
        #expect(try store.readNow { try $0.auditSize() } == committed)
        try store.close()
        let roomier = try directory.open { $0.checksIntegrity = true }
        #expect(try await roomier.write { try $0.append(blob) } == committed)
    }

    @Test func `when the disk fills inside a batch, nobody in it is told of success`()
        async throws
    {
        let store = try directory.openEstablished { $0.pagesMax = 110 }
        let answered = await withTaskGroup(of: UInt64?.self) { group in
            for number in 0..<100 {
                group.addTask {
                    let text = String(repeating: "\(number % 10)", count: 9000)
                    return try? await store.write { try $0.append(text) }
                }
            }
            return await group.reduce(into: [UInt64]()) { if let index = $1 { $0.append(index) } }
        }
        let size = try store.readNow { try $0.auditSize() }
        #expect(answered.sorted() == Array(0..<size))
        #expect(answered.count < 100)
    }

    @Test func `a closed store refuses reads and writes`() async throws {
        let store = try directory.openEstablished()
        try store.close()
        await #expect(throws: DatastoreError.closed) {
            try await store.write { try $0.advanceRevision() }
        }
        #expect(throws: DatastoreError.closed) { try store.writeNow { try $0.advanceRevision() } }
        #expect(throws: DatastoreError.closed) { try store.readNow { try $0.revision() } }
        await #expect(throws: DatastoreError.closed) {
            try await store.read { try $0.revision() }
        }
    }

    @Test(arguments: 1...20)
    func `closing in the middle answers every write truthfully`(round: Int) async throws {
        let store = try directory.openEstablished { $0.batchedWritesMax = round }
        let answered = try await withThrowingTaskGroup(of: UInt64?.self) { group in
            for _ in 0..<50 {
                group.addTask {
                    do {
                        return try await store.write { try $0.advanceRevision().number }
                    } catch DatastoreError.closed {
                        return nil
                    }
                }
            }
            var answered: UInt64 = 0
            while answered < round, try await group.next() != nil { answered += 1 }
            try store.close()
            for try await number in group where number != nil { answered += 1 }
            return answered
        }
        let reopened = try directory.open()
        #expect(try reopened.readNow { try $0.revision() }.number == answered)
    }

    @Test func `writes beyond the queue are refused, those in it are committed`() async throws {
        let store = try directory.openEstablished {
            $0.queuedWritesMax = 3
            $0.batchedWritesMax = 1
        }
        let gate = DispatchSemaphore(value: 0)
        let entered = AsyncStream.makeStream(of: Void.self)
        try await withThrowingTaskGroup(of: Bool.self) { group in
            group.addTask {
                try await store.write { _ in
                    entered.continuation.yield()
                    gate.wait()
                }
                return true
            }
            // The first write is out of the queue and holds the only commit.
            var entries = entered.stream.makeAsyncIterator()
            await entries.next()
            for _ in 0..<10 {
                group.addTask {
                    do {
                        _ = try await store.write { try $0.advanceRevision() }
                        return true
                    } catch DatastoreError.tooManyWrites {
                        return false
                    }
                }
            }
            var refused = 0
            while refused < 7, let accepted = try await group.next() {
                #expect(!accepted)
                refused += 1
            }
            #expect(store.queuedWrites == 3)
            gate.signal()
            for try await accepted in group { #expect(accepted) }
        }
        #expect(try store.readNow { try $0.revision() }.number == 3)
    }
}

@Suite struct WriteQueueTests {
    private func fail(sourceLocation: SourceLocation = #_sourceLocation) {
        Issue.record("another action was expected", sourceLocation: sourceLocation)
    }

    @Test func `one drain runs at a time and takes batches until nothing is left`() {
        var queue = WriteQueue<Int>(batchMax: 2, queuedMax: 10)
        guard case .startDraining = queue.submitted(1) else { return fail() }
        guard case .wait = queue.submitted(2) else { return fail() }
        guard case .wait = queue.submitted(3) else { return fail() }
        guard case .commit([1, 2]) = queue.batchFinished() else { return fail() }
        guard case .wait = queue.submitted(4) else { return fail() }
        guard case .commit([3, 4]) = queue.batchFinished() else { return fail() }
        guard case .rest = queue.batchFinished() else { return fail() }
        guard case .startDraining = queue.submitted(5) else { return fail() }
    }

    @Test func `after closing, those that wait are committed and nobody else`() {
        var queue = WriteQueue<Int>(batchMax: 2, queuedMax: 10)
        _ = queue.submitted(1)
        queue.closed()
        guard case .refuse(.closed) = queue.submitted(2) else { return fail() }
        guard case .commit([1]) = queue.batchFinished() else { return fail() }
        guard case .rest = queue.batchFinished() else { return fail() }
    }

    @Test func `after a commit of unknown outcome nothing is written any more`() {
        var queue = WriteQueue<Int>(batchMax: 1, queuedMax: 10)
        _ = queue.submitted(1)
        _ = queue.submitted(2)
        guard case .commit([1]) = queue.batchFinished() else { return fail() }
        queue.stopped(by: .inputOutput("fsync"))
        queue.closed()
        guard case .refuse([2], .inputOutput("fsync")) = queue.batchFinished() else {
            return fail()
        }
        guard case .refuse(.inputOutput("fsync")) = queue.submitted(3) else {
            return fail()
        }
        guard case .rest = queue.batchFinished() else { return fail() }
    }
}
