// SPDX-License-Identifier: Apache-2.0

internal import Authorization
internal import Clocks
internal import ControlAPI
internal import ControlAPIProtos
internal import Datastore
internal import FoundationEssentials
internal import GRPCCore
internal import NodeSync
internal import PolicyDocuments
internal import SPIFFE
internal import SwiftProtobuf
internal import Telemetry

/// Documents: apply, read, delete, history, and waiting for agents to have them.
struct DocumentsService: Signet_Admin_V1alpha1_Documents.SimpleServiceProtocol {
    /// Most documents in one page of an answer.
    static let pageMax = 500
    /// Documents of one admin, rehearsed ones included, that are looked at in a second.
    static let documentsPerSecondMax = 500.0
    /// Documents of one admin at once: two times the most that one apply may change.
    static let documentsAtOnceMax = 20_000.0
    /// How long somebody may wait for agents; who needs longer asks again.
    static let waitMax: Duration = .seconds(3600)

    let core: ServerCore
    var gate: AdminGate { AdminGate(core: core) }

    func apply(
        request: Signet_Admin_V1alpha1_ApplyRequest,
        context: ServerContext
    ) async throws -> Signet_Admin_V1alpha1_ApplyResponse {
        // What is not the caller's to change is not even parsed.
        try await gate.read(.any(.apply), context)
        try take(1, context)
        var order = DocumentOrder()
        do {
            order.documents = try Self.parse(request.files, in: core.logic.trustDomain)
        } catch {
            core.metrics.increment(.documentApplies, "refused")
            throw error
        }
        order.pruneOwner = request.pruneOwner.isEmpty ? nil : request.pruneOwner
        return try await perform(
            order,
            .any(.apply),
            isDryRun: request.dryRun,
            takesProposal: request.takesProposal,
            context
        )
    }

    func delete(
        request: Signet_Admin_V1alpha1_DeleteRequest,
        context: ServerContext
    ) async throws -> Signet_Admin_V1alpha1_ApplyResponse {
        var order = DocumentOrder()
        order.deletions = try request.keys.map(Self.key)
        return try await perform(
            order,
            .any(.delete),
            isDryRun: request.dryRun,
            takesProposal: request.takesProposal,
            context
        )
    }

    func get(
        request: Signet_Admin_V1alpha1_GetRequest,
        context: ServerContext
    ) async throws -> Signet_Admin_V1alpha1_GetResponse {
        let kind = try request.kind.isEmpty ? nil : Self.kind(request.kind)
        let verb: AdminVerb = request.name.isEmpty ? .list : .get
        let page = try Self.page(request, kind)
        let namespace = page.exact?.namespace ?? page.filter.namespace
        let found = try await gate.read(
            .any(verb, kind: kind?.rawValue, namespace: namespace),
            context
        ) { transaction, standing in
            try page.read(in: transaction) { stored in
                standing.may(
                    verb,
                    kind: stored.key.kind,
                    namespace: stored.key.namespace,
                    spiffeID: try transaction.spiffeID(of: stored)
                )
            }
        }
        return .with {
            $0.documents = found.documents.map(Self.message)
            if found.more, let last = found.documents.last {
                $0.nextPageToken = PageToken(last.key).text
            }
        }
    }

