// SPDX-License-Identifier: Apache-2.0

import Datastore
import Foundation
import Testing

/// The decision store as a file: what stays, what goes, and in which order.
@Suite(.timeLimit(.minutes(1)))
struct DecisionFileTests {
    private static let id = [UInt8](repeating: 5, count: DecisionStore.idBytes)

    private func open(
        _ place: TemporaryStore,
        bytesMax: Int = 64 << 20
    ) throws -> DecisionStore {
        try DecisionStore(
            path: place.directory + "/decisions.db",
            newID: Self.id,
            bytesMax: bytesMax
        )
    }

    private func segment(
        _ number: UInt64,
        bytes: Int = 10,
        at time: Date = noon
    ) -> NewDecisionSegment {
        NewDecisionSegment(
            agent: "spiffe://example.org/signet/agent/web-1",
            spool: Array(repeating: 1, count: 16),
            number: number,
            digest: Array(repeating: UInt8(truncatingIfNeeded: number), count: 32),
            content: Array(repeating: 7, count: bytes),
            records: 2,
            lost: 3,
            decisions: ["id-\(number)", "both"],
            times: time...time.addingTimeInterval(1)
        )
    }

    @Test func `a file keeps its ID and its numbers, and is its owner's alone`() async throws {
        let place = try TemporaryStore()
        let store = try open(place)
        #expect(store.id == Self.id)
        #expect(try await store.store(segment(1), at: noon) == .stored(sequence: 1))
        #expect(try await store.store(segment(.max), at: noon) == .stored(sequence: 2))
        #expect(try await store.store(segment(1), at: noon) == .known)
        try store.close()
        let again = try DecisionStore(
            path: place.directory + "/decisions.db",
            newID: Array(repeating: 6, count: 16),
            bytesMax: 64 << 20
        )
        #expect(again.id == Self.id)
        #expect(try await again.store(segment(2), at: noon) == .stored(sequence: 3))
        let rows = try await again.rows(after: 1, limit: 10)
        #expect(rows.map(\.number) == [.max, 2])
        #expect(rows.map(\.records) == [2, 2])
        let mode = try FileManager.default.attributesOfItem(
            atPath: place.directory + "/decisions.db"
        )[.posixPermissions]
        #expect(mode as? Int == 0o600)
    }

    @Test func `segments are found by decision and by time`() async throws {
        let place = try TemporaryStore()
        let store = try open(place)
        for number in 1...3 as ClosedRange<UInt64> {
            let time = noon.addingTimeInterval(Double(number) * 100)
            _ = try await store.store(segment(number, at: time), at: noon)
        }
        #expect(try await store.segments(holding: "id-2").map(\.row.sequence) == [2])
        #expect(try await store.segments(holding: "both").count == 3)
        #expect(try await store.segments(holding: "none").isEmpty)
        let second = noon.addingTimeInterval(200.5)
        #expect(try await store.segments(of: second...second).map(\.row.number) == [2])
        let rest = try await store.segments(of: noon...noon.addingTimeInterval(900), after: 1)
        #expect(rest.map(\.row.number) == [2, 3])
    }

