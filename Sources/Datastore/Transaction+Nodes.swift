// SPDX-License-Identifier: Apache-2.0

package import FoundationEssentials
internal import GRDB
package import SPIFFE

/// An attested node.
package struct NodeRecord: Hashable, Sendable {
    /// Since when and why a node may not come back.
    package struct Ban: Hashable, Sendable {
        package let at: Date
        package let reason: String

        package init(at: Date, reason: String) {
            self.at = at
            self.reason = reason
        }
    }

    package let name: String
    package let spiffeID: SPIFFEID
    /// What the server has verified about the node.
    package let selectors: Set<Selector>
    /// SHA-256 of the SubjectPublicKeyInfo of its current key.
    package let keySPKISHA256: [UInt8]
    package let attestationMethod: String
    /// Serial and end of its newest SVID.
    package let serial: [UInt8]
    package let notAfter: Date
    package let createdAt: Date
    package let lastSeen: Date
    /// Set while the node is banned.
    package let ban: Ban?

    package init(
        name: String,
        spiffeID: SPIFFEID,
        selectors: Set<Selector>,
        keySPKISHA256: [UInt8],
        attestationMethod: String,
        serial: [UInt8],
        notAfter: Date,
        createdAt: Date,
        lastSeen: Date,
        ban: Ban? = nil
    ) {
        self.name = name
        self.spiffeID = spiffeID
        self.selectors = selectors
        self.keySPKISHA256 = keySPKISHA256
        self.attestationMethod = attestationMethod
        self.serial = serial
        self.notAfter = notAfter
        self.createdAt = createdAt
        self.lastSeen = lastSeen
        self.ban = ban
    }
}

extension ReadTransaction {
    /// The node of this name, banned or not, nil when there is none.
    package func node(named name: String) throws(DatastoreError) -> NodeRecord? {
        try first("SELECT * FROM nodes WHERE name = ?", [name], NodeRecord.init)
    }

    /// The node with this SPIFFE ID, banned or not, nil when there is none.
    package func node(spiffeID: SPIFFEID) throws(DatastoreError) -> NodeRecord? {
        try first(
            "SELECT * FROM nodes WHERE spiffe_id = ?",
            [spiffeID.description],
            NodeRecord.init
        )
    }

    /// The first revision number that is sure to be of the node's present selectors, 0 when they
    /// never changed, nil when there is no such node.
    ///
    /// The name may have stood for a machine with other selectors, whose disk tells of a revision
    /// that was right for them: whoever has a smaller number needs everything again.
    package func scopeChangedAt(ofNode name: String) throws(DatastoreError) -> UInt64? {
        try first("SELECT scope_changed_at FROM nodes WHERE name = ?", [name]) { row in
            try row.number("scope_changed_at")
        }
    }

    /// Whether a key was that of a node which was evicted, whatever its name.
    package func isWithdrawn(nodeKey spkiSHA256: [UInt8]) throws(DatastoreError) -> Bool {
        try first(
            "SELECT 1 AS n FROM withdrawn_node_keys WHERE key_spki_sha256 = ?",
            [spkiSHA256.stored]
        ) { row in
            try row.value("n", as: Int.self)
        } != nil
    }

    /// How many nodes there are, banned ones included.
    package func nodeCount() throws(DatastoreError) -> Int {
        try first("SELECT count(*) AS n FROM nodes") { row in
            try row.value("n", as: Int.self)
        } ?? 0
    }

    /// How many nodes have a certificate of no authority of these, or one of which nothing is on
    /// record; banned ones included.
    package func nodeCount(notSignedBy authorities: Set<String>) throws(DatastoreError) -> Int {
        try first(
            """
            SELECT count(*) AS n FROM nodes WHERE NOT EXISTS (
                SELECT 1 FROM intents WHERE intents.serial = nodes.serial
                    AND intents.authority IN (SELECT value FROM json_each(?)))
            """,
            [try storedJSON(authorities.sorted()) ?? "[]"]
        ) { row in
            try row.value("n", as: Int.self)
        } ?? 0
    }

    /// Nodes in order of their names, those after `name`, at most `limit`.
    package func nodes(
        after name: String? = nil,
        limit: Int
    ) throws(DatastoreError) -> [NodeRecord] {
        try all(
            "SELECT * FROM nodes WHERE name > ? ORDER BY name LIMIT ?",
            [name ?? "", limit],
            NodeRecord.init
        )
    }
}

