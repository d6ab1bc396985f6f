// SPDX-License-Identifier: Apache-2.0

internal import GRDB
package import NodeSync
package import SPIFFE

/// That one resource changed, under which number; the content is read where it lies.
package struct StoredChange: Hashable, Sendable {
    /// The revision number of the latest change of this resource.
    package let number: UInt64
    package let key: ResourceKey
    /// Whether the resource no longer exists.
    package let isRemoval: Bool
    /// What nodes had to show at the start of the range to be in the scope of an entry or a Proxy.
    ///
    /// They must hear of the change even if they no longer match. Nil when it did not exist then,
    /// and for other resources.
    package let priorNodeSelectors: [Selector]?

    package init(
        number: UInt64,
        key: ResourceKey,
        isRemoval: Bool,
        priorNodeSelectors: [Selector]? = nil
    ) {
        self.number = number
        self.key = key
        self.isRemoval = isRemoval
        self.priorNodeSelectors = priorNodeSelectors
    }
}

/// What lies between a subscriber's revision and now.
package enum StoredChanges: Hashable, Sendable {
    /// The changes in order; `changes` has every resource once, at its latest change.
    case delta([StoredChange])
    /// The changes are trimmed, too many, or of a future that this store does not know.
    case snapshotNeeded
}

/// Bounds of the list of changes.
package enum ChangeRetention {
    /// Changes kept for deltas; whoever was away longer gets a snapshot.
    ///
    /// Some 20 MB, and at 10 changes a second more than five hours of absence.
    package static let rowsMax = 200_000
}

extension ReadTransaction {
    /// What changed after revision number `number`, at most `limit` changes.
    ///
    /// Read it in the same transaction as `revision()`: together they are one delta.
    ///
    /// - Throws: `DatastoreError.notEstablished`.
    package func changes(
        after number: UInt64,
        limit: Int
    ) throws(DatastoreError) -> StoredChanges {
        switch try eachChange(after: number, limit: limit) {
        case .delta(let rows): .delta(Self.merged(rows))
        case .snapshotNeeded: .snapshotNeeded
        }
    }

    /// Like `changes`, but each change by itself: who must hear of a range is also who held a
    /// resource in the middle of it.
    package func eachChange(
        after number: UInt64,
        limit: Int
    ) throws(DatastoreError) -> StoredChanges {
        let bounds = try first("SELECT changes_floor, revision FROM meta") { row in
            (floor: try row.number("changes_floor"), current: try row.number("revision"))
        }
        guard let bounds else { throw .notEstablished }
        guard number >= bounds.floor, number <= bounds.current else { return .snapshotNeeded }
        let rows = try all(
            """
            SELECT number, type, name, removed, prior_node_selectors FROM changes
            WHERE number > ? ORDER BY number, type, name LIMIT ?
            """,
            [number.stored, Int64(limit) + 1]
        ) { row in
            guard let type = ResourceType(rawValue: try row.value("type")) else {
                throw DatastoreError.corrupt("a change of an unknown resource type")
            }
            return StoredChange(
                number: try row.number("number"),
                key: ResourceKey(type, try row.value("name")),
                isRemoval: try row.value("removed"),
                priorNodeSelectors: try row.optional("prior_node_selectors", as: String.self)
                    .map(Selector.list(stored:))
            )
        }
        return rows.count > limit ? .snapshotNeeded : .delta(rows)
    }

    /// One change per resource: where it ended, and the scope it had at the start.
    private static func merged(_ changes: [StoredChange]) -> [StoredChange] {
        var first: [ResourceKey: StoredChange] = [:]
        var last: [ResourceKey: UInt64] = [:]
        for change in changes {
            if first[change.key] == nil { first[change.key] = change }
            last[change.key] = change.number
        }
        return changes.compactMap { change in
            guard last[change.key] == change.number else { return nil }
            return StoredChange(
                number: change.number,
                key: change.key,
                isRemoval: change.isRemoval,
                priorNodeSelectors: first[change.key]?.priorNodeSelectors
            )
        }
    }
}

extension Transaction {
    /// Records that `key` changed under `number`; entries, Proxies and revocations do this
    /// themselves.
    ///
    /// - Throws: `DatastoreError.revisionNotAdvanced` unless this transaction has taken `number`.
    package func recordChange(
        _ key: ResourceKey,
        number: UInt64,
        isRemoval: Bool,
        priorNodeSelectors: [Selector]? = nil
    ) throws(DatastoreError) {
        try requireTaken(number)
        // The scope before a number is that of its first change; only the end may still move.
        try execute(
            """
            INSERT INTO changes (number, type, name, removed, prior_node_selectors)
            VALUES (?, ?, ?, ?, ?)
            ON CONFLICT (number, type, name) DO UPDATE SET removed = excluded.removed
            """,
            [number.stored, key.type.rawValue, key.name, isRemoval, priorNodeSelectors?.stored]
        )
    }

    /// Forgets the oldest changes beyond `rowsMax`, deleting at most `limit` rows.
    ///
    /// Whole numbers become unusable for deltas before the first of their rows is deleted.
    ///
    /// - Returns: whether rows are left to delete.
    package func trimChanges(
        keeping rowsMax: Int = ChangeRetention.rowsMax,
        limit: Int
    ) throws(DatastoreError) -> Bool {
        let newestDropped = try first(
            "SELECT number FROM changes ORDER BY number DESC, type DESC, name DESC LIMIT 1 OFFSET ?",
            [rowsMax]
        ) { row in try row.number("number") }
        if let newestDropped {
            try execute(
                "UPDATE meta SET changes_floor = max(changes_floor, ?)",
                [newestDropped.stored]
            )
        }
        let deleted = try execute(
            """
            DELETE FROM changes WHERE (number, type, name) IN (
                SELECT number, type, name FROM changes
                WHERE number <= (SELECT changes_floor FROM meta) LIMIT ?)
            """,
            [limit]
        )
        return deleted == limit
    }
}
