// SPDX-License-Identifier: Apache-2.0

package import FoundationEssentials
internal import GRDB

/// Segments of the agents' decision logs: a SQLite file of its own.
///
/// Nothing here shares a connection, a queue or a transaction with `ServerStore`, so that traffic
/// never makes an act wait (docs/decisions/0011-decision-log.md). A commit is not synced: what a
/// power cut takes is missed by the digests in the audit log.
package final class DecisionStore: Sendable {
    /// Bytes of a store's ID.
    package static let idBytes = 16
    /// Segments removed by one call: some ten milliseconds in which uploads wait.
    package static let trimmedAtOnceMax = 64
    /// Most bytes of segments in one page, the last one not counted.
    package static let pageBytesMax = 1 << 20
    /// Most segments in one page.
    package static let pageSegmentsMax = 500
    /// Least free bytes in the file, beside twice the segment's own, for one to be stored without
    /// growth: pages of the indexes that split.
    package static let spareBytesMin = 1 << 20
    /// Most segments that are looked into for one decision: an ID is in one, if nobody lies.
    package static let holdersMax = 8

    /// "SGND", by which file(1) and this code know the file.
    static let applicationID: Int32 = 0x5347_4E44
    static let schemaVersion = 1

    /// Drawn at random when the file was made.
    package let id: [UInt8]
    let pool: DatabasePool

    /// Opens the file at `path`, or creates it (mode 0600).
    ///
    /// - Parameters:
    ///   - path: Where it is.
    ///   - newID: The ID of a file that is created: 16 random bytes.
    ///   - bytesMax: At this size the file takes no more.
    /// - Throws: As `ServerStore` does.
    package init(path: String, newID: [UInt8], bytesMax: Int) throws(DatastoreError) {
        precondition(newID.count == Self.idBytes, "a store's ID has 16 bytes")
        do {
            pool = try Self.openPool(path: path, newID: newID, bytesMax: bytesMax)
            id = try pool.read { database in
                let row = try Row.fetchOne(database, sql: "SELECT store_id FROM meta")
                guard let row else { throw DatastoreError.corrupt("the store has no ID") }
                return try row.bytes("store_id")
            }
        } catch {
            throw DatastoreError(error)
        }
    }

    /// Closes the file.
    package func close() throws(DatastoreError) {
        do {
            try pool.close()
        } catch {
            throw DatastoreError(error)
        }
    }

    // Neither ends early with its caller's task: who goes away in the middle of an upload would
    // otherwise look like a store that fails.

    func read<Value: Sendable>(
        _ body: @escaping @Sendable (Database) throws -> Value
    ) async throws(DatastoreError) -> Value {
        do {
            return try await withCheckedThrowingContinuation { continuation in
                pool.asyncRead { database in
                    continuation.resume(with: Result { try body(try database.get()) })
                }
            }
        } catch {
            throw DatastoreError(error)
        }
    }

    func write<Value: Sendable>(
        _ body: @escaping @Sendable (Database) throws -> Value
    ) async throws(DatastoreError) -> Value {
        do {
            return try await withCheckedThrowingContinuation { continuation in
                pool.asyncWrite(body) { _, result in continuation.resume(with: result) }
            }
        } catch {
            throw DatastoreError(error)
        }
    }
}

/// A segment to be stored, as the server has read it.
package struct NewDecisionSegment: Hashable, Sendable {
    /// SPIFFE ID of the agent that sent it, as the server knows it.
    package let agent: String
    package let spool: [UInt8]
    package let number: UInt64
    package let digest: [UInt8]
    /// The bytes as they came.
    package let content: [UInt8]
    /// How many records it has, and how many its agent says were lost.
    package let records: Int
    package let lost: UInt64
    /// The IDs of the decisions in it.
    package let decisions: [String]
    /// When the first and the last of its records happened; its making if it has none.
    package let times: ClosedRange<Date>

    package init(
        agent: String,
        spool: [UInt8],
        number: UInt64,
        digest: [UInt8],
        content: [UInt8],
        records: Int,
        lost: UInt64,
        decisions: [String],
        times: ClosedRange<Date>
    ) {
        self.agent = agent
        self.spool = spool
        self.number = number
        self.digest = digest
        self.content = content
        self.records = records
        self.lost = lost
        self.decisions = decisions
        self.times = times
    }
}

/// What became of a segment.
package enum DecisionStoring: Hashable, Sendable {
    /// Another one of that agent, spool and number is stored.
    case differs
    /// It was stored before.
    case known
    /// The file has no room in itself, and must not grow.
    case noRoom
    case stored(sequence: UInt64)
}

/// One stored segment without its content.
package struct DecisionSegmentRow: Hashable, Sendable {
    /// Counts all segments of a store, from 1.
    package let sequence: UInt64
    package let agent: String
    package let spool: [UInt8]
    package let number: UInt64
    package let digest: [UInt8]
    package let storedAt: Date
    package let records: UInt64
    package let lost: UInt64

    init(_ row: Row) throws(DatastoreError) {
        sequence = try row.number("sequence")
        agent = try row.value("agent")
        spool = try row.bytes("spool")
        number = UInt64(bitPattern: try row.value("number", as: Int64.self))
        digest = try row.bytes("sha256")
        storedAt = try row.date("stored_at")
        records = try row.number("records")
        lost = try row.number("lost")
    }
}

/// One stored segment.
package struct StoredDecisionSegment: Hashable, Sendable {
    package let row: DecisionSegmentRow
    /// Nil if it is kept no more.
    package let content: [UInt8]?

    init(_ row: Row) throws(DatastoreError) {
        self.row = try DecisionSegmentRow(row)
        content = try row.optional("content", as: Data.self).map { Array($0) }
    }
}

/// How much a store holds.
package struct DecisionStoreStatus: Hashable, Sendable {
    /// Of the pages in use.
    package let bytes: UInt64
    /// Of the pages that what was removed has left, and new segments take.
    package let spareBytes: UInt64
    /// When the oldest segment whose content is kept was stored.
    package let oldest: Date?
    /// Its sequence number; one more than the newest if none is kept.
    package let oldestSequence: UInt64
}
