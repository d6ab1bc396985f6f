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

/// Entries, what depends on them, and why a workload gets what it gets.
extension AdministrationService {
    /// Most objects of one kind that a blast radius names.
    static let radiusMax = 1000
    /// How long an agent may take to explain a workload.
    static let explainDeadline: Duration = .seconds(5)
    /// Near misses shown: after the fifth nobody learns more.
    static let nearMissesMax = 5
    /// Entries that are compared with a workload: reading more would hold up other readers.
    static let comparedMax = 20_000

    func listEntries(
        request: Signet_Admin_V1alpha1_ListEntriesRequest,
        context: ServerContext
    ) async throws -> Signet_Admin_V1alpha1_ListEntriesResponse {
        let limit = request.limit == 0 ? Self.pageMax : min(Int(request.limit), Self.pageMax)
        let namespace: String? =
            request.allNamespaces
            ? nil
            : (request.namespace.isEmpty ? DocumentMetadata.defaultNamespace : request.namespace)
        let (read, visible) = try await gate.read(
            .any(.list, kind: AdminRule.registrationKind, namespace: namespace),
            context
        ) { transaction, standing in
            let page = try transaction.entries(
                after: request.pageToken,
                limit: limit,
                namespace: namespace
            )
            let visible = page.filter { entry in
                standing.mayList(entry)
                    && (request.name.isEmpty || entry.name == request.name)
                    && (request.spiffeID.isEmpty || entry.spiffeID == request.spiffeID)
            }
            return (page, visible)
        }
        return .with {
            $0.entries = visible.map(\.message)
            if read.count == limit { $0.nextPageToken = read.last?.id ?? "" }
        }
    }

    func blastRadius(
        request: Signet_Admin_V1alpha1_BlastRadiusRequest,
        context: ServerContext
    ) async throws -> Signet_Admin_V1alpha1_BlastRadiusResponse {
        try await gate.read(.exactly(.nodeList), context) { transaction, standing in
            let (entries, nodes) = try Self.reach(of: request.target, standing, in: transaction)
            // A radius that leaves something out would be believed.
            guard entries.allSatisfy({ standing.mayList($0) }) else {
                // Without their IDs, which the caller may not see.
                throw APIError(
                    .permissionDenied,
                    "adminDenied",
                    "not allowed: \(standing.actor) may not list all entries that this reaches; "
                        + "ask somebody who may"
                )
            }
            return try Self.radius(entries, nodes, now: standing.now, in: transaction)
        }
    }

    private static func reach(
        of target: Signet_Admin_V1alpha1_BlastRadiusRequest.OneOf_Target?,
        _ standing: AdminStanding,
        in transaction: ReadTransaction
    ) throws -> ([RegistrationEntry], [NodeRecord]) {
        switch target {
        case .node(let name):
            guard let node = try transaction.node(named: name) else {
                throw APIError(.notFound, "nodeUnknown", "there is no agent \(name)")
            }
            return (try transaction.entries(node: node.selectors), [node])
        case .entry(let text):
            let entries = [try entry(text, standing, in: transaction)]
            return (entries, try nodes(thatMatch: entries, in: transaction))
        case .spiffeID(let id):
            try standing.requireAny(.list, kind: AdminRule.registrationKind)
            let entries = try transaction.entries(
                spiffeIDPrefix: id,
                after: nil,
                limit: radiusMax
            ).filter { $0.spiffeID == id }
            return (entries, try nodes(thatMatch: entries, in: transaction))
        case nil:
            throw APIError(.invalidArgument, "targetMissing", "name an entry, a node or an ID")
        }
    }

    private static func radius(
        _ entries: [RegistrationEntry],
        _ nodes: [NodeRecord],
        now: Date,
        in transaction: ReadTransaction
    ) throws -> Signet_Admin_V1alpha1_BlastRadiusResponse {
        let ids = Set(entries.map(\.spiffeID)).sorted()
        var live: UInt64 = 0
        var last: Date?
        for id in ids.prefix(radiusMax) {
            let issued = try transaction.intents(
                spiffeID: id,
                validAfter: now,
                limit: radiusMax
            )
            live += UInt64(issued.count)
            if let longest = issued.first?.notAfter { last = max(last ?? longest, longest) }
        }
        return .with {
            $0.nodes = nodes.prefix(radiusMax).map(\.name)
            $0.spiffeIds = Array(ids.prefix(radiusMax))
            $0.entries = entries.prefix(radiusMax).map { "\($0.namespace)/\($0.name)" }
            $0.liveSvids = live
            $0.lastNotAfterUnixSeconds = last?.wholeSeconds ?? 0
            $0.truncated = max(nodes.count, ids.count, entries.count) > radiusMax
        }
    }

