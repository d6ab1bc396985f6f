// SPDX-License-Identifier: Apache-2.0

package import FoundationEssentials
internal import GRDB
package import SPIFFE

/// An entry or a Proxy, and an identity that it gives; no more of it is read.
package struct IdentityGiver: Hashable, Sendable {
    package let namespace: String
    package let name: String
    /// The identity, or a template of it.
    package let spiffeID: String
    /// What a node shows that gets it, all of it, as texts.
    package let nodeSelectors: [String]

    package init(namespace: String, name: String, spiffeID: String, nodeSelectors: [String]) {
        self.namespace = namespace
        self.name = name
        self.spiffeID = spiffeID
        self.nodeSelectors = nodeSelectors
    }
}

/// A node, or one that is to come, and what it shows.
package struct NodeScope: Hashable, Sendable {
    package let name: String
    /// Its selectors as texts.
    package let selectors: Set<String>

    package init(name: String, selectors: Set<String>) {
        self.name = name
        self.selectors = selectors
    }
}

extension ReadTransaction {
    /// Entries whose ID is one of these, in order of IDs, at most `limit`.
    package func entries(
        givingAny ids: [String],
        limit: Int
    ) throws(DatastoreError) -> [IdentityGiver] {
        let list = try storedJSON(ids) ?? "[]"
        return try all(
            """
            SELECT namespace, name, spiffe_id, node_selectors FROM entries
            WHERE spiffe_id IN (SELECT value FROM json_each(?)) ORDER BY spiffe_id, id LIMIT ?
            """,
            [list, limit],
            IdentityGiver.init
        )
    }

    /// Entries whose ID has variables, in order of IDs, at most `limit`.
    ///
    /// It looks at the index of all IDs, some 20 ms for 100,000.
    package func templates(limit: Int) throws(DatastoreError) -> [IdentityGiver] {
        try all(
            """
            SELECT namespace, name, spiffe_id, node_selectors FROM entries WHERE row IN
                (SELECT row FROM entries WHERE instr(spiffe_id, '{') > 0 LIMIT ?)
            ORDER BY spiffe_id, id
            """,
            [limit],
            IdentityGiver.init
        )
    }

    /// The Proxies whose processes may present any of these IDs, once for each, in order, at most
    /// `limit`; their states are not read.
    package func proxies(
        presentingAny ids: [String],
        limit: Int
    ) throws(DatastoreError) -> [IdentityGiver] {
        let list = try storedJSON(ids) ?? "[]"
        return try all(
            """
            SELECT proxies.namespace, proxies.name, json_each.value AS spiffe_id,
                proxies.node_selectors
            FROM proxies, json_each(proxies.identities)
            WHERE json_each.value IN (SELECT value FROM json_each(?))
            ORDER BY proxies.namespace, proxies.name, spiffe_id LIMIT ?
            """,
            [list, limit],
            IdentityGiver.init
        )
    }

    /// Who wrote a document last, nil when there is none; its content is not read.
    package func writer(of key: DocumentKey) throws(DatastoreError) -> String? {
        try first(
            """
            SELECT actor FROM documents
            WHERE api_group = ? AND kind = ? AND namespace = ? AND name = ?
            """,
            key.stored
        ) { row in
            try row.value("actor", as: String.self)
        }
    }

    /// The nodes that are not banned, in order of their names, at most `limit`.
    package func nodeScopes(limit: Int) throws(DatastoreError) -> [NodeScope] {
        try all(
            "SELECT name, selectors FROM nodes WHERE banned_at IS NULL ORDER BY name LIMIT ?",
            [limit],
            NodeScope.init
        )
    }

    /// The nodes that tokens admit which are unused and valid at `now`, the first to end first, at
    /// most `limit`; with the selectors of the tokens alone.
    package func tokenScopes(
        validAt now: Date,
        limit: Int
    ) throws(DatastoreError) -> [NodeScope] {
        try all(
            """
            SELECT name, selectors FROM join_tokens WHERE used_at IS NULL AND expires_at > ?
            ORDER BY expires_at, hash LIMIT ?
            """,
            [now.storedMilliseconds, limit],
            NodeScope.init
        )
    }
}

extension IdentityGiver {
    fileprivate init(_ row: Row) throws(DatastoreError) {
        self.init(
            namespace: try row.value("namespace"),
            name: try row.value("name"),
            spiffeID: try row.value("spiffe_id"),
            nodeSelectors: try row.value("node_selectors", as: String.self)
                .split(separator: "\n").map(String.init)
        )
    }
}

extension NodeScope {
    fileprivate init(_ row: Row) throws(DatastoreError) {
        let lines = try row.value("selectors", as: String.self).split(separator: "\n")
        self.init(name: try row.value("name"), selectors: Set(lines.map(String.init)))
    }
}
