// SPDX-License-Identifier: Apache-2.0

package import FoundationEssentials
internal import GRDB
internal import NodeSync
package import SPIFFE

/// A Proxy as far as nodes and signing are concerned, and the state that its processes are to have.
package struct ProxyRecord: Hashable, Sendable {
    /// Most Proxies: one document serves many machines, and a change in `signet-system` composes the
    /// state of each anew.
    package static let countMax = 1_000
    /// Most Proxies of one namespace, so that no one takes the place of all others.
    package static let namespaceCountMax = 250
    /// Most bytes of the states of one namespace's Proxies: a node may have all of them.
    package static let namespaceStateBytesMax = 32 << 20
    /// Most bytes of all states, half of what an agent takes at most.
    package static let stateBytesMax = 128 << 20
    /// How much more both may become by documents of the root namespace alone: no namespace that is
    /// full keeps a policy for all of them away.
    package static let rootStateBytesMax = 32 << 20

    /// The document's uid; never used again after deletion.
    package let id: String
    package let namespace: String
    package let name: String
    /// The revision number of the change that last wrote the document.
    package let revision: UInt64
    /// What the node must show, all of it; never empty.
    package let nodeSelectors: [Selector]
    /// The IDs that its processes may present.
    package let identities: [SPIFFEID]
    /// From here on nothing is signed for it.
    package let expires: Date?
    /// What agents are sent for its processes, encoded.
    package let state: [UInt8]
    /// When the state changes though no document does, because something of it expires.
    package let changesAt: Date?

    package init(
        id: String,
        namespace: String,
        name: String,
        revision: UInt64,
        nodeSelectors: [Selector],
        identities: [SPIFFEID],
        expires: Date? = nil,
        state: [UInt8],
        changesAt: Date? = nil
    ) {
        self.id = id
        self.namespace = namespace
        self.name = name
        self.revision = revision
        self.nodeSelectors = Array(Set(nodeSelectors)).sorted()
        self.identities = identities
        self.expires = expires
        self.state = state
        self.changesAt = changesAt
    }

    /// `namespace/name`, by which agents know it.
    package var reference: String { "\(namespace)/\(name)" }

    /// Whether a node that shows `selectors` may run it.
    package func matches(node selectors: Set<Selector>) -> Bool {
        !nodeSelectors.isEmpty && nodeSelectors.allSatisfy(selectors.contains)
    }
}

/// For whom a Proxy may hold keys: a few hundred bytes, where its state may have a megabyte.
package struct ProxyGrant: Hashable, Sendable {
    /// The document's uid.
    package let id: String
    package let namespace: String
    /// The revision number of the change that last wrote the document.
    package let revision: UInt64
    /// What the node must show, all of it.
    package let nodeSelectors: [Selector]
    /// The IDs that its processes may present.
    package let identities: [SPIFFEID]
    /// From here on nothing is signed for it.
    package let expires: Date?

    /// Whether a node that shows `selectors` may run it.
    package func matches(node selectors: Set<Selector>) -> Bool {
        !nodeSelectors.isEmpty && nodeSelectors.allSatisfy(selectors.contains)
    }
}

extension ReadTransaction {
    /// What the Proxy of a reference `namespace/name` may hold, without its state.
    ///
    /// - Returns: nil when there is no such Proxy.
    package func proxyGrant(_ reference: String) throws(DatastoreError) -> ProxyGrant? {
        let parts = reference.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
        guard parts.count == 2 else { return nil }
        return try first(
            """
            SELECT id, namespace, revision, node_selectors, identities, expires FROM proxies
            WHERE namespace = ? AND name = ?
            """,
            [String(parts[0]), String(parts[1])],
            ProxyGrant.init
        )
    }

    /// The Proxy of a reference `namespace/name`, nil when there is none.
    package func proxy(_ reference: String) throws(DatastoreError) -> ProxyRecord? {
        let parts = reference.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
        guard parts.count == 2 else { return nil }
        return try proxy(namespace: String(parts[0]), name: String(parts[1]))
    }

    /// The Proxy of this name, nil when there is none.
    package func proxy(
        namespace: String,
        name: String
    ) throws(DatastoreError) -> ProxyRecord? {
        try first(
            "SELECT * FROM proxies WHERE namespace = ? AND name = ?",
            [namespace, name],
            ProxyRecord.init
        )
    }

