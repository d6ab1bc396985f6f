// SPDX-License-Identifier: Apache-2.0

internal import Authorization
internal import ControlAPI
internal import ControlAPIProtos
internal import Datastore
internal import NodeSync
internal import PolicyDocuments
internal import SPIFFE
internal import SwiftProtobuf

/// Which documents an answer holds.
struct DocumentPage: Sendable {
    let exact: DocumentKey?
    let filter: DocumentFilter
    let after: DocumentKey?
    let limit: Int

    /// Most documents that are passed over because their reader may not see them.
    static let hiddenMax = 10_000

    /// Reads what the reader may see, and nothing of the rest: neither the number of the others nor
    /// their names, which a page token would tell, can be concluded from the page.
    ///
    /// - Returns: At most `limit` documents, and whether more may follow.
    /// - Throws: `DatastoreError`; `APIError` (`exhausted`) when too many others lie between.
    func read(
        in transaction: ReadTransaction,
        where isVisible: (StoredDocument) throws -> Bool
    ) throws -> (documents: [StoredDocument], more: Bool) {
        if let exact {
            return (try transaction.document(exact).map { [$0] }?.filter(isVisible) ?? [], false)
        }
        var visible: [StoredDocument] = []
        var (cursor, hidden) = (after, 0)
        while true {
            let page = try transaction.documents(filter, after: cursor, limit: limit)
            for stored in page {
                guard try isVisible(stored) else {
                    hidden += 1
                    continue
                }
                visible.append(stored)
                if visible.count == limit { return (visible, true) }
            }
            guard page.count == limit, let last = page.last else { return (visible, false) }
            guard hidden <= Self.hiddenMax else {
                throw APIError(
                    .exhausted,
                    "listTooWide",
                    "most of what this would list is not yours to see; name a kind and a namespace"
                )
            }
            cursor = last.key
        }
    }
}

/// Where the next page begins; opaque to callers.
struct PageToken {
    let key: DocumentKey

    init(_ key: DocumentKey) { self.key = key }

    init?(parsing text: String) throws(APIError) {
        guard !text.isEmpty else { return nil }
        let parts = text.split(separator: "/", omittingEmptySubsequences: false).map(String.init)
        guard parts.count == 4 else {
            throw APIError(.invalidArgument, "pageToken", "the page token is not one of ours")
        }
        key = DocumentKey(group: parts[0], kind: parts[1], namespace: parts[2], name: parts[3])
    }

    var text: String { "\(key.group)/\(key.kind)/\(key.namespace)/\(key.name)" }
}

extension DocumentKey {
    var message: Signet_Admin_V1alpha1_DocumentKey {
        .with {
            $0.group = group
            $0.kind = kind
            $0.namespace = namespace
            $0.name = name
        }
    }
}

extension DocumentResult {
    func message(isDryRun: Bool) -> Signet_Admin_V1alpha1_ApplyResponse {
        .with {
            $0.revision = revision.message
            $0.warnings = warnings
            $0.dryRun = isDryRun
            $0.changes = outcomes.map { outcome in
                .with {
                    $0.key = outcome.key.message
                    $0.action = outcome.action.rawValue
                    $0.resourceVersion = outcome.resourceVersion
                    $0.uid = outcome.uid
                }
            }
        }
    }
}

extension [DocumentVersion] {
    /// The versions, newest first, that the reader may see; a deletion is judged by what it deleted.
    func visible(to standing: AdminStanding) -> Self {
        var spiffeID: String?
        // The oldest first, so that a deletion comes after what it deleted.
        let seen = reversed().filter { version in
            if version.verb == .put { spiffeID = version.document?.spiffeID }
            return standing.may(
                .get,
                kind: version.key.kind,
                namespace: version.key.namespace,
                spiffeID: spiffeID
            )
        }
        return seen.reversed()
    }
}

extension DocumentVersion {
    /// What the version said; nil for a deletion, or when this release cannot read it any more.
    var document: Document? {
        let documents = try? Document.parse(canonicalJSON, file: "\(key)")
        return documents?.first
    }
}

extension [DocumentOutcome] {
    /// How many registration entries there are more than before.
    var entryCountChange: Int { countChange(of: DocumentKind.registrationEntry.rawValue) }

    /// How many documents of a kind there are more than before.
    func countChange(of kind: String) -> Int {
        filter { $0.key.kind == kind }.reduce(0) { sum, outcome in
            switch outcome.action {
            case .created: sum + 1
            case .deleted: sum - 1
            case .unchanged, .updated: sum
            }
        }
    }
}
