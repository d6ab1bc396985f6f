// SPDX-License-Identifier: Apache-2.0

package import Authorization
internal import ControlAPI
package import Datastore
package import PolicyDocuments
package import SPIFFE

extension Document {
    /// The SPIFFE ID, or template of one, that the document gives out.
    package var spiffeID: String? {
        if case .registrationEntry(let spec) = spec { return spec.spiffeID }
        return nil
    }

    /// Reads what the datastore holds.
    ///
    /// - Throws: `UnreadableDocument` when this release cannot read it.
    package init(stored: StoredDocument) throws(UnreadableDocument) {
        guard let document = Self.reading(stored.canonicalJSON, of: stored.key) else {
            throw UnreadableDocument(key: stored.key)
        }
        self = document
    }

    /// Reads the stored form; nil when it is not one document with this key.
    static func reading(_ canonicalJSON: [UInt8], of key: DocumentKey) -> Document? {
        guard let documents = try? parse(canonicalJSON, file: "\(key)"), documents.count == 1,
            documents[0].key == key
        else { return nil }
        return documents[0]
    }
}

/// A stored document that this release cannot read.
///
/// It says nothing about the file that it is stored in, so it ends no writing: the document can be
/// deleted, and all others go on.
package struct UnreadableDocument: Error, Hashable, Sendable, CustomStringConvertible {
    package let key: DocumentKey

    package var description: String {
        "the stored \(key) cannot be read by this release; delete it and apply it again"
    }
}

extension ReadTransaction {
    /// The SPIFFE ID by which rights to a stored document are judged, also to one that cannot be
    /// read: then it is that of the entry made from it.
    ///
    /// Nil for what gives out none; whoever holds rights only below a prefix has none to that.
    package func spiffeID(of stored: StoredDocument) throws -> String? {
        guard stored.key.group == DocumentKey.nativeGroup,
            stored.key.kind == DocumentKind.registrationEntry.rawValue
        else { return nil }
        if let document = try? Document(stored: stored) { return document.spiffeID }
        return try entry(id: stored.uid)?.spiffeID
    }
}

extension StoredMetadata {
    package init(_ stored: StoredDocument) {
        self.init(
            uid: stored.uid,
            resourceVersion: stored.resourceVersion,
            creationTimestamp: stored.createdAt,
            revision: stored.resourceVersion
        )
    }
}

/// The roles and bindings that the datastore holds.
package enum StoredAccess {
    /// Most documents of either kind; the whole set is read for each change.
    ///
    /// An apply beyond it is refused, so that no right is ever left out.
    package static let documentsMax = 10_000

    static func stored(
        _ kind: DocumentKind,
        in transaction: ReadTransaction
    ) throws -> [StoredDocument] {
        var filter = DocumentFilter(kind: kind.rawValue)
        filter.group = DocumentKey.nativeGroup
        let stored = try transaction.documents(filter, after: nil, limit: documentsMax + 1)
        guard stored.count <= documentsMax else {
            throw APIError(
                .exhausted,
                "tooManyGrants",
                "there may be at most \(documentsMax) documents of kind \(kind.rawValue)"
            )
        }
        return stored
    }

    /// Those that can be read.
    ///
    /// Roles and bindings only ever allow, so without one of them there are fewer rights, and the
    /// others still can delete it.
    static func readable(
        _ kind: DocumentKind,
        in transaction: ReadTransaction
    ) throws -> [Document] {
        try stored(kind, in: transaction).compactMap { try? Document(stored: $0) }
    }
}

extension AdminAccess {
    /// Reads the stored roles and bindings; `admins` come from the server's configuration.
    package init(stored transaction: ReadTransaction, admins: [ActorPattern]) throws {
        var roles: [AdminRole] = []
        var bindings = [AdminBinding.builtInAdmins(admins)]
        for document in try StoredAccess.readable(.role, in: transaction) {
            if case .role(let spec) = document.spec {
                roles.append(spec.role(metadata: document.metadata))
            }
        }
        for document in try StoredAccess.readable(.roleBinding, in: transaction) {
            if case .roleBinding(let spec) = document.spec {
                bindings.append(spec.binding(metadata: document.metadata))
            }
        }
        self.init(roles: roles, bindings: bindings)
    }
}