    /// Every Proxy that a node which shows `selectors` may run, in order of namespace and name.
    ///
    /// Found by anchors, as entries are.
    package func proxies(
        node selectors: Set<Selector>
    ) throws(DatastoreError) -> [ProxyRecord] {
        let candidates = try all(
            """
            SELECT proxies.* FROM node_selectors JOIN proxies ON anchor = node_selectors.id
            WHERE selector IN (SELECT value FROM json_each(?))
            ORDER BY namespace, name
            """,
            [try storedJSON(selectors.map(\.description)) ?? "[]"],
            ProxyRecord.init
        )
        return candidates.filter { $0.matches(node: selectors) }
    }

    /// The references of every Proxy that a node which shows `selectors` may run; cheaper than
    /// reading them.
    package func proxyReferences(
        node selectors: Set<Selector>
    ) throws(DatastoreError) -> Set<String> {
        let shown = Set(selectors.map(\.description))
        let candidates = try all(
            """
            SELECT proxies.namespace, proxies.name, proxies.node_selectors
            FROM node_selectors JOIN proxies ON anchor = node_selectors.id
            WHERE selector IN (SELECT value FROM json_each(?))
            """,
            [try storedJSON(shown.sorted()) ?? "[]"]
        ) { row in
            (
                reference: "\(try row.value("namespace", as: String.self))/"
                    + (try row.value("name", as: String.self)),
                selectors: try row.value("node_selectors", as: String.self)
            )
        }
        return Set(
            candidates.filter { candidate in
                candidate.selectors.split(separator: "\n").allSatisfy { shown.contains(String($0)) }
            }
            .map(\.reference)
        )
    }

    /// What a node must show for each Proxy, by its reference.
    package func proxyScopes() throws(DatastoreError) -> [String: [Selector]] {
        let scopes = try all("SELECT namespace, name, node_selectors FROM proxies") { row in
            (
                "\(try row.value("namespace", as: String.self))/"
                    + (try row.value("name", as: String.self)),
                try row.selectors("node_selectors")
            )
        }
        return Dictionary(uniqueKeysWithValues: scopes)
    }

    /// The Proxies of a namespace, or all, in order of namespace and name.
    package func proxies(
        namespace: String? = nil
    ) throws(DatastoreError) -> [ProxyRecord] {
        var conditions = Conditions()
        conditions.add("namespace = ?", namespace)
        return try all(
            "SELECT * FROM proxies WHERE \(conditions.sql) ORDER BY namespace, name LIMIT ?",
            conditions.arguments + [ProxyRecord.countMax],
            ProxyRecord.init
        )
    }

    /// The Proxies whose state is to change by `now` though no document did, at most `limit`.
    package func proxies(
        changingBy now: Date,
        limit: Int
    ) throws(DatastoreError) -> [ProxyRecord] {
        try all(
            "SELECT * FROM proxies WHERE changes_at <= ? ORDER BY changes_at LIMIT ?",
            [now.storedMilliseconds, limit],
            ProxyRecord.init
        )
    }

    /// How many bytes the states of each namespace's Proxies have.
    package func proxyStateBytes() throws(DatastoreError) -> [String: Int] {
        let sums = try all(
            "SELECT namespace, sum(length(state)) AS bytes FROM proxies GROUP BY namespace"
        ) { row in
            (
                try row.value("namespace", as: String.self), try row.value("bytes", as: Int.self)
            )
        }
        return Dictionary(uniqueKeysWithValues: sums)
    }

    /// How many Proxies there are.
    package func proxyCount() throws(DatastoreError) -> Int {
        try first("SELECT count(*) AS n FROM proxies") { row in
            try row.value("n", as: Int.self)
        } ?? 0
    }

    /// How many Proxies there are, by namespace.
    package func proxyCounts() throws(DatastoreError) -> [String: Int] {
        let counts = try all(
            "SELECT namespace, count(*) AS n FROM proxies GROUP BY namespace"
        ) { row in
            (try row.value("namespace", as: String.self), try row.value("n", as: Int.self))
        }
        return Dictionary(uniqueKeysWithValues: counts)
    }
}

