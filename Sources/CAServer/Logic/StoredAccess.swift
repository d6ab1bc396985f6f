// SPDX-License-Identifier: Apache-2.0

package import Authorization
internal import ControlAPI
package import Datastore
package import PolicyDocuments
internal import SPIFFE

extension Document {
    /// The SPIFFE ID, or template of one, that the document gives out.
    package var spiffeID: String? {
        if case .registrationEntry(let spec) = spec { return spec.spiffeID }
        return nil
    }

    /// Reads what the datastore holds.
    ///
    /// - Throws: `DatastoreError.corrupt` when it cannot be read any more.
    package init(stored: StoredDocument) throws {
        guard
            let documents = try? Document.parse(stored.canonicalJSON, file: "\(stored.key)"),
            documents.count == 1
        else { throw DatastoreError.corrupt("\(stored.key) cannot be read") }
        self = documents[0]
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

    static func documents(
        _ kind: DocumentKind,
        in transaction: ReadTransaction
    ) throws -> [Document] {
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
        return try stored.map { try Document(stored: $0) }
    }
}

extension AdminAccess {
    /// Reads the stored roles and bindings; `admins` come from the server's configuration.
    package init(stored transaction: ReadTransaction, admins: [ActorPattern]) throws {
        var roles: [AdminRole] = []
        var bindings = [AdminBinding.builtInAdmins(admins)]
        for document in try StoredAccess.documents(.role, in: transaction) {
            if case .role(let spec) = document.spec {
                roles.append(spec.role(metadata: document.metadata))
            }
        }
        for document in try StoredAccess.documents(.roleBinding, in: transaction) {
            if case .roleBinding(let spec) = document.spec {
                bindings.append(spec.binding(metadata: document.metadata))
            }
        }
        self.init(roles: roles, bindings: bindings)
    }
}
