// SPDX-License-Identifier: Apache-2.0

internal import ControlAPI
package import NodeSync
package import PolicyDocuments
package import SPIFFE

/// What an apply or a delete is to do.
package struct DocumentOrder: Sendable {
    /// Documents to create or change, already understood.
    package var documents: [Document] = []
    /// Documents to delete.
    package var deletions: [DocumentKey] = []
    /// Delete what carries this value of `ownerLabel` and is not among `documents`, where they are:
    /// in the namespaces that they lie in or declare, and among the cluster-wide documents if one of
    /// them is cluster-wide.
    package var pruneOwner: String?
    /// The label by which prune finds documents.
    package static let ownerLabel = "signet/owner"
    /// Most documents of one order, to create or to delete: as many as one file may hold.
    package static let documentsMax = 10_000
    /// Most documents deleted by one prune: more is a mistake rather than a wish.
    package static let prunedMax = 10_000

    package init() {}

    /// Refuses an order that asks for nothing or too much.
    func check() throws(APIError) {
        let count = documents.count + deletions.count
        guard count > 0 || pruneOwner != nil else {
            throw APIError(
                .invalidArgument,
                "orderEmpty",
                "there is no document to apply or delete"
            )
        }
        guard pruneOwner == nil || !documents.isEmpty else {
            throw APIError(
                .invalidArgument,
                "pruneWithoutDocuments",
                "prune deletes where the applied documents are, and there is none; use delete"
            )
        }
        guard count <= Self.documentsMax else {
            throw APIError(
                .invalidArgument,
                "orderTooLarge",
                "at most \(Self.documentsMax) documents in one request"
            )
        }
    }
}

/// What became of one document.
package struct DocumentOutcome: Hashable, Sendable {
    /// What happened to it.
    package enum Action: String, Hashable, Sendable {
        case created
        case deleted
        case unchanged
        case updated
    }

    package let key: DocumentKey
    package let action: Action
    package let resourceVersion: UInt64
    package let uid: String
}

/// What an order did, all of it under one revision.
package struct DocumentResult: Hashable, Sendable {
    package let revision: Revision
    package let outcomes: [DocumentOutcome]
    package let warnings: [String]
}
