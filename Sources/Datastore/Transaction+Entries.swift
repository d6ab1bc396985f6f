// SPDX-License-Identifier: Apache-2.0

internal import FoundationEssentials
internal import GRDB
internal import NodeSync
package import SPIFFE

extension ReadTransaction {
    /// The entry with this id, nil when there is none.
    package func entry(id: String) throws(DatastoreError) -> RegistrationEntry? {
        try first("SELECT * FROM entries WHERE id = ?", [id], RegistrationEntry.init)
    }

    /// Every entry in the scope of a node that shows `selectors`, in order of their ids.
    ///
    /// An entry hangs on one of its node selectors, its anchor, so this reads only the entries
    /// whose anchor the node shows.
    package func entries(
        node selectors: Set<Selector>
    ) throws(DatastoreError) -> [RegistrationEntry] {
        let candidates = try all(
            """
            SELECT entries.* FROM node_selectors JOIN entries ON anchor = node_selectors.id
            WHERE selector IN (SELECT value FROM json_each(?))
            """,
            [try storedJSON(selectors.map(\.description)) ?? "[]"],
            RegistrationEntry.init
        )
        return candidates.filter { $0.matches(node: selectors) }.sorted { $0.id < $1.id }
    }

    /// How many entries are in the scope of a node that shows `selectors`; cheaper than reading
    /// them.
    package func entryCount(node selectors: Set<Selector>) throws(DatastoreError) -> Int {
        let shown = Set(selectors.map(\.description))
        return try all(
            """
            SELECT entries.node_selectors FROM node_selectors JOIN entries ON anchor = node_selectors.id
            WHERE selector IN (SELECT value FROM json_each(?))
            """,
            [try storedJSON(shown.sorted()) ?? "[]"]
        ) { row in try row.value("node_selectors", as: String.self) }
        .count { list in
            list.split(separator: "\n").allSatisfy { shown.contains(String($0)) }
        }
    }

    /// How many entries there are.
    package func entryCount() throws(DatastoreError) -> Int {
        try first("SELECT count(*) AS n FROM entries") { row in
            try row.value("n", as: Int.self)
        } ?? 0
    }

    /// Entries in order of their ids, those after `id`, at most `limit`.
    package func entries(
        after id: String? = nil,
        limit: Int,
        namespace: String? = nil
    ) throws(DatastoreError) -> [RegistrationEntry] {
        if let namespace {
            return try all(
                "SELECT * FROM entries WHERE namespace = ? AND id > ? ORDER BY id LIMIT ?",
                [namespace, id ?? "", limit],
                RegistrationEntry.init
            )
        }
        return try all(
            "SELECT * FROM entries WHERE id > ? ORDER BY id LIMIT ?",
            [id ?? "", limit],
            RegistrationEntry.init
        )
    }

    /// The entries of a namespace whose ID is this one, at most `limit`.
    package func entries(
        namespace: String,
        naming id: SPIFFEID,
        limit: Int
    ) throws(DatastoreError) -> [RegistrationEntry] {
        try all(
            """
            SELECT * FROM entries WHERE spiffe_id = ? AND namespace = ? ORDER BY id LIMIT ?
            """,
            [id.description, namespace, limit],
            RegistrationEntry.init
        )
    }

    /// The entries of a namespace whose ID has variables, at most `limit`.
    ///
    /// It takes as long as the namespace has entries, some 50 ms for 100,000.
    package func templates(
        namespace: String,
        limit: Int
    ) throws(DatastoreError) -> [RegistrationEntry] {
        try all(
            """
            SELECT * FROM entries WHERE namespace = ? AND instr(spiffe_id, '{') > 0
            ORDER BY id LIMIT ?
            """,
            [namespace, limit],
            RegistrationEntry.init
        )
    }

    /// How many entries of a namespace have an ID with variables.
    ///
    /// It takes as long as `templates`.
    package func templateCount(namespace: String) throws(DatastoreError) -> Int {
        try first(
            "SELECT count(*) AS n FROM entries WHERE namespace = ? AND instr(spiffe_id, '{') > 0",
            [namespace]
        ) { row in
            try row.value("n", as: Int.self)
        } ?? 0
    }

    /// Entries whose ID has variables and is `id` up to the first of them, at most `limit`.
    ///
    /// It takes one look into the index for each byte of the path, however many entries there are.
    package func templates(
        beginningAs id: SPIFFEID,
        limit: Int
    ) throws(DatastoreError) -> [RegistrationEntry] {
        let text = id.description
        return try all(
            """
            WITH RECURSIVE beginnings(bytes) AS (
                SELECT ? UNION ALL SELECT bytes + 1 FROM beginnings WHERE bytes < ?
            )
            SELECT entries.* FROM beginnings CROSS JOIN entries
            ON spiffe_id >= substr(?, 1, bytes) || '{' AND spiffe_id < substr(?, 1, bytes) || '|'
            LIMIT ?
            """,
            [text.utf8.count - id.path.utf8.count + 1, text.utf8.count - 1, text, text, limit],
            RegistrationEntry.init
        )
    }

    /// The blast radius of a change to a part of the tree of IDs.
    ///
    /// Entries whose ID, or template of one, starts with `prefix`, byte by byte, in order of their
    /// SPIFFE IDs and ids, at most `limit`; `entry` is the last one of the page before.
    package func entries(
        spiffeIDPrefix prefix: String,
        after entry: RegistrationEntry? = nil,
        limit: Int
    ) throws(DatastoreError) -> [RegistrationEntry] {
        var conditions = Conditions()
        // No text with the prefix sorts behind the prefix and the last code point.
        conditions.add("spiffe_id < ?", prefix + "\u{10FFFF}")
        if let entry {
            conditions.add("(spiffe_id, id) > (?, ?)", [entry.spiffeID, entry.id])
        } else {
            conditions.add("spiffe_id >= ?", prefix)
        }
        return try all(
            "SELECT * FROM entries WHERE \(conditions.sql) ORDER BY spiffe_id, id LIMIT ?",
            conditions.arguments + [limit],
            RegistrationEntry.init
        )
    }
}

