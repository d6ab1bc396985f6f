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
    /// Leaves of the given events in order, from index `first` to below `end`, at most `limit`.
    package func leaves(
        events: [String],
        from first: UInt64,
        below end: UInt64,
        limit: Int
    ) throws(DatastoreError) -> [StoredLeaf] {
        let places = Array(repeating: "?", count: events.count).joined(separator: ", ")
        return try all(
            """
            SELECT leaf, bytes, hash FROM audit_leaves
            WHERE leaf >= ? AND leaf < ? AND +event IN (\(places)) ORDER BY leaf LIMIT ?
            """,
            StatementArguments([first.stored, end.stored]) + StatementArguments(events) + [limit],
            StoredLeaf.init
        )
    }

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

    /// The lowest index of a leaf that an intent names; nil without intents.
    package func firstIntentLeaf() throws(DatastoreError) -> UInt64? {
        try first("SELECT leaf FROM intents ORDER BY leaf LIMIT 1") { row in
            try row.number("leaf")
        }
    }

    /// The lowest index of a leaf of this time or later; nil if there is none.
    package func firstLeaf(since time: Date) throws(DatastoreError) -> UInt64? {
        try first(
            "SELECT min(leaf) AS leaf FROM audit_leaves WHERE time >= ?",
            [time.storedMilliseconds]
        ) { row in
            try row.optional("leaf", as: Int64.self).map { UInt64(clamping: $0) }
        } ?? nil
    }

    /// The newest leaf of an event below `index`; nil if there is none.
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
