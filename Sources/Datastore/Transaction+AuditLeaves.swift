// SPDX-License-Identifier: Apache-2.0

package import FoundationEssentials
internal import GRDB

/// What queries know about a leaf without parsing it.
package struct AuditLeafFields: Hashable, Sendable {
    package let time: Date
    package let event: String
    package let actor: String
    /// Every namespace that the leaf names.
    package let namespaces: [String]
    package let spiffeIDs: [String]
    /// Serial numbers as the leaf writes them.
    package let serials: [String]

    package init(
        time: Date,
        event: String,
        actor: String,
        namespaces: [String],
        spiffeIDs: [String],
        serials: [String]
    ) {
        self.time = time
        self.event = event
        self.actor = actor
        self.namespaces = namespaces
        self.spiffeIDs = spiffeIDs
        self.serials = serials
    }
}

/// A leaf of the audit log.
package struct StoredLeaf: Hashable, Sendable {
    /// Its place in the tree, from 0, without gaps.
    package let index: UInt64
    package let bytes: [UInt8]
    /// RFC 6962 section 2.1: SHA-256 over 0x00 and the bytes.
    package let hash: [UInt8]

    package init(index: UInt64, bytes: [UInt8], hash: [UInt8]) {
        self.index = index
        self.bytes = bytes
        self.hash = hash
    }
}

/// Which leaves to find; nil fields do not restrict.
package struct AuditLeafFilter: Hashable, Sendable {
    package var event: String?
    package var actor: String?
    package var namespace: String?
    package var spiffeID: String?
    package var serial: String?
    /// Leaves of this time and later.
    package var since: Date?
    /// Leaves before this time.
    package var before: Date?

    package init() {}
}

/// The saved right edge of the tree, an opaque value of the audit log.
package struct AuditFrontier: Hashable, Sendable {
    /// How many leaves it covers; leaves appended since must be added to it.
    package let size: UInt64
    package let bytes: [UInt8]

    package init(size: UInt64, bytes: [UInt8]) {
        self.size = size
        self.bytes = bytes
    }
}

extension ReadTransaction {
    /// The number of leaves.
    package func auditSize() throws(DatastoreError) -> UInt64 {
        let size = try first("SELECT size FROM audit_tree") { row in try row.number("size") }
        guard let size else { throw .corrupt("the row of the audit tree is missing") }
        return size
    }

    /// The log's name as a restore has given it; nil of the first log of a server, which is named
    /// after trust domain and server.
    package func auditOrigin() throws(DatastoreError) -> String? {
        let origins = try all("SELECT origin FROM audit_tree") { row throws(DatastoreError) in
            try row.optional("origin", as: String.self)
        }
        guard let origin = origins.first else {
            throw .corrupt("the row of the audit tree is missing")
        }
        return origin
    }

    /// The frontier as last saved; of size 0 and empty before the first time.
    package func auditFrontier() throws(DatastoreError) -> AuditFrontier {
        let frontier = try first("SELECT frontier_size, frontier FROM audit_tree") { row in
            AuditFrontier(
                size: try row.number("frontier_size"),
                bytes: try row.bytes("frontier")
            )
        }
        guard let frontier else { throw .corrupt("the row of the audit tree is missing") }
        return frontier
    }

    /// Leaves in order, beginning with index `first`, at most `limit`.
    package func leaves(
        from first: UInt64,
        limit: Int
    ) throws(DatastoreError) -> [StoredLeaf] {
        try all(
            "SELECT leaf, bytes, hash FROM audit_leaves WHERE leaf >= ? ORDER BY leaf LIMIT ?",
            [first.stored, limit],
            StoredLeaf.init
        )
    }

