// SPDX-License-Identifier: Apache-2.0

package import FoundationEssentials
internal import GRDB
package import SPIFFE

/// A document as it stands.
package struct StoredDocument: Hashable, Sendable {
    package let key: DocumentKey
    /// Given at creation; a document deleted and created again has another one.
    package let uid: String
    /// The revision number of the change that last wrote the document.
    package let resourceVersion: UInt64
    package let canonicalJSON: [UInt8]
    /// Who wrote this version, and why (metadata.reason, may be empty).
    package let actor: String
    package let reason: String
    package let createdAt: Date
    package let writtenAt: Date
}

/// What a writer wants a document to be.
package struct DocumentDraft: Hashable, Sendable {
    package let key: DocumentKey
    package let canonicalJSON: [UInt8]
    /// By which prune finds the documents of one owner.
    package let labels: [String: String]
    package let actor: String
    package let reason: String

    package init(
        key: DocumentKey,
        canonicalJSON: [UInt8],
        labels: [String: String],
        actor: String,
        reason: String
    ) {
        self.key = key
        self.canonicalJSON = canonicalJSON
        self.labels = labels
        self.actor = actor
        self.reason = reason
    }
}

/// What a writer assumes about the document; anything else is a conflict.
package enum DocumentExpectation: Hashable, Sendable {
    case absent
    case any
    /// Compare and set: the version the writer has read.
    case version(UInt64)

    func isMet(by current: StoredDocument?) -> Bool {
        switch self {
        case .absent: current == nil
        case .any: true
        case .version(let version): current?.resourceVersion == version
        }
    }
}

/// Which documents to list; nil fields do not restrict.
///
/// The index is that of the key, so a kind is found quickly only together with its group.
package struct DocumentFilter: Hashable, Sendable {
    package var group: String?
    package var kind: String?
    package var namespace: String?

    package init(group: String? = nil, kind: String? = nil, namespace: String? = nil) {
        self.group = group
        self.kind = kind
        self.namespace = namespace
    }

    /// Leaves out the columns that are fixed in front, or SQLite would begin each page at the
    /// first document of the kind.
    fileprivate func add(after key: DocumentKey, to conditions: inout Conditions) {
        switch (group, kind, namespace) {
        case (.some, .some, .some): conditions.add("name > ?", key.name)
        case (.some, .some, nil):
            conditions.add("(namespace, name) > (?, ?)", [key.namespace, key.name])
        default: conditions.add("(api_group, kind, namespace, name) > (?, ?, ?, ?)", key.stored)
        }
    }
}

extension ReadTransaction {
    /// The document with this key, nil when there is none.
    package func document(_ key: DocumentKey) throws(DatastoreError) -> StoredDocument? {
        try first(
            """
            SELECT * FROM documents
            WHERE api_group = ? AND kind = ? AND namespace = ? AND name = ?
            """,
            key.stored,
            StoredDocument.init
        )
    }

    /// Documents in order of their keys, those after `key`, at most `limit`.
    package func documents(
        _ filter: DocumentFilter = .init(),
        after key: DocumentKey? = nil,
        limit: Int
    ) throws(DatastoreError) -> [StoredDocument] {
        var conditions = Conditions()
        conditions.add("api_group = ?", filter.group)
        conditions.add("kind = ?", filter.kind)
        conditions.add("namespace = ?", filter.namespace)
        if let key { filter.add(after: key, to: &conditions) }
        return try all(
            """
            SELECT * FROM documents WHERE \(conditions.sql)
            ORDER BY api_group, kind, namespace, name LIMIT ?
            """,
            conditions.arguments + [limit],
            StoredDocument.init
        )
    }

    /// Keys of the documents that carry `label` with `value` and lie in one of `namespaces` (the
    /// empty one holds what is cluster-wide), in order, at most `limit`.
    package func documentKeys(
        label: String,
        value: String,
        namespaces: Set<String>,
        limit: Int
    ) throws(DatastoreError) -> [DocumentKey] {
        try all(
            """
            SELECT api_group, kind, namespace, name
            FROM document_labels JOIN documents ON documents.id = document_labels.document
            WHERE label = ? AND value = ? AND namespace IN (SELECT value FROM json_each(?))
            ORDER BY api_group, kind, namespace, name LIMIT ?
            """,
            [label, value, try storedJSON(namespaces.sorted()) ?? "[]", limit],
            DocumentKey.init
        )
    }

    /// The key of the document with this uid, nil when there is none.
    package func documentKey(uid: String) throws(DatastoreError) -> DocumentKey? {
        try first(
            "SELECT api_group, kind, namespace, name FROM documents WHERE uid = ?",
            [uid],
            DocumentKey.init
        )
    }

    /// The key of some document that lies in a namespace, nil when it is empty.
    package func documentKey(
        inNamespace namespace: String
    ) throws(DatastoreError) -> DocumentKey? {
        try first(
            "SELECT api_group, kind, namespace, name FROM documents WHERE namespace = ? LIMIT 1",
            [namespace],
            DocumentKey.init
        )
    }
}

