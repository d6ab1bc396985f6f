// SPDX-License-Identifier: Apache-2.0

package import FoundationEssentials
internal import GRDB
package import SPIFFE

/// One version of a document, present or past.
package struct DocumentVersion: Hashable, Sendable {
    /// What was done to the document.
    package enum Verb: String, Hashable, Sendable {
        /// The document was deleted; the version has no content.
        case delete
        case put
    }

    package let key: DocumentKey
    package let uid: String
    package let resourceVersion: UInt64
    package let verb: Verb
    /// Empty for a deletion.
    package let canonicalJSON: [UInt8]
    package let actor: String
    package let reason: String
    package let writtenAt: Date
}

/// Bounds of the history of documents: whichever is reached first.
package enum DocumentRetention {
    /// Past versions kept of one document, beside the current one.
    package static let versionsMax = 50
    /// How long a version is kept after it was superseded: 90 days.
    package static let secondsMax: TimeInterval = 90 * 86_400
}

extension ReadTransaction {
    /// The versions of a document, newest first, the current one included; also of a document
    /// that was deleted.
    package func history(of key: DocumentKey) throws(DatastoreError) -> [DocumentVersion] {
        let current = try document(key).map(DocumentVersion.init(current:))
        let past = try all(
            """
            SELECT * FROM document_history
            WHERE api_group = ? AND kind = ? AND namespace = ? AND name = ?
            ORDER BY revision DESC
            """,
            key.stored,
            DocumentVersion.init
        )
        return (current.map { [$0] } ?? []) + past
    }

    /// One version of a document, present or past; what a rollback writes again.
    package func version(
        _ resourceVersion: UInt64,
        of key: DocumentKey
    ) throws(DatastoreError) -> DocumentVersion? {
        if let current = try document(key), current.resourceVersion == resourceVersion {
            return DocumentVersion(current: current)
        }
        return try first(
            """
            SELECT * FROM document_history
            WHERE api_group = ? AND kind = ? AND namespace = ? AND name = ? AND revision = ?
            """,
            key.stored + [resourceVersion.stored],
            DocumentVersion.init
        )
    }
}

extension Transaction {
    /// Deletes versions superseded more than 90 days before `now`, at most `limit`.
    ///
    /// - Returns: whether versions are left to delete.
    package func trimDocumentHistory(now: Date, limit: Int) throws(DatastoreError) -> Bool {
        let oldest = now.addingTimeInterval(-DocumentRetention.secondsMax)
        let deleted = try execute(
            """
            DELETE FROM document_history WHERE id IN (
                SELECT id FROM document_history WHERE superseded_at < ? LIMIT ?)
            """,
            [oldest.storedMilliseconds, limit]
        )
        return deleted == limit
    }

    /// Copies the current version to the history and drops the oldest beyond the bound.
    func archive(_ key: DocumentKey, now: Date) throws(DatastoreError) {
        try execute(
            """
            INSERT INTO document_history (uid, api_group, kind, namespace, name, revision, verb,
                body, actor, reason, written_at, superseded_at)
            SELECT uid, api_group, kind, namespace, name, revision, 'put',
                body, actor, reason, written_at, ?5
            FROM documents WHERE api_group = ?1 AND kind = ?2 AND namespace = ?3 AND name = ?4
            """,
            key.stored + [now.storedMilliseconds]
        )
        try trimVersions(of: key)
    }

    func archiveDeletion(
        of document: StoredDocument,
        actor: String,
        reason: String,
        number: UInt64,
        now: Date
    ) throws(DatastoreError) {
        let time = now.storedMilliseconds
        try execute(
            """
            INSERT INTO document_history (api_group, kind, namespace, name, uid, revision, verb,
                body, actor, reason, written_at, superseded_at)
            VALUES (?, ?, ?, ?, ?, ?, 'delete', x'', ?, ?, ?, ?)
            """,
            document.key.stored + [document.uid, number.stored, actor, reason, time, time]
        )
        try trimVersions(of: document.key)
    }

    private func trimVersions(of key: DocumentKey) throws(DatastoreError) {
        try execute(
            """
            DELETE FROM document_history WHERE id IN (
                SELECT id FROM document_history
                WHERE api_group = ? AND kind = ? AND namespace = ? AND name = ?
                ORDER BY revision DESC LIMIT -1 OFFSET ?)
            """,
            key.stored + [DocumentRetention.versionsMax]
        )
    }
}

extension DocumentVersion {
    fileprivate init(current document: StoredDocument) {
        key = document.key
        uid = document.uid
        resourceVersion = document.resourceVersion
        verb = .put
        canonicalJSON = document.canonicalJSON
        actor = document.actor
        reason = document.reason
        writtenAt = document.writtenAt
    }

    fileprivate init(_ row: Row) throws(DatastoreError) {
        key = try DocumentKey(row)
        uid = try row.value("uid")
        resourceVersion = try row.number("revision")
        guard let verb = Verb(rawValue: try row.value("verb")) else {
            throw .corrupt("a document version with an unknown verb")
        }
        self.verb = verb
        canonicalJSON = try row.bytes("body")
        actor = try row.value("actor")
        reason = try row.value("reason")
        writtenAt = try row.date("written_at")
    }
}