extension Transaction {
    /// Creates or replaces the entry with this id, and records the change under its revision.
    ///
    /// - Throws: `DatastoreError.revisionNotAdvanced` unless this transaction has taken
    ///   `entry.revision`; `.constraint` when it has no node selector.
    package func put(_ entry: RegistrationEntry) throws(DatastoreError) {
        try requireTaken(entry.revision)
        guard !entry.nodeSelectors.isEmpty else {
            throw .constraint("an entry needs a node selector")
        }
        let prior = try withdraw(id: entry.id)
        try recordChange(
            ResourceKey(.entry, entry.id),
            number: entry.revision,
            isRemoval: false,
            priorNodeSelectors: prior?.nodeSelectors
        )
        let anchor = try anchor(of: entry.nodeSelectors)
        try execute(
            """
            INSERT INTO entries (id, namespace, name, revision, created_at, spiffe_id,
                variable_bounds, anchor, node_selectors, workload_selectors,
                x509_svid_ttl_seconds, jwt_svid_ttl_seconds, dns_names, federates_with, hint,
                labels, expires, downstream)
            VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
            """,
            [
                entry.id, entry.namespace, entry.name, entry.revision.stored,
                entry.createdAt.storedMilliseconds, entry.spiffeID,
                try storedJSON(entry.variableBounds), anchor, entry.nodeSelectors.stored,
                entry.workloadSelectors.stored, entry.x509SVIDTTLSeconds,
                entry.jwtSVIDTTLSeconds, try storedJSON(entry.dnsNames),
                try storedJSON(entry.federatesWith), entry.hint, try storedJSON(entry.labels),
                entry.expires?.storedMilliseconds, entry.isDownstream ? 1 : 0,
            ]
        )
    }

    /// Deletes an entry and records that under `number`.
    ///
    /// - Returns: the entry as it was, nil when there was none.
    /// - Throws: `DatastoreError.revisionNotAdvanced`.
    @discardableResult
    package func deleteEntry(
        id: String,
        number: UInt64
    ) throws(DatastoreError) -> RegistrationEntry? {
        try requireTaken(number)
        guard let entry = try withdraw(id: id) else { return nil }
        try recordChange(
            ResourceKey(.entry, id),
            number: number,
            isRemoval: true,
            priorNodeSelectors: entry.nodeSelectors
        )
        return entry
    }

    /// Takes an entry out of the table and out of the use counts of its selectors.
    private func withdraw(id: String) throws(DatastoreError) -> RegistrationEntry? {
        guard let entry = try entry(id: id) else { return nil }
        try execute("DELETE FROM entries WHERE id = ?", [id])
        try release(entry.nodeSelectors)
        return entry
    }

    /// Takes selectors out of the use counts.
    func release(_ nodeSelectors: [Selector]) throws(DatastoreError) {
        for selector in nodeSelectors {
            // The row goes with its last use; the check of the table allows no zero.
            let last = try execute(
                "DELETE FROM node_selectors WHERE selector = ? AND uses = 1",
                [selector.description]
            )
            if last == 1 { continue }
            try execute(
                "UPDATE node_selectors SET uses = uses - 1 WHERE selector = ?",
                [selector.description]
            )
        }
    }

    /// Counts the use of each node selector and returns the row of the one used least: the fewer
    /// share an anchor, the fewer a node reads in vain.
    func anchor(of nodeSelectors: [Selector]) throws(DatastoreError) -> Int64 {
        var least: (id: Int64, uses: UInt64)?
        for selector in nodeSelectors {
            let row = try executeReturning(
                """
                INSERT INTO node_selectors (selector, uses) VALUES (?, 1)
                ON CONFLICT (selector) DO UPDATE SET uses = uses + 1
                RETURNING id, uses
                """,
                [selector.description]
            ) { row in
                (id: try row.value("id", as: Int64.self), uses: try row.number("uses"))
            }
            if row.uses < least?.uses ?? .max { least = row }
        }
        guard let least else { throw .constraint("a node selector is missing") }
        return least.id
    }
}

extension RegistrationEntry {
    fileprivate init(_ row: Row) throws(DatastoreError) {
        self.init(
            id: try row.value("id"),
            namespace: try row.value("namespace"),
            name: try row.value("name"),
            revision: try row.number("revision"),
            createdAt: try row.date("created_at"),
            spiffeID: try row.value("spiffe_id"),
            variableBounds: try row.json("variable_bounds", default: [:]),
            nodeSelectors: try row.selectors("node_selectors"),
            workloadSelectors: try row.selectors("workload_selectors"),
            x509SVIDTTLSeconds: try row.optional("x509_svid_ttl_seconds"),
            jwtSVIDTTLSeconds: try row.optional("jwt_svid_ttl_seconds"),
            dnsNames: try row.json("dns_names", default: []),
            federatesWith: try row.json("federates_with", default: []),
            hint: try row.value("hint"),
            labels: try row.json("labels", default: [:]),
            expires: try row.optionalDate("expires"),
            isDownstream: try row.value("downstream", as: Int.self) == 1
        )
    }
}