    private static func entry(
        _ text: String,
        _ standing: AdminStanding,
        in transaction: ReadTransaction
    ) throws -> RegistrationEntry {
        let parts = text.split(separator: "/", maxSplits: 1).map(String.init)
        let key = DocumentKey(
            group: DocumentKey.nativeGroup,
            kind: DocumentKind.registrationEntry.rawValue,
            namespace: parts.count == 2 ? parts[0] : DocumentMetadata.defaultNamespace,
            name: parts.last ?? ""
        )
        // Without any such right one does not learn whether the entry exists.
        try standing.requireAny(.list, kind: key.kind, namespace: key.namespace)
        guard let stored = try transaction.document(key),
            let entry = try transaction.entry(id: stored.uid)
        else { throw APIError(.notFound, "entryUnknown", "there is no \(key)") }
        return entry
    }

    private static func nodes(
        thatMatch entries: [RegistrationEntry],
        in transaction: ReadTransaction
    ) throws -> [NodeRecord] {
        var result: [NodeRecord] = []
        var after = ""
        while true {
            let page = try transaction.nodes(after: after, limit: pageMax)
            result += page.filter { node in
                entries.contains { $0.matches(node: node.selectors) }
            }
            guard page.count == pageMax, result.count <= radiusMax, let next = page.last else {
                return result
            }
            after = next.name
        }
    }

    // MARK: - Explain

    func explainWorkload(
        request: Signet_Admin_V1alpha1_ExplainWorkloadRequest,
        context: ServerContext
    ) async throws -> Signet_Node_V1alpha1_WorkloadExplanation {
        let id = try core.logic.agentID(request.agentName)
        let question = AdminQuestion.exactly(.explain, spiffeID: id.description)
        try await gate.read(question, context)
        let reply = await core.hub.ask(
            AgentName(request.agentName),
            .explainWorkload(.with { $0.pid = request.pid }),
            deadline: core.clock.bootTime + Self.explainDeadline,
            limit: UInt32(Self.nearMissesMax)
        )
        switch reply?.answer {
        case .explainWorkload(let explanation):
            return try await addingOtherNodes(explanation, request.agentName, question, context)
        case .refusal(let refusal):
            throw APIError(.failedPrecondition, refusal.code, refusal.message)
        default:
            throw APIError(
                .unavailable,
                "agentAway",
                "agent \(request.agentName) is not connected or did not answer in time"
            )
        }
    }

    /// Adds entries that fit the workload but not the node, which the agent cannot know; of them
    /// those that the caller may see, or all when it may explain any workload.
    private func addingOtherNodes(
        _ explanation: Signet_Node_V1alpha1_WorkloadExplanation,
        _ agent: String,
        _ question: AdminQuestion,
        _ context: ServerContext
    ) async throws -> Signet_Node_V1alpha1_WorkloadExplanation {
        guard
            let shown = try? Set(
                selectors(explanation.selectors, "selectors", max: AttestedSelectors.workloadMax)
            )
        else {
            throw APIError(
                .unavailable,
                "agentAnswer",
                "agent \(agent) answered with something that is no list of selectors"
            )
        }
        let (misses, isCutOff) = try await gate.read(question, context) { transaction, standing in
            try Self.nearMisses(shown, onOtherNodesThan: agent, standing, in: transaction)
        }
        var result = explanation
        result.nearMisses += misses
        if isCutOff {
            result.notes.append(
                "only \(Self.comparedMax) entries were compared; there may be others that fit this "
                    + "process on another node"
            )
        }
        return result
    }

    /// Entries that fit the workload but not the node; and whether not all were compared.
    private static func nearMisses(
        _ shown: Set<Selector>,
        onOtherNodesThan agent: String,
        _ standing: AdminStanding,
        in transaction: ReadTransaction
    ) throws -> ([Signet_Node_V1alpha1_NearMiss], Bool) {
        guard let node = try transaction.node(named: agent) else { return ([], false) }
        let mayAll = standing.may(.explain)
        var found: [RegistrationEntry] = []
        var (after, compared) = ("", 0)
        while true {
            let page = try transaction.entries(after: after, limit: radiusMax, namespace: nil)
            found += page.filter { entry in
                entry.matches(workload: shown) && !entry.matches(node: node.selectors)
                    && (mayAll || standing.mayList(entry))
            }
            compared += page.count
            guard found.count < nearMissesMax, page.count == radiusMax, let last = page.last
            else { return (messages(found, node), false) }
            guard compared < comparedMax else { return (messages(found, node), true) }
            after = last.id
        }
    }

    private static func messages(
        _ entries: [RegistrationEntry],
        _ node: NodeRecord
    ) -> [Signet_Node_V1alpha1_NearMiss] {
        entries.prefix(nearMissesMax).map { entry in
            .with {
                $0.entry = "\(entry.namespace)/\(entry.name)"
                $0.spiffeID = entry.spiffeID
                $0.matched = entry.workloadSelectors.map(\.description)
                $0.missingNodeSelectors = entry.nodeSelectors
                    .filter { !node.selectors.contains($0) }.map(\.description)
            }
        }
    }
}
