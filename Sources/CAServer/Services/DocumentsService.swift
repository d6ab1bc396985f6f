// SPDX-License-Identifier: Apache-2.0

internal import Telemetry
internal import Clocks
internal import Authorization
internal import ControlAPI
internal import ControlAPIProtos
internal import Datastore
internal import FoundationEssentials
internal import GRPCCore
internal import NodeSync
internal import PolicyDocuments
internal import SPIFFE
internal import SwiftProtobuf

/// Documents: apply, read, delete, history, and waiting for agents to have them.
struct DocumentsService: Signet_Admin_V1alpha1_Documents.SimpleServiceProtocol {
    /// Most documents in one page of an answer.
    static let pageMax = 500

    let core: ServerCore
    var gate: AdminGate { AdminGate(core: core) }

    func apply(
        request: Signet_Admin_V1alpha1_ApplyRequest,
        context: ServerContext
    ) async throws -> Signet_Admin_V1alpha1_ApplyResponse {
        try await gate.requireAny(.apply, context)
        var order = DocumentOrder()
        order.documents = try Self.parse(request.files)
        order.pruneOwner = request.pruneOwner.isEmpty ? nil : request.pruneOwner
        return try await perform(order, isDryRun: request.dryRun, "apply", context)
    }

    func delete(
        request: Signet_Admin_V1alpha1_DeleteRequest,
        context: ServerContext
    ) async throws -> Signet_Admin_V1alpha1_ApplyResponse {
        try await gate.requireAny(.delete, context)
        var order = DocumentOrder()
        order.deletions = request.keys.map(\.key)
        return try await perform(order, isDryRun: request.dryRun, "delete", context)
    }

    func get(
        request: Signet_Admin_V1alpha1_GetRequest,
        context: ServerContext
    ) async throws -> Signet_Admin_V1alpha1_GetResponse {
        let kind = try request.kind.isEmpty ? nil : Self.kind(request.kind)
        let verb: AdminVerb = request.name.isEmpty ? .list : .get
        let page = try Self.page(request, kind)
        let namespace = page.exact?.namespace ?? page.filter.namespace
        let actor = try await gate.requireAny(
            verb,
            kind: kind?.rawValue,
            namespace: namespace,
            context
        )
        let (core, now) = (core, core.clock.wallTime)
        let found = try await core.read { transaction in
            let access = try core.access(in: transaction)
            return try page.read(in: transaction) { stored in
                let request = AdminRequest(
                    actor: actor,
                    verb: verb,
                    kind: stored.key.kind,
                    namespace: stored.key.namespace,
                    spiffeID: try Document(stored: stored).spiffeID
                )
                guard case .allowed = access.allows(request, now: now) else { return false }
                return true
            }
        }
        return try .with {
            $0.documents = try found.documents.map(Self.message)
            if found.more, let last = found.documents.last {
                $0.nextPageToken = PageToken(last.key).text
            }
        }
    }

    func history(
        request: Signet_Admin_V1alpha1_HistoryRequest,
        context: ServerContext
    ) async throws -> Signet_Admin_V1alpha1_GetResponse {
        let key = request.key.key
        try await gate.require(.get, kind: key.kind, namespace: key.namespace, context)
        let versions = try await core.read { try $0.history(of: key) }
        guard !versions.isEmpty else {
            throw APIError(.notFound, "documentUnknown", "there never was \(key)")
        }
        return .with {
            $0.documents = versions.map { version in
                .with {
                    $0.key = version.key.message
                    $0.uid = version.uid
                    $0.resourceVersion = version.resourceVersion
                    $0.revision = version.resourceVersion
                    $0.updatedAtUnixMilliseconds = version.writtenAt.unixMilliseconds
                    $0.updatedBy = version.actor
                    $0.deleted = version.verb == .delete
                    $0.json = String(decoding: version.canonicalJSON, as: UTF8.self)
                    $0.yaml = Self.yaml(version)
                }
            }
        }
    }

    func wait(
        request: Signet_Admin_V1alpha1_WaitRequest,
        context: ServerContext
    ) async throws -> Signet_Admin_V1alpha1_WaitResponse {
        try await gate.require(.nodeList, context)
        let revision = try Revision(parsing: request.revision)
        guard revision.epoch == core.hub.epoch else {
            throw APIError(
                .failedPrecondition,
                "otherEpoch",
                "the revision is of another datastore"
            )
        }
        let milliseconds = min(max(request.deadlineMilliseconds, 1), 600_000)
        let state = await core.hub.waitUntilApplied(
            revision.number,
            deadline: core.clock.bootTime + .milliseconds(milliseconds)
        )
        return .with {
            $0.complete = state.waiting.isEmpty
            $0.applied = state.applied.map(\.name)
            $0.waiting = state.waiting.map(\.name)
            $0.unreachable = state.unreachable.map(\.name)
            $0.refused = state.applied.flatMap { agent in
                core.hub.refusals(of: agent).map { refusal in
                    .with {
                        $0.node = agent.name
                        $0.resource = "\(refusal.key)"
                        $0.reason = refusal.reason
                    }
                }
            }
        }
    }