    /// Leaves that the filter lets through, at most `limit`.
    ///
    /// - Parameters:
    ///   - filter: what the leaves have in common.
    ///   - limit: the size of the page.
    ///   - index: the last leaf of the page before, in the same order.
    ///   - newestFirst: the order; oldest first otherwise.
    /// - Returns: leaves in the order asked for.
    /// - Throws: `DatastoreError` of the engine only.
    package func queryLeaves(
        _ filter: AuditLeafFilter,
        limit: Int,
        after index: UInt64? = nil,
        newestFirst: Bool = false
    ) throws(DatastoreError) -> [StoredLeaf] {
        var conditions = Conditions()
        conditions.add(newestFirst ? "leaf < ?" : "leaf > ?", index?.stored)
        conditions.add("event = ?", filter.event)
        conditions.add("actor = ?", filter.actor)
        conditions.add(
            "leaf IN (SELECT leaf FROM audit_namespaces WHERE namespace = ?)",
            filter.namespace
        )
        conditions.add("time >= ?", filter.since?.storedMilliseconds)
        conditions.add("time < ?", filter.before?.storedMilliseconds)
        conditions.add(
            "leaf IN (SELECT leaf FROM audit_spiffe_ids WHERE spiffe_id = ?)",
            filter.spiffeID
        )
        conditions.add(
            "leaf IN (SELECT leaf FROM audit_serials WHERE serial = ?)",
            filter.serial
        )
        return try all(
            """
            SELECT leaf, bytes, hash FROM audit_leaves WHERE \(conditions.sql)
            ORDER BY leaf \(newestFirst ? "DESC" : "ASC") LIMIT ?
            """,
            conditions.arguments + [limit],
            StoredLeaf.init
        )
    }
}

extension Transaction {
    /// Appends a leaf and returns its index; the same transaction holds the act it tells of.
    package func appendLeaf(
        bytes: [UInt8],
        hash: [UInt8],
        fields: AuditLeafFields
    ) throws(DatastoreError) -> UInt64 {
        let index = try auditSize()
        try execute(
            """
            INSERT INTO audit_leaves (leaf, bytes, hash, time, event, actor)
            VALUES (?, ?, ?, ?, ?, ?)
            """,
            [
                index.stored, bytes.stored, hash.stored, fields.time.storedMilliseconds,
                fields.event, fields.actor,
            ]
        )
        try execute("UPDATE audit_tree SET size = size + 1")
        for namespace in Set(fields.namespaces) {
            try execute(
                "INSERT INTO audit_namespaces (namespace, leaf) VALUES (?, ?)",
                [namespace, index.stored]
            )
        }
        for spiffeID in Set(fields.spiffeIDs) {
            try execute(
                "INSERT INTO audit_spiffe_ids (spiffe_id, leaf) VALUES (?, ?)",
                [spiffeID, index.stored]
            )
        }
        for serial in Set(fields.serials) {
            try execute(
                "INSERT INTO audit_serials (serial, leaf) VALUES (?, ?)",
                [serial, index.stored]
            )
        }
        return index
    }

    /// Names the log.
    ///
    /// - Throws: `DatastoreError.constraint` when it has records already: each was signed for under
    ///   the name that it had.
    package func setAuditOrigin(_ origin: String) throws(DatastoreError) {
        let named = try execute("UPDATE audit_tree SET origin = ? WHERE size = 0", [origin])
        guard named == 1 else { throw .constraint("the audit log has records already") }
    }

    /// Saves the frontier of the first `frontier.size` leaves.
    ///
    /// - Throws: `DatastoreError.constraint` when there are fewer leaves.
    package func saveAuditFrontier(_ frontier: AuditFrontier) throws(DatastoreError) {
        try execute(
            "UPDATE audit_tree SET frontier_size = ?, frontier = ?",
            [frontier.size.stored, frontier.bytes.stored]
        )
    }
}

extension StoredLeaf {
    init(_ row: Row) throws(DatastoreError) {
        self.init(
            index: try row.number("leaf"),
            bytes: try row.bytes("bytes"),
            hash: try row.bytes("hash")
        )
    }
}
