// SPDX-License-Identifier: Apache-2.0

package import FoundationEssentials
internal import GRDB

/// What is above authorities that another one certified: a root, or an upstream authority.
package struct UpstreamRecord: Hashable, Sendable, Identifiable {
    /// What it is to the bundle.
    package enum Kind: String, Hashable, Sendable, CaseIterable {
        /// Between a root and authorities; in no bundle.
        case intermediate
        /// Self-signed; in the bundle as long as it is not revoked.
        case root
    }

    /// The computed ID of its key (`KeyIdentifier`) in hexadecimal, whatever its certificate says.
    package let id: String
    package let kind: Kind
    /// The newest certificate of the key.
    package let certificateDER: [UInt8]
    /// When the server took it first.
    package let publishedAt: Date
    package let notAfter: Date
    /// Nil if it was never distrusted.
    package let distrust: AuthorityDistrust?

    package init(
        id: String,
        kind: Kind,
        certificateDER: [UInt8],
        publishedAt: Date,
        notAfter: Date,
        distrust: AuthorityDistrust? = nil
    ) {
        self.id = id
        self.kind = kind
        self.certificateDER = certificateDER
        self.publishedAt = publishedAt
        self.notAfter = notAfter
        self.distrust = distrust
    }

    /// Whether it was revoked.
    package var isRevoked: Bool { distrust?.revokedAt != nil }
}

extension ReadTransaction {
    /// What is above authorities, the oldest first.
    package func upstreams() throws(DatastoreError) -> [UpstreamRecord] {
        try all("SELECT * FROM upstreams ORDER BY published_at, id", [], UpstreamRecord.init)
    }

    /// The one with this key ID, nil when there is none.
    package func upstream(id: String) throws(DatastoreError) -> UpstreamRecord? {
        try first("SELECT * FROM upstreams WHERE id = ?", [id], UpstreamRecord.init)
    }

    /// The roots that the bundle holds, in its order.
    package func bundleRoots() throws(DatastoreError) -> [UpstreamRecord] {
        try upstreams().filter { $0.kind == .root && !$0.isRevoked }
    }
}

extension Transaction {
    /// Creates or replaces what is above authorities.
    package func put(_ upstream: UpstreamRecord) throws(DatastoreError) {
        try execute(
            """
            INSERT INTO upstreams (id, kind, certificate_der, published_at, not_after, tainted_at,
                revoked_at, distrust_reason, distrusted_by)
            VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
            ON CONFLICT (id) DO UPDATE SET kind = excluded.kind,
                certificate_der = excluded.certificate_der,
                published_at = excluded.published_at, not_after = excluded.not_after,
                tainted_at = excluded.tainted_at, revoked_at = excluded.revoked_at,
                distrust_reason = excluded.distrust_reason,
                distrusted_by = excluded.distrusted_by
            """,
            [
                upstream.id, upstream.kind.rawValue, upstream.certificateDER.stored,
                upstream.publishedAt.storedMilliseconds, upstream.notAfter.storedMilliseconds,
                upstream.distrust?.taintedAt?.storedMilliseconds,
                upstream.distrust?.revokedAt?.storedMilliseconds, upstream.distrust?.reason,
                upstream.distrust?.actor,
            ]
        )
    }

    /// Deletes what is above authorities; a root leaves the bundle by it.
    ///
    /// - Returns: whether there was one.
    @discardableResult
    package func deleteUpstream(id: String) throws(DatastoreError) -> Bool {
        try execute("DELETE FROM upstreams WHERE id = ?", [id]) == 1
    }
}

extension UpstreamRecord {
    fileprivate init(_ row: Row) throws(DatastoreError) {
        let text: String = try row.value("kind")
        guard let kind = Kind(rawValue: text) else {
            throw .corrupt("an upstream is of kind \(text)")
        }
        self.init(
            id: try row.value("id"),
            kind: kind,
            certificateDER: try row.bytes("certificate_der"),
            publishedAt: try row.date("published_at"),
            notAfter: try row.date("not_after"),
            distrust: try AuthorityDistrust(row)
        )
    }
}
