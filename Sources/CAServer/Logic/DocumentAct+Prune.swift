// SPDX-License-Identifier: Apache-2.0

internal import Authorization
internal import ControlAPI
internal import Datastore
internal import PolicyDocuments
internal import SPIFFE

/// Deleting what an owner no longer has.
///
/// A label is a claim that anybody may write on his own documents, so it decides neither where
/// something is deleted (the applied documents do) nor whether the caller may (his roles do).
extension DocumentAct {
    /// Deletes what carries the owner's label and is not among `documents`.
    ///
    /// Only where `documents` are: see `DocumentOrder.pruneOwner`. What the caller may not delete,
    /// and a namespace that still holds something, is left, with a warning.
    ///
    /// - Throws: `APIError` when the caller may delete nothing at all, or there is too much.
    mutating func prune(_ owner: String, keeping documents: [Document]) throws {
        try standing.requireAny(.delete)
        let kept = Set(documents.map(\.key))
        let found = try transaction.documentKeys(
            label: DocumentOrder.ownerLabel,
            value: owner,
            namespaces: Set(documents.flatMap(\.namespacesNamed)),
            limit: DocumentOrder.prunedMax + kept.count + 1
        ).filter { !kept.contains($0) }
        guard found.count <= DocumentOrder.prunedMax else {
            throw APIError(
                .invalidArgument,
                "pruneTooLarge",
                "prune would delete more than \(DocumentOrder.prunedMax) documents; delete them "
                    + "by name if that is meant"
            )
        }
        // Namespaces last: they must be empty.
        var isSomethingLeft = false
        for key in found where !key.namespace.isEmpty {
            if try !prune(key) { isSomethingLeft = true }
        }
        for key in found where key.namespace.isEmpty {
            if try !prune(key) { isSomethingLeft = true }
        }
        if isSomethingLeft {
            warnings.append(
                "prune left documents labelled \(DocumentOrder.ownerLabel)=\(owner) that you may "
                    + "not delete"
            )
        }
    }

    /// Deletes one document.
    ///
    /// - Returns: false when the caller may not.
    private mutating func prune(_ key: DocumentKey) throws -> Bool {
        guard let stored = try transaction.document(key) else { return true }
        let mayDelete = standing.may(
            .delete,
            kind: key.kind,
            namespace: key.namespace,
            spiffeID: try transaction.spiffeID(of: stored)
        )
        guard mayDelete else { return false }
        if key.kind == DocumentKind.namespace.rawValue,
            try transaction.documentKey(inNamespace: key.name) != nil
        {
            warnings.append("prune left \(key), which still holds documents")
            return true
        }
        try remove(stored)
        return true
    }
}

extension Document {
    /// The namespace that the document lies in (empty for the whole cluster) and the one that it
    /// declares.
    fileprivate var namespacesNamed: [String] {
        kind == .namespace
            ? [metadata.namespace, metadata.name] : [metadata.namespace]
    }
}
