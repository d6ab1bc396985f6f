// SPDX-License-Identifier: Apache-2.0

package import FoundationEssentials
internal import GRDB

extension DecisionStore {
    private static let columns = """
        segments.sequence, agent, spool, number, sha256, stored_at, records, lost
        """

    /// Stores a segment, once.
    ///
    /// What is stored later is never said to be stored earlier, whatever the clock does: the order
    /// of the numbers is that in which segments are removed.
    ///
    /// - Parameters:
    ///   - segment: What is to be stored.
    ///   - now: The wall clock.
    ///   - mayGrow: Whether the file may take more of the disk.
    /// - Returns: Whether it is stored, or was; else nothing has changed.
    /// - Throws: `DatastoreError`; then nothing has changed either.
    package func store(
        _ segment: NewDecisionSegment,
        at now: Date,
        mayGrow: Bool = true
    ) async throws(DatastoreError) -> DecisionStoring {
        try await write { database in
            let stored = try Data.fetchOne(
                database,
                sql: "SELECT sha256 FROM segments WHERE agent = ? AND spool = ? AND number = ?",
                arguments: [segment.agent, segment.spool.stored, segment.storedNumber]
            )
            if let stored { return Array(stored) == segment.digest ? .known : .differs }
            let needed = UInt64(2 * segment.content.count + Self.spareBytesMin)
            guard try mayGrow || Self.spareBytes(database) >= needed else { return .noRoom }
            let last = try Int64.fetchOne(
                database,
                sql: "SELECT stored_at FROM segments ORDER BY sequence DESC LIMIT 1"
            )
            let storedAt = max(now.storedMilliseconds, last ?? .min)
            let sequence = try Int64.fetchOne(
                database,
                sql: "UPDATE meta SET next_sequence = next_sequence + 1 RETURNING next_sequence - 1"
            )
            guard let sequence, sequence > 0 else {
                throw DatastoreError.corrupt("the store has no next number")
            }
            try database.execute(
                sql: """
                    INSERT INTO segments (sequence, agent, spool, number, sha256, stored_at,
                        first_time, last_time, records, lost)
                    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
                    """,
                arguments: [
                    sequence, segment.agent, segment.spool.stored, segment.storedNumber,
                    segment.digest.stored, storedAt,
                    segment.times.lowerBound.storedMilliseconds,
                    segment.times.upperBound.storedMilliseconds, segment.records,
                    segment.lost.stored,
                ]
            )
            try database.execute(
                sql: "INSERT INTO contents VALUES (?, ?)",
                arguments: [sequence, segment.content.stored]
            )
            let statement = try database.cachedStatement(
                sql: "INSERT OR IGNORE INTO decisions VALUES (?, ?)"
            )
            for id in segment.decisions { try statement.execute(arguments: [id, sequence]) }
            return .stored(sequence: UInt64(sequence))
        }
    }

    /// Sees to it that no number up to `sequence` is given out again.
    ///
    /// For a file that was put back to an older state than the audit log knows of.
    package func goOn(after sequence: UInt64) async throws(DatastoreError) {
        try await write { database in
            try database.execute(
                sql: "UPDATE meta SET next_sequence = max(next_sequence, ?)",
                arguments: [(sequence + 1).stored]
            )
        }
    }

    // MARK: - Reading

    /// Segments in order, as many as a page holds.
    package func segments(
        after sequence: UInt64
    ) async throws(DatastoreError) -> (page: [StoredDecisionSegment], more: Bool) {
        try await read { database in
            let cursor = try Row.fetchCursor(
                database,
                sql: """
                    SELECT \(Self.columns), content
                    FROM segments LEFT JOIN contents USING (sequence)
                    WHERE sequence > ? ORDER BY sequence
                    """,
                arguments: [sequence.stored]
            )
            var (page, bytes): ([StoredDecisionSegment], Int) = ([], 0)
            while let row = try cursor.next() {
                guard bytes < Self.pageBytesMax, page.count < Self.pageSegmentsMax else {
                    return (page, true)
                }
                let segment = try StoredDecisionSegment(row)
                bytes += segment.content?.count ?? 0
                page.append(segment)
            }
            return (page, false)
        }
    }

    /// The segments that hold a decision, oldest first; at most `holdersMax`.
    package func segments(
        holding decision: String
    ) async throws(DatastoreError) -> [StoredDecisionSegment] {
        try await read { database in
            try Row.fetchAll(
                database,
                sql: """
                    SELECT \(Self.columns), content
                    FROM decisions JOIN segments USING (sequence) JOIN contents USING (sequence)
                    WHERE decisions.id = ? ORDER BY sequence LIMIT ?
                    """,
                arguments: [decision, Self.holdersMax]
            )
            .map { try StoredDecisionSegment($0) }
        }
    }

    /// Segments with records of a time, in order; at most a page of them.
    package func segments(
        of times: ClosedRange<Date>,
        after sequence: UInt64 = 0
    ) async throws(DatastoreError) -> [StoredDecisionSegment] {
        try await read { database in
            let cursor = try Row.fetchCursor(
                database,
                sql: """
                    SELECT \(Self.columns), content
                    FROM segments JOIN contents USING (sequence)
                    WHERE last_time >= ? AND first_time <= ? AND sequence > ?
                    ORDER BY sequence LIMIT ?
                    """,
                arguments: [
                    times.lowerBound.storedMilliseconds, times.upperBound.storedMilliseconds,
                    sequence.stored, Self.pageSegmentsMax,
                ]
            )
            var (page, bytes): ([StoredDecisionSegment], Int) = ([], 0)
            while bytes < Self.pageBytesMax, let row = try cursor.next() {
                let segment = try StoredDecisionSegment(row)
                bytes += segment.content?.count ?? 0
                page.append(segment)
            }
            return page
        }
    }