    // MARK: - Steps

    private func perform(
        _ order: DocumentOrder,
        isDryRun: Bool,
        _ what: String,
        _ context: ServerContext
    ) async throws -> Signet_Admin_V1alpha1_ApplyResponse {
        let actor = try gate.actor(context)
        let (logic, admins, now) = (core.logic, core.configuration.admins, core.clock.wallTime)
        do throws(APIError) {
            let act: @Sendable (Transaction) throws -> DocumentResult = { transaction in
                var generator = SystemRandomNumberGenerator()
                var act = try DocumentAct(
                    logic,
                    by: actor,
                    admins: admins,
                    now: now,
                    in: transaction
                )
                return try act.perform(order, using: &generator)
            }
            let result = isDryRun ? try await core.rehearse(act) : try await core.write(act)
            core.metrics.increment(.documentApplies, isDryRun ? "rehearsed" : "applied")
            return result.message(isDryRun: isDryRun)
        } catch {
            core.metrics.increment(.documentApplies, "refused")
            if error.kind == .permissionDenied {
                await gate.recordRefusal(of: what, "", error.message, by: actor)
            }
            throw error
        }
    }

    private static func parse(
        _ files: [Signet_Admin_V1alpha1_SourceFile]
    ) throws -> [Document] {
        var documents: [Document] = []
        var problems: [String] = []
        for file in files {
            do throws(DocumentProblems) {
                documents += try Document.parse(Array(file.content.utf8), file: file.name)
            } catch {
                problems.append(error.description)
            }
        }
        problems += Document.problems(among: documents).map(\.description)
        guard problems.isEmpty else {
            throw APIError(
                .invalidArgument,
                "documentRefused",
                problems.joined(separator: "\n")
            )
        }
        return documents
    }

    private static func kind(_ text: String) throws(APIError) -> DocumentKind {
        let kind = DocumentKind.allCases.first { $0.rawValue.lowercased() == text.lowercased() }
        guard let kind else {
            let known = DocumentKind.allCases.map(\.rawValue).joined(separator: ", ")
            throw APIError(
                .invalidArgument,
                "kindUnknown",
                "there is no kind \(text); there are \(known)"
            )
        }
        return kind
    }

    private static func page(
        _ request: Signet_Admin_V1alpha1_GetRequest,
        _ kind: DocumentKind?
    ) throws(APIError) -> DocumentPage {
        let namespace: String? =
            if kind?.isNamespaced == false {
                ""
            } else if request.allNamespaces {
                nil
            } else {
                request.namespace.isEmpty ? DocumentMetadata.defaultNamespace : request.namespace
            }
        let limit = request.limit == 0 ? pageMax : min(Int(request.limit), pageMax)
        var exact: DocumentKey?
        if !request.name.isEmpty {
            guard let kind else {
                throw APIError(.invalidArgument, "kindMissing", "name a kind with the name")
            }
            exact = DocumentKey(
                group: DocumentKey.nativeGroup,
                kind: kind.rawValue,
                namespace: namespace ?? "",
                name: request.name
            )
        }
        var filter = DocumentFilter(kind: kind?.rawValue, namespace: namespace)
        // Every kind that can be named is ours, and keys are indexed by group first.
        if kind != nil { filter.group = DocumentKey.nativeGroup }
        return DocumentPage(
            exact: exact,
            filter: filter,
            after: try PageToken(parsing: request.pageToken)?.key,
            limit: limit
        )
    }

    private static func message(
        _ stored: StoredDocument
    ) throws -> Signet_Admin_V1alpha1_StoredDocument {
        let document = try Document(stored: stored)
        let metadata = StoredMetadata(stored)
        return .with {
            $0.key = stored.key.message
            $0.uid = stored.uid
            $0.resourceVersion = stored.resourceVersion
            $0.revision = stored.resourceVersion
            $0.createdAtUnixMilliseconds = stored.createdAt.unixMilliseconds
            $0.updatedAtUnixMilliseconds = stored.writtenAt.unixMilliseconds
            $0.updatedBy = stored.actor
            $0.json = document.prettyJSON(stored: metadata)
            $0.yaml = document.yaml(stored: metadata)
        }
    }

    private static func yaml(_ version: DocumentVersion) -> String {
        let documents = try? Document.parse(version.canonicalJSON, file: "\(version.key)")
        return documents?.first?.yaml(stored: nil) ?? ""
    }
}

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

extension Signet_Admin_V1alpha1_DocumentKey {
    var key: DocumentKey {
        DocumentKey(
            group: group.isEmpty ? DocumentKey.nativeGroup : group,
            kind: kind,
            namespace: namespace,
            name: name
        )
    }
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
