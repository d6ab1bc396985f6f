// SPDX-License-Identifier: Apache-2.0

package import FoundationEssentials
internal import GRDB

/// Where a reading of the intents by their records has come to: after this one.
package struct IntentPlace: Hashable, Sendable {
    package let leafIndex: UInt64
    /// Empty: before the first of the leaf.
    package let serial: [UInt8]

    package init(leafIndex: UInt64, serial: [UInt8] = []) {
        self.leafIndex = leafIndex
        self.serial = serial
    }
}

/// What reading again all that was issued needs (docs/decisions/0020-authorities-under-another.md).
extension ReadTransaction {
    /// Intents by their records: after `place`, of leaves below `end`, at most `limit`.
    package func intents(
        after place: IntentPlace,
        leavesBelow end: UInt64,
        limit: Int
    ) throws(DatastoreError) -> [IssuanceIntent] {
        try all(
            """
            SELECT * FROM intents WHERE (leaf, serial) > (?, ?) AND leaf < ?
            ORDER BY leaf, serial LIMIT ?
            """,
            [place.leafIndex.stored, place.serial.stored, end.stored, limit],
            IssuanceIntent.init
        )
    }

    /// How many intents there are by their records after `place`, of leaves below `end`.
    package func intentCount(
        after place: IntentPlace,
        leavesBelow end: UInt64
    ) throws(DatastoreError) -> UInt64 {
        try first(
            "SELECT count(*) AS n FROM intents WHERE (leaf, serial) > (?, ?) AND leaf < ?",
            [place.leafIndex.stored, place.serial.stored, end.stored]
        ) { row in try row.number("n") } ?? 0
    }

    /// The lowest index of a leaf that an intent names; nil without intents of this log.
    package func firstIntentLeaf() throws(DatastoreError) -> UInt64? {
        try first("SELECT leaf FROM intents WHERE leaf >= 0 ORDER BY leaf LIMIT 1") { row in
            try row.number("leaf")
        }
    }

    /// Intents that name a leaf below zero: one of the log that a restore has ended
    /// (docs/decisions/0022-backup-and-restore.md); at most `limit`, by their serials.
    ///
    /// - Parameters:
    ///   - time: Only those of certificates that begin later; nil: all.
    ///   - limit: How many at most.
    /// - Returns: The intents.
    /// - Throws: `DatastoreError`.
    package func earlierLogIntents(
        beginningAfter time: Date? = nil,
        limit: Int
    ) throws(DatastoreError) -> [IssuanceIntent] {
        let after = time?.storedMilliseconds
        return try all(
            "SELECT * FROM intents WHERE \(Self.earlierLogSQL) ORDER BY serial LIMIT ?",
            [after, after, limit],
            IssuanceIntent.init
        )
    }

    /// How many intents name a leaf below zero.
    ///
    /// - Parameter time: Only those of certificates that begin later; nil: all.
    /// - Returns: Their number.
    /// - Throws: `DatastoreError`.
    package func earlierLogIntentCount(
        beginningAfter time: Date? = nil
    ) throws(DatastoreError) -> UInt64 {
        let after = time?.storedMilliseconds
        return try first(
            "SELECT count(*) AS n FROM intents WHERE \(Self.earlierLogSQL)",
            [after, after]
        ) { row in
            try row.number("n")
        } ?? 0
    }

    private static let earlierLogSQL = "leaf < 0 AND (? IS NULL OR not_before > ?)"

    /// The leaf of the first time that is this one or later, by the column; nil if there is none.
    ///
    /// One before it may be of a later time, as times and places are not given at once.
    package func firstLeaf(since time: Date) throws(DatastoreError) -> UInt64? {
        try first(Self.firstLeafSQL, [time.storedMilliseconds]) { row in
            try row.number("leaf")
        }
    }

    /// One step in the index by time; `min(leaf)` would go through all that follow.
    private static let firstLeafSQL =
        "SELECT leaf FROM audit_leaves WHERE time >= ? ORDER BY time LIMIT 1"

    /// How the engine looks for `firstLeaf`, one step in each line, for tests.
    package func firstLeafPlan() throws(DatastoreError) -> [String] {
        try all("EXPLAIN QUERY PLAN " + Self.firstLeafSQL, [0]) { row in
            try row.value("detail")
        }
    }

    /// When the oldest authority was activated that has signed what ends at `time` or later, as far
    /// as it is on record; nil if there is none.
    package func oldestActivation(
        signedUntil time: Date
    ) throws(DatastoreError) -> Date? {
        try first(
            """
            SELECT min(activated_at) AS time FROM authorities WHERE last_issued_not_after >= ?
            """,
            [time.storedMilliseconds]
        ) { row in
            try row.optionalDate("time")
        } ?? nil
    }

    /// The newest leaf of an event below `index`, by the column; nil if there is none.
    package func lastLeaf(
        event: String,
        below index: UInt64
    ) throws(DatastoreError) -> StoredLeaf? {
        try first(
            """
            SELECT leaf, bytes, hash FROM audit_leaves WHERE event = ? AND leaf < ?
            ORDER BY leaf DESC LIMIT 1
            """,
            [event, index.stored],
            StoredLeaf.init
        )
    }
}
