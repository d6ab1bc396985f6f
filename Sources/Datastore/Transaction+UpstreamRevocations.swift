// SPDX-License-Identifier: Apache-2.0

package import FoundationEssentials
internal import GRDB

/// A key that an upstream has revoked and that is on no other record as revoked.
package struct UpstreamRevocation: Hashable, Sendable, Identifiable {
    /// Most keys: as many as an upstream names at once.
    package static let countMax = 4_096
    /// How long a key is refused after the upstream named it last: longer than an authority below an
    /// upstream lives, with a week for whoever was away.
    package static let keptSeconds: TimeInterval = 14 * 86_400

    /// The computed ID of the key (`KeyIdentifier`) in hexadecimal.
    package let id: String
    /// When the upstream named it last, within an hour.
    package let namedAt: Date
    /// Whether it is, or is above, what signs here: then nobody is told of it yet.
    package let isWaiting: Bool

    package init(id: String, namedAt: Date, isWaiting: Bool) {
        (self.id, self.namedAt, self.isWaiting) = (id, namedAt, isWaiting)
    }
}

extension ReadTransaction {
    /// All keys that upstreams have revoked, in order of their IDs.
    package func upstreamRevocations() throws(DatastoreError) -> [UpstreamRevocation] {
        try all("SELECT * FROM upstream_revocations ORDER BY id", [], UpstreamRevocation.init)
    }

    /// How many there are.
    package func upstreamRevocationCount() throws(DatastoreError) -> Int {
        try first("SELECT count(*) AS n FROM upstream_revocations") { row in
            try row.value("n", as: Int.self)
        } ?? 0
    }

    /// The one with this key ID, nil when there is none.
    package func upstreamRevocation(id: String) throws(DatastoreError) -> UpstreamRevocation? {
        try first(
            "SELECT * FROM upstream_revocations WHERE id = ?",
            [id],
            UpstreamRevocation.init
        )
    }
}

extension Transaction {
    /// Creates or replaces what is known of a key that an upstream has revoked.
    package func put(_ revocation: UpstreamRevocation) throws(DatastoreError) {
        try execute(
            """
            INSERT INTO upstream_revocations (id, named_at, is_waiting) VALUES (?, ?, ?)
            ON CONFLICT (id) DO UPDATE SET named_at = excluded.named_at,
                is_waiting = excluded.is_waiting
            """,
            [revocation.id, revocation.namedAt.storedMilliseconds, revocation.isWaiting ? 1 : 0]
        )
    }

    /// Has all keys kept from a moment on: whether one was named since nobody knows.
    package func raiseUpstreamRevocations(to time: Date) throws(DatastoreError) {
        try execute(
            "UPDATE upstream_revocations SET named_at = max(named_at, ?)",
            [time.storedMilliseconds]
        )
    }

    /// Forgets a key.
    ///
    /// - Returns: whether there was one.
    @discardableResult
    package func deleteUpstreamRevocation(id: String) throws(DatastoreError) -> Bool {
        try execute("DELETE FROM upstream_revocations WHERE id = ?", [id]) == 1
    }
}

extension UpstreamRevocation {
    fileprivate init(_ row: Row) throws(DatastoreError) {
        self.init(
            id: try row.value("id"),
            namedAt: try row.date("named_at"),
            isWaiting: try row.value("is_waiting", as: Int.self) == 1
        )
    }
}
