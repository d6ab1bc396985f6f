// SPDX-License-Identifier: Apache-2.0

import Datastore
import Foundation
import NodeSync
import SPIFFE
import Testing

/// `Transaction.rehearse`: what would come of an act, and nothing of it.
@Suite(.timeLimit(.minutes(1))) struct RehearsalTests {
    private let directory: TemporaryStore
    private let store: ServerStore

    init() throws {
        directory = try TemporaryStore()
        store = try directory.openEstablished()
    }

    @Test func `a rehearsal sees what was written before it, and leaves nothing`() throws {
        let seen = try store.writeNow { transaction in
            try transaction.put(JoinTokenRecord.sample(1))
            let seen = try transaction.rehearse { rehearsal in
                try rehearsal.put(JoinTokenRecord.sample(2))
                try rehearsal.append("rehearsed")
                return try rehearsal.joinTokens(limit: 10).map { $0.hash[0] }
            }
            #expect(try transaction.joinTokens(limit: 10).map { $0.hash[0] } == [1])
            try transaction.put(JoinTokenRecord.sample(3))
            return seen
        }
        #expect(seen == [1, 2])
        #expect(try store.readNow { try $0.joinTokens(limit: 10) }.map { $0.hash[0] } == [1, 3])
        #expect(try store.readNow { try $0.auditSize() } == 0)
    }

    @Test func `a number that a rehearsal takes does not stay with the act`() throws {
        let numbers = try store.writeNow { transaction in
            let first = try transaction.rehearse { try $0.advanceRevision().number }
            let own = try transaction.advanceRevision().number
            let second = try transaction.rehearse { try $0.advanceRevision().number }
            return [first, own, second, try transaction.advanceRevision().number]
        }
        #expect(numbers == [1, 1, 2, 1])
        #expect(try store.readNow { try $0.revision() }.number == 1)
    }

    @Test func `a body that throws leaves nothing, and the act goes on`() throws {
        try store.writeNow { transaction in
            #expect(throws: Refusal(number: 7)) {
                try transaction.rehearse { rehearsal in
                    try rehearsal.put(JoinTokenRecord.sample(1))
                    throw Refusal(number: 7)
                }
            }
            try transaction.put(JoinTokenRecord.sample(2))
        }
        #expect(try store.readNow { try $0.joinTokens(limit: 10) }.map { $0.hash[0] } == [2])
    }

    @Test func `a statement that fails in a rehearsal is told, and does not spoil the act`() throws
    {
        try store.writeNow { transaction in
            try transaction.put(JoinTokenRecord.sample(1))
            let error = #expect(throws: DatastoreError.self) {
                try transaction.rehearse { rehearsal in
                    try? rehearsal.put(JoinTokenRecord.sample(1))
                    try rehearsal.put(JoinTokenRecord.sample(2))
                }
            }
            guard case .constraint = error else {
                Issue.record("\(String(describing: error))")
                return
            }
        }
        #expect(try store.readNow { try $0.joinTokens(limit: 10) }.map { $0.hash[0] } == [1])
    }

    @Test func `a rehearsal in a rehearsal is taken back with it`() throws {
        let counts = try store.writeNow { transaction in
            try transaction.rehearse { outer in
                try outer.put(JoinTokenRecord.sample(1))
                let inner = try outer.rehearse { inner in
                    try inner.put(JoinTokenRecord.sample(2))
                    return try inner.joinTokens(limit: 10).count
                }
                return [inner, try outer.joinTokens(limit: 10).count]
            }
        }
        #expect(counts == [2, 1])
        #expect(try store.readNow { try $0.joinTokens(limit: 10) }.isEmpty)
    }

    @Test func `what is wanted of an attempt stays, with its number, and the rest is taken back`()
        throws
    {
        let numbers = try store.writeNow { transaction in
            let refused = try transaction.attempt(keptIf: { _ in false }) { attempt in
                try attempt.put(JoinTokenRecord.sample(1))
                return try attempt.advanceRevision().number
            }
            let kept = try transaction.attempt(keptIf: { $0 == 1 }) { attempt in
                try attempt.put(JoinTokenRecord.sample(2))
                return try attempt.advanceRevision().number
            }
            #expect(throws: Refusal(number: 7)) {
                try transaction.attempt(keptIf: { true }) { attempt in
                    try attempt.put(JoinTokenRecord.sample(3))
                    throw Refusal(number: 7)
                }
            }
            // It has been taken in this transaction.
            return [refused, kept, try transaction.advanceRevision().number]
        }
        #expect(numbers == [1, 1, 1])
        #expect(try store.readNow { try $0.joinTokens(limit: 10) }.map { $0.hash[0] } == [2])
        #expect(try store.readNow { try $0.revision() }.number == 1)
    }

    @Test func `of an attempt in which a statement failed nothing stays`() throws {
        try store.writeNow { transaction in
            try transaction.put(JoinTokenRecord.sample(1))
            #expect(throws: DatastoreError.self) {
                try transaction.attempt(keptIf: { true }) { attempt in
                    try attempt.put(JoinTokenRecord.sample(2))
                    try? attempt.put(JoinTokenRecord.sample(1))
                }
            }
        }
        #expect(try store.readNow { try $0.joinTokens(limit: 10) }.map { $0.hash[0] } == [1])
    }

    @Test func `a rehearsal that fills the disk ends the act, even if that catches the error`()
        throws
    {
        let full = try TemporaryStore()
        let store = try full.openEstablished { $0.pagesMax = 200 }
        let size = try store.readNow { try $0.auditSize() }
        #expect(throws: DatastoreError.full) {
            try store.writeNow { transaction in
                try transaction.append("act")
                try? transaction.rehearse { rehearsal in
                    let text = String(repeating: "x", count: 100_000)
                    for _ in 0..<100 { try rehearsal.append(text) }
                }
            }
        }
        #expect(try store.readNow { try $0.auditSize() } == size)
        try store.writeNow { _ = try $0.append("after") }
        #expect(try store.readNow { try $0.auditSize() } == size + 1)
    }
}