    @Test func `what is old goes first, and its row stays while its digest is needed`() async throws
    {
        let place = try TemporaryStore()
        let store = try open(place)
        for number in 1...4 as ClosedRange<UInt64> {
            let time = noon.addingTimeInterval(Double(number))
            _ = try await store.store(segment(number), at: time)
        }
        try await store.digested(through: 3)
        #expect(try await store.trim(storedBefore: noon.addingTimeInterval(2.5), bytesMax: .max))
        #expect(
            try await !store.trim(storedBefore: noon.addingTimeInterval(2.5), bytesMax: .max)
        )
        var page = try await store.segments(after: 0).page
        #expect(page.map(\.row.sequence) == [1, 2, 3, 4])
        #expect(page.map { $0.content == nil } == [true, true, false, false])
        #expect(try await store.status().oldestSequence == 3)
        #expect(try await store.segments(holding: "id-1").isEmpty)
        // The third was the last of its digest.
        _ = try await store.trim(storedBefore: noon.addingTimeInterval(3.5), bytesMax: .max)
        page = try await store.segments(after: 0).page
        #expect(page.map(\.row.sequence) == [4])
        _ = try await store.trim(storedBefore: noon.addingTimeInterval(9), bytesMax: .max)
        let status = try await store.status()
        #expect(status.oldest == nil)
        #expect(status.oldestSequence == 5)
    }

    @Test func `more than the quota is not kept, and the file takes no more than its limit`()
        async throws
    {
        let place = try TemporaryStore()
        let store = try open(place, bytesMax: 4 << 20)
        var stored: UInt64 = 0
        for number in 1...16 as ClosedRange<UInt64> {
            do throws(DatastoreError) {
                _ = try await store.store(segment(number, bytes: 1 << 19), at: noon)
                stored = number
            } catch {
                #expect(error == .full)
            }
        }
        #expect(stored > 2 && stored < 16)
        while try await store.trim(storedBefore: nil, bytesMax: 1 << 20) {}
        #expect(try await store.status().bytes <= 1 << 20)
        // There is room again.
        #expect(
            try await store.store(segment(99, bytes: 1 << 19), at: noon)
                == .stored(sequence: stored + 1)
        )
    }

    @Test func `a file that must not grow takes what it has room for in itself`() async throws {
        let place = try TemporaryStore()
        let store = try open(place)
        #expect(
            try await store.store(segment(1, bytes: 1 << 19), at: noon, mayGrow: false) == .noRoom
        )
        for number in 1...8 as ClosedRange<UInt64> {
            _ = try await store.store(segment(number, bytes: 1 << 19), at: noon)
        }
        #expect(try await store.store(segment(9), at: noon, mayGrow: false) == .noRoom)
        #expect(try await store.store(segment(8), at: noon, mayGrow: false) == .known)
        while try await store.trim(storedBefore: nil, bytesMax: 1 << 20) {}
        #expect(try await store.status().spareBytes > DecisionStore.spareBytesMin)
        let outcome = try await store.store(segment(9), at: noon, mayGrow: false)
        #expect(outcome == .stored(sequence: 9))
    }

    @Test func `a clock that goes back changes no order`() async throws {
        let place = try TemporaryStore()
        let store = try open(place)
        for (number, seconds) in zip(1...3 as ClosedRange<UInt64>, [10.0, 2, 20]) {
            _ = try await store.store(segment(number), at: noon.addingTimeInterval(seconds))
        }
        let times = try await store.rows(after: 0, limit: 9).map(\.storedAt)
        #expect(times == [10, 10, 20].map { noon.addingTimeInterval($0) })
        #expect(
            try await !store.trim(storedBefore: noon.addingTimeInterval(5), bytesMax: .max)
        )
    }

    @Test func `what no leaf covers any more keeps its rows`() async throws {
        let place = try TemporaryStore()
        let store = try open(place)
        for number in 1...3 as ClosedRange<UInt64> {
            _ = try await store.store(segment(number), at: noon)
        }
        try await store.digested(through: 1)
        try await store.digested(through: 3)
        try await store.undigested(after: 1)
        while try await store.trim(storedBefore: noon.addingTimeInterval(1), bytesMax: .max) {}
        #expect(try await store.rows(after: 0, limit: 9).map(\.sequence) == [2, 3])
    }

    @Test func `numbers go on after those that the audit log knows`() async throws {
        let place = try TemporaryStore()
        let store = try open(place)
        try await store.goOn(after: 7)
        try await store.goOn(after: 3)
        #expect(try await store.store(segment(1), at: noon) == .stored(sequence: 8))
    }

    @Test func `another program's file is refused and left as it is`() throws {
        let place = try TemporaryStore()
        let path = place.directory + "/decisions.db"
        _ = try ServerStore(path: path)
        #expect(throws: DatastoreError.foreignFile) { try open(place) }
    }
}