    // MARK: - Digests

    /// Segments after a number, in order, without their content.
    package func rows(
        after sequence: UInt64,
        limit: Int
    ) async throws(DatastoreError) -> [DecisionSegmentRow] {
        try await read { database in
            try Row.fetchAll(
                database,
                sql: """
                    SELECT \(Self.columns) FROM segments
                    WHERE sequence > ? ORDER BY sequence LIMIT ?
                    """,
                arguments: [sequence.stored, limit]
            )
            .map { try DecisionSegmentRow($0) }
        }
    }

    /// An audit leaf covers everything up to a number that none covered before.
    package func digested(through sequence: UInt64) async throws(DatastoreError) {
        try await write { database in
            try database.execute(
                sql: """
                    UPDATE segments SET digested_with = ?
                    WHERE digested_with IS NULL AND sequence <= ?
                    """,
                arguments: [sequence.stored, sequence.stored]
            )
        }
    }

    /// Takes back that leaves cover what lies after a number.
    ///
    /// For an audit log that was put back to an older state than the file knows of: those leaves
    /// are gone, and new ones will cover it.
    package func undigested(after sequence: UInt64) async throws(DatastoreError) {
        try await write { database in
            try database.execute(
                sql: "UPDATE segments SET digested_with = NULL WHERE digested_with > ?",
                arguments: [sequence.stored]
            )
        }
    }

    // MARK: - Room

    /// How much there is.
    package func status() async throws(DatastoreError) -> DecisionStoreStatus {
        try await read { database in
            let row = try Row.fetchOne(
                database,
                sql: """
                    SELECT sequence, stored_at FROM segments
                    WHERE sequence = (SELECT min(sequence) FROM contents)
                    """
            )
            let next = try Int64.fetchOne(database, sql: "SELECT next_sequence FROM meta") ?? 1
            return DecisionStoreStatus(
                bytes: try Self.usedBytes(database),
                spareBytes: try Self.spareBytes(database),
                oldest: try row?.date("stored_at"),
                oldestSequence: try row?.number("sequence") ?? UInt64(clamping: next)
            )
        }
    }

    /// Removes the content of the oldest segments, a bounded number of them.
    ///
    /// What remains of a segment goes when nothing is kept of all that its audit leaf covers.
    ///
    /// - Parameters:
    ///   - date: What was stored before goes; nil: nothing for its age.
    ///   - bytesMax: More than that is not kept.
    /// - Returns: Whether there may be more to remove.
    /// - Throws: `DatastoreError`; then nothing was removed.
    package func trim(
        storedBefore date: Date?,
        bytesMax: UInt64
    ) async throws(DatastoreError) -> Bool {
        try await write { database in
            let isFull = try Self.usedBytes(database) > bytesMax
            // Up to the first that stays: one that is missing among others would look taken away.
            let oldest = try Int64.fetchAll(
                database,
                sql: """
                    WITH oldest AS (
                        SELECT sequence, stored_at
                        FROM (SELECT sequence FROM contents ORDER BY sequence LIMIT ?)
                            JOIN segments USING (sequence)
                    )
                    SELECT sequence FROM oldest
                    WHERE ? OR sequence < coalesce(
                        (SELECT min(sequence) FROM oldest WHERE stored_at >= ?), sequence + 1)
                    ORDER BY sequence
                    """,
                arguments: [
                    Self.trimmedAtOnceMax, isFull, date?.storedMilliseconds ?? Int64.min,
                ]
            )
            guard let last = oldest.last else { return false }
            for sequence in oldest {
                try database.execute(
                    sql: "DELETE FROM decisions WHERE sequence = ?",
                    arguments: [sequence]
                )
                try database.execute(
                    sql: "DELETE FROM contents WHERE sequence = ?",
                    arguments: [sequence]
                )
            }
            try database.execute(
                sql: "UPDATE meta SET trimmed_through = max(trimmed_through, ?)",
                arguments: [last]
            )
            try database.execute(
                sql: """
                    DELETE FROM segments
                    WHERE digested_with <= (SELECT trimmed_through FROM meta)
                        AND sequence NOT IN (SELECT sequence FROM contents)
                    """
            )
            return true
        }
    }

    private static func usedBytes(_ database: Database) throws -> UInt64 {
        let pages = try number("page_count", database)
        return try (pages - min(number("freelist_count", database), pages))
            * number("page_size", database)
    }

    private static func spareBytes(_ database: Database) throws -> UInt64 {
        try number("freelist_count", database) * number("page_size", database)
    }

    private static func number(_ pragma: String, _ database: Database) throws -> UInt64 {
        UInt64(clamping: try Int64.fetchOne(database, sql: "PRAGMA \(pragma)") ?? 0)
    }
}

extension NewDecisionSegment {
    /// SQLite has signed integers; each number has its own.
    fileprivate var storedNumber: Int64 { Int64(bitPattern: number) }
}