extension Transaction {
    /// Creates or replaces a document; the replaced version goes to the history.
    ///
    /// Several documents of one act are several calls in one transaction.
    ///
    /// - Parameters:
    ///   - draft: what the document becomes.
    ///   - newUID: the uid if the document is created; an existing one keeps its own.
    ///   - expectation: what must be true of the document before.
    ///   - number: the revision number this transaction has taken; it becomes the resource
    ///     version.
    ///   - now: the wall clock.
    /// - Returns: the document as stored.
    /// - Throws: `DatastoreError.conflict` when `expectation` is not met, or when the document was
    ///   written under this number already; `.revisionNotAdvanced`.
    @discardableResult
    package func put(
        _ draft: DocumentDraft,
        newUID: String,
        expecting expectation: DocumentExpectation,
        number: UInt64,
        now: Date
    ) throws(DatastoreError) -> StoredDocument {
        try requireTaken(number)
        let current = try document(draft.key)
        guard expectation.isMet(by: current), current?.resourceVersion != number else {
            throw .conflict(draft.key, current: current?.resourceVersion)
        }
        let writtenAt = Date(storedMilliseconds: now.storedMilliseconds)
        let document = StoredDocument(
            draft,
            uid: current?.uid ?? newUID,
            createdAt: current?.createdAt ?? writtenAt,
            number: number,
            writtenAt: writtenAt
        )
        if current != nil {
            try archive(draft.key, now: now)
            try replace(document)
        } else {
            try insert(document)
        }
        try replaceLabels(of: document.uid, with: draft.labels)
        return document
    }

    /// Deletes a document; its last version and the deletion itself go to the history.
    ///
    /// - Returns: the document as it was; nil when there was none and `expectation` allows that.
    /// - Throws: `DatastoreError.conflict`, `.revisionNotAdvanced`.
    @discardableResult
    package func deleteDocument(
        _ key: DocumentKey,
        expecting expectation: DocumentExpectation,
        actor: String,
        reason: String,
        number: UInt64,
        now: Date
    ) throws(DatastoreError) -> StoredDocument? {
        try requireTaken(number)
        let current = try document(key)
        guard expectation.isMet(by: current), current?.resourceVersion != number else {
            throw .conflict(key, current: current?.resourceVersion)
        }
        guard let current else { return nil }
        try archive(key, now: now)
        try archiveDeletion(of: current, actor: actor, reason: reason, number: number, now: now)
        try execute("DELETE FROM documents WHERE uid = ?", [current.uid])
        return current
    }

    private func insert(_ document: StoredDocument) throws(DatastoreError) {
        try execute(
            """
            INSERT INTO documents (api_group, kind, namespace, name, uid, revision, body, actor,
                reason, created_at, written_at)
            VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
            """,
            document.key.stored + [
                document.uid, document.resourceVersion.stored, document.canonicalJSON.stored,
                document.actor, document.reason, document.createdAt.storedMilliseconds,
                document.writtenAt.storedMilliseconds,
            ]
        )
    }

    private func replace(_ document: StoredDocument) throws(DatastoreError) {
        try execute(
            """
            UPDATE documents SET revision = ?, body = ?, actor = ?, reason = ?, written_at = ?
            WHERE uid = ?
            """,
            [
                document.resourceVersion.stored, document.canonicalJSON.stored, document.actor,
                document.reason, document.writtenAt.storedMilliseconds, document.uid,
            ]
        )
    }

    private func replaceLabels(
        of uid: String,
        with labels: [String: String]
    ) throws(DatastoreError) {
        try execute(
            "DELETE FROM document_labels WHERE document = (SELECT id FROM documents WHERE uid = ?)",
            [uid]
        )
        for (label, value) in labels {
            try execute(
                """
                INSERT INTO document_labels (document, label, value)
                SELECT id, ?, ? FROM documents WHERE uid = ?
                """,
                [label, value, uid]
            )
        }
    }
}

extension StoredDocument {
    fileprivate init(
        _ draft: DocumentDraft,
        uid: String,
        createdAt: Date,
        number: UInt64,
        writtenAt: Date
    ) {
        key = draft.key
        self.uid = uid
        resourceVersion = number
        canonicalJSON = draft.canonicalJSON
        actor = draft.actor
        reason = draft.reason
        self.createdAt = createdAt
        self.writtenAt = writtenAt
    }

    fileprivate init(_ row: Row) throws(DatastoreError) {
        key = try DocumentKey(row)
        uid = try row.value("uid")
        resourceVersion = try row.number("revision")
        canonicalJSON = try row.bytes("body")
        actor = try row.value("actor")
        reason = try row.value("reason")
        createdAt = try row.date("created_at")
        writtenAt = try row.date("written_at")
    }
}

extension DocumentKey {
    /// The columns that hold a key, in the order of its comparison.
    var stored: StatementArguments { [group, kind, namespace, name] }

    init(_ row: Row) throws(DatastoreError) {
        self.init(
            group: try row.value("api_group"),
            kind: try row.value("kind"),
            namespace: try row.value("namespace"),
            name: try row.value("name")
        )
    }
}