extension Transaction {
    /// Writes everything about a node except its ban, which only `banNode` and `unbanNode`
    /// change: attesting again never lifts one.
    ///
    /// The time of creation stays that of the first write. A node that is new or has other selectors
    /// than before is noted as such, see `scopeChangedAt`.
    package func put(_ node: NodeRecord) throws(DatastoreError) {
        try execute(
            """
            INSERT INTO nodes (name, spiffe_id, selectors, key_spki_sha256, attestation_method,
                serial, not_after, created_at, last_seen, scope_changed_at)
            VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, coalesce((SELECT revision + 1 FROM meta), 0))
            ON CONFLICT (name) DO UPDATE SET spiffe_id = excluded.spiffe_id,
                scope_changed_at = iif(selectors = excluded.selectors,
                    scope_changed_at, excluded.scope_changed_at),
                selectors = excluded.selectors, key_spki_sha256 = excluded.key_spki_sha256,
                attestation_method = excluded.attestation_method, serial = excluded.serial,
                not_after = excluded.not_after, last_seen = excluded.last_seen
            """,
            [
                node.name, node.spiffeID.description, node.selectors.stored,
                node.keySPKISHA256.stored, node.attestationMethod, node.serial.stored,
                node.notAfter.storedMilliseconds, node.createdAt.storedMilliseconds,
                node.lastSeen.storedMilliseconds,
            ]
        )
    }

    /// Records that nodes were heard of; an earlier time, or an unknown name, changes nothing.
    package func markNodesSeen(_ names: [String], at now: Date) throws(DatastoreError) {
        let time = now.storedMilliseconds
        for name in names {
            try execute(
                "UPDATE nodes SET last_seen = ? WHERE name = ? AND last_seen < ?",
                [time, name, time]
            )
        }
    }

    /// Bans a node; a second ban changes nothing.
    ///
    /// - Returns: whether a node of this name exists.
    @discardableResult
    package func banNode(
        named name: String,
        reason: String,
        now: Date
    ) throws(DatastoreError) -> Bool {
        try execute(
            """
            UPDATE nodes SET banned_at = coalesce(banned_at, ?),
                ban_reason = coalesce(ban_reason, ?) WHERE name = ?
            """,
            [now.storedMilliseconds, reason, name]
        ) == 1
    }

    /// Lifts a ban.
    ///
    /// - Returns: whether a node of this name exists.
    @discardableResult
    package func unbanNode(named name: String) throws(DatastoreError) -> Bool {
        try execute(
            "UPDATE nodes SET banned_at = NULL, ban_reason = NULL WHERE name = ?",
            [name]
        ) == 1
    }

    /// Deletes a node with its ban: its name may join again with a new token and another key.
    ///
    /// - Returns: the node as it was, nil when there was none.
    @discardableResult
    package func evictNode(
        named name: String,
        now: Date
    ) throws(DatastoreError) -> NodeRecord? {
        guard let node = try node(named: name) else { return nil }
        try execute("DELETE FROM nodes WHERE name = ?", [name])
        // For ever: an eviction is an admin's act, so there are few, of 32 bytes each.
        try execute(
            """
            INSERT INTO withdrawn_node_keys (key_spki_sha256, name, withdrawn_at)
            VALUES (?, ?, ?) ON CONFLICT (key_spki_sha256) DO NOTHING
            """,
            [node.keySPKISHA256.stored, name, now.storedMilliseconds]
        )
        return node
    }
}

extension NodeRecord {
    fileprivate init(_ row: Row) throws(DatastoreError) {
        let spiffeID: SPIFFEID
        do {
            spiffeID = try SPIFFEID(row.value("spiffe_id"))
        } catch {
            throw .corrupt("the SPIFFE ID of a node: \(error)")
        }
        let ban: Ban? =
            if let at = try row.optionalDate("banned_at") {
                Ban(at: at, reason: try row.value("ban_reason"))
            } else {
                nil
            }
        self.init(
            name: try row.value("name"),
            spiffeID: spiffeID,
            selectors: Set(try row.selectors("selectors")),
            keySPKISHA256: try row.bytes("key_spki_sha256"),
            attestationMethod: try row.value("attestation_method"),
            serial: try row.bytes("serial"),
            notAfter: try row.date("not_after"),
            createdAt: try row.date("created_at"),
            lastSeen: try row.date("last_seen"),
            ban: ban
        )
    }
}