    func history(
        request: Signet_Admin_V1alpha1_HistoryRequest,
        context: ServerContext
    ) async throws -> Signet_Admin_V1alpha1_GetResponse {
        let key = try Self.key(request.key)
        let versions = try await gate.read(
            .any(.get, kind: key.kind, namespace: key.namespace),
            context
        ) { transaction, standing in
            try transaction.history(of: key).visible(to: standing)
        }
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
                    $0.yaml = version.document?.yaml(stored: nil) ?? ""
                }
            }
        }
    }

    func wait(
        request: Signet_Admin_V1alpha1_WaitRequest,
        context: ServerContext
    ) async throws -> Signet_Admin_V1alpha1_WaitResponse {
        let current = try await gate.read(.exactly(.nodeList), context) { transaction, _ in
            try transaction.revision()
        }
        let revision = try Revision(parsing: request.revision)
        guard revision.epoch == current.epoch else {
            throw APIError(
                .failedPrecondition,
                "otherEpoch",
                "the revision is of another datastore"
            )
        }
        guard revision.number <= current.number else {
            throw APIError(
                .failedPrecondition,
                "revisionUnknown",
                "the newest revision is \(current.number), nobody can have \(revision.number)"
            )
        }
        let wanted = Duration.milliseconds(max(request.deadlineMilliseconds, 1))
        // A caller who hangs up does not cancel this task: only the handler is told.
        let (gone, leave) = AsyncStream.makeStream(of: Void.self)
        let (agents, proxies) = try await withRPCCancellationHandler {
            try await core.hub.waitUntilInForce(
                revision.number,
                deadline: core.clock.bootTime + min(wanted, Self.waitMax),
                gone: gone
            )
        } onCancelRPC: {
            leave.finish()
        }
        // Meanwhile the caller may have lost the right to know.
        try await gate.read(.exactly(.nodeList), context)
        return message(agents, proxies)
    }

    /// Agents by name, proxies as `node/namespace/name`.
    private func message(
        _ agents: AppliedState,
        _ proxies: ProxyProgress
    ) -> Signet_Admin_V1alpha1_WaitResponse {
        // Those whose stream ended lately are waited for; who reads this must tell them from one that
        // hangs.
        let away = agents.waiting.filter { !core.hub.presence(of: $0).presence.isConnected }
        let waiting = agents.waiting.filter { !away.contains($0) }
        let unreachable = (agents.unreachable + away).sorted()
        return .with {
            $0.complete = agents.waiting.isEmpty && proxies.waiting.isEmpty
            $0.applied = agents.applied.map(\.name) + proxies.applied.map(\.description)
            $0.waiting = waiting.map(\.name) + proxies.waiting.map(\.description)
            $0.unreachable = unreachable.map(\.name) + proxies.unreachable.map(\.description)
            for agent in unreachable {
                $0.lastSeenUnixSeconds[agent.name] = lastSeen(agent)?.wholeSeconds
            }
            $0.refused = agents.applied.flatMap { agent in
                core.hub.refusals(of: agent).map { refusal in
                    .with {
                        $0.node = agent.name
                        $0.resource = "\(refusal.key)"
                        $0.reason = refusal.reason
                    }
                }
            }
            $0.refused += proxies.refused.map { refusal in
                .with {
                    $0.node = refusal.place.node
                    $0.resource = "proxy \(refusal.place.proxy)"
                    $0.reason = refusal.reason
                }
            }
        }
    }

    /// Until when an agent was connected; nil if it was not since this server started.
    private func lastSeen(_ agent: AgentName) -> Date? {
        guard let seen = core.hub.presence(of: agent).presence.lastSeen else { return nil }
        let ago = (core.clock.bootTime - seen) / .seconds(1)
        return core.clock.wallTime.addingTimeInterval(-ago)
    }

    // MARK: - Steps

    private func perform(
        _ order: DocumentOrder,
        _ question: AdminQuestion,
        isDryRun: Bool,
        takesProposal: Bool,
        _ context: ServerContext
    ) async throws -> Signet_Admin_V1alpha1_ApplyResponse {
        let desk = ApprovalDesk(core: core, svid: try gate.svid(context))
        try take(order.weight, context)
        do {
            let answer = try await gate.write(question, isRehearsal: isDryRun, context) {
                transaction,
                standing in
                var generator = SystemRandomness()
                return try desk.act(by: standing, in: transaction).apply(
                    order,
                    takesProposal: takesProposal || isDryRun,
                    using: &generator
                )
            }
            return await message(answer, isDryRun: isDryRun)
        } catch {
            core.metrics.increment(.documentApplies, "refused")
            throw error
        }
    }

    private func message(
        _ answer: DocumentAnswer,
        isDryRun: Bool
    ) async -> Signet_Admin_V1alpha1_ApplyResponse {
        switch answer {
        case .done(let result):
            if isDryRun {
                core.metrics.increment(.documentApplies, "rehearsed")
            } else {
                core.documentsChanged(result)
            }
            return result.message(isDryRun: isDryRun)
        case .proposed(let record, let result):
            var proposal = record.summary
            core.metrics.increment(.documentApplies, isDryRun ? "rehearsed" : "proposed")
            if isDryRun { proposal = proposal.unstored } else { await core.countProposals() }
            var message = result.message(isDryRun: isDryRun)
            message.proposal = proposal.message(approved: 0, core.approvalRules)
            return message
        }
    }

    private func take(_ count: Int, _ context: ServerContext) throws {
        try core.takeDocuments(count, of: try gate.actor(context))
    }

    /// All problems are told at once; those that only the datastore knows of come later.
    private static func parse(
        _ files: [Signet_Admin_V1alpha1_SourceFile],
        in trustDomain: TrustDomain
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
        problems += documents.flatMap { $0.problems(inTrustDomain: trustDomain) }
            .map(\.description)
        guard problems.isEmpty else {
            let most = DocumentProblems.problemsMax
            if problems.count > most {
                problems = problems.prefix(most) + ["and more: only \(most) are shown"]
            }
            throw APIError(
                .invalidArgument,
                "documentRefused",
                problems.joined(separator: "\n")
            )
        }
        return documents
    }

    /// A kind as typed: in any case, and with a remedy for a slip.
    private static func kind(_ text: String) throws(APIError) -> DocumentKind {
        let kind = DocumentKind.allCases.first { $0.rawValue.lowercased() == text.lowercased() }
        guard let kind else {
            let known = DocumentKind.allCases.map(\.rawValue)
            let remedy = Suggestion.remedy(for: text, among: known)
            throw APIError(
                .invalidArgument,
                "kindUnknown",
                "there is no kind \"\(text)\"; \(remedy)"
            )
        }
        return kind
    }

    /// A document as typed; one without namespace lies in the default one, if its kind has any.
    private static func key(
        _ message: Signet_Admin_V1alpha1_DocumentKey
    ) throws(APIError) -> DocumentKey {
        let group = message.group.isEmpty ? DocumentKey.nativeGroup : message.group
        guard group == DocumentKey.nativeGroup else {
            throw APIError(.invalidArgument, "groupUnknown", "there is no API group \"\(group)\"")
        }
        let kind = try kind(message.kind)
        let namespace =
            message.namespace.isEmpty ? DocumentMetadata.defaultNamespace : message.namespace
        return DocumentKey(
            group: group,
            kind: kind.rawValue,
            namespace: kind.isNamespaced ? namespace : "",
            name: message.name
        )
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
    ) -> Signet_Admin_V1alpha1_StoredDocument {
        // One that cannot be read is shown as it is stored, so that it is found and deleted.
        let document = try? Document(stored: stored)
        let metadata = StoredMetadata(stored)
        return .with {
            $0.key = stored.key.message
            $0.uid = stored.uid
            $0.resourceVersion = stored.resourceVersion
            $0.revision = stored.resourceVersion
            $0.createdAtUnixMilliseconds = stored.createdAt.unixMilliseconds
            $0.updatedAtUnixMilliseconds = stored.writtenAt.unixMilliseconds
            $0.updatedBy = stored.actor
            $0.json =
                document?.prettyJSON(stored: metadata)
                ?? String(decoding: stored.canonicalJSON, as: UTF8.self)
            $0.yaml = document?.yaml(stored: metadata) ?? ""
        }
    }
}

extension DocumentOrder {
    /// As how many documents it counts: of subjects of bindings it is looked what gives them.
    package var weight: Int {
        let subjects = documents.reduce(0) { count, document in
            guard case .roleBinding(let spec) = document.spec else { return count }
            return count + spec.subjects.count
        }
        return documents.count + deletions.count + min(subjects, DocumentAct.reviewedSubjectsMax)
    }
}