extension Transaction {
    /// Creates or replaces a Proxy, and records under `number` that what agents are sent changed.
    ///
    /// - Parameters:
    ///   - proxy: What it becomes; its document may have been written earlier.
    ///   - number: The revision number that this transaction has taken.
    /// - Throws: `DatastoreError.revisionNotAdvanced`; `.constraint` without node selector.
    package func put(_ proxy: ProxyRecord, number: UInt64) throws(DatastoreError) {
        try requireTaken(number)
        let prior = try withdraw(proxyID: proxy.id)
        try recordChange(
            ResourceKey(.proxy, proxy.reference),
            number: number,
            isRemoval: false,
            priorNodeSelectors: prior?.nodeSelectors
        )
        let anchor = try anchor(of: proxy.nodeSelectors)
        try execute(
            """
            INSERT INTO proxies (id, namespace, name, revision, anchor, node_selectors, identities,
                expires, state, changes_at)
            VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
            """,
            [
                proxy.id, proxy.namespace, proxy.name, proxy.revision.stored, anchor,
                proxy.nodeSelectors.stored,
                try storedJSON(proxy.identities.map(\.description)) ?? "[]",
                proxy.expires?.storedMilliseconds, proxy.state.stored,
                proxy.changesAt?.storedMilliseconds,
            ]
        )
    }

    /// Notes when a Proxy's state changes next, though nothing of it changed now.
    package func setChange(of id: String, at time: Date?) throws(DatastoreError) {
        try execute(
            "UPDATE proxies SET changes_at = ? WHERE id = ?",
            [time?.storedMilliseconds, id]
        )
    }

    /// Notes another version of a Proxy's document that leaves what agents are sent as it is.
    package func setRevision(
        of id: String,
        to revision: UInt64,
        expires: Date?
    ) throws(DatastoreError) {
        try execute(
            "UPDATE proxies SET revision = ?, expires = ? WHERE id = ?",
            [revision.stored, expires?.storedMilliseconds, id]
        )
    }

    /// Deletes a Proxy and records that under `number`.
    ///
    /// - Returns: the Proxy as it was, nil when there was none.
    /// - Throws: `DatastoreError.revisionNotAdvanced`.
    @discardableResult
    package func deleteProxy(
        id: String,
        number: UInt64
    ) throws(DatastoreError) -> ProxyRecord? {
        try requireTaken(number)
        guard let proxy = try withdraw(proxyID: id) else { return nil }
        try recordChange(
            ResourceKey(.proxy, proxy.reference),
            number: number,
            isRemoval: true,
            priorNodeSelectors: proxy.nodeSelectors
        )
        return proxy
    }

    private func withdraw(proxyID id: String) throws(DatastoreError) -> ProxyRecord? {
        let proxy = try first("SELECT * FROM proxies WHERE id = ?", [id], ProxyRecord.init)
        guard let proxy else { return nil }
        try execute("DELETE FROM proxies WHERE id = ?", [id])
        try release(proxy.nodeSelectors)
        return proxy
    }
}

extension ProxyGrant {
    fileprivate init(_ row: Row) throws(DatastoreError) {
        var identities: [SPIFFEID] = []
        for text in try row.json("identities", default: [String]()) {
            do { identities.append(try SPIFFEID(text)) } catch {
                throw .corrupt("an identity of a Proxy: \(error)")
            }
        }
        self.init(
            id: try row.value("id"),
            namespace: try row.value("namespace"),
            revision: try row.number("revision"),
            nodeSelectors: try row.selectors("node_selectors"),
            identities: identities,
            expires: try row.optionalDate("expires")
        )
    }
}

extension ProxyRecord {
    fileprivate init(_ row: Row) throws(DatastoreError) {
        let grant = try ProxyGrant(row)
        self.init(
            id: grant.id,
            namespace: grant.namespace,
            name: try row.value("name"),
            revision: grant.revision,
            nodeSelectors: grant.nodeSelectors,
            identities: grant.identities,
            expires: grant.expires,
            state: try row.bytes("state"),
            changesAt: try row.optionalDate("changes_at")
        )
    }
}
