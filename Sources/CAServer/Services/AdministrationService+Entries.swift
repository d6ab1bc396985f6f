// SPDX-License-Identifier: Apache-2.0

internal import SwiftProtobuf
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

/// Entries, what depends on them, and why a workload gets what it gets.
extension AdministrationService {
    /// Most objects of one kind that a blast radius names.
    static let radiusMax = 1000
    /// How long an agent may take to explain a workload.
    static let explainDeadline: Duration = .seconds(5)
    /// Near misses shown: after the fifth nobody learns more.
    static let nearMissesMax = 5

    func listEntries(
        request: Signet_Admin_V1alpha1_ListEntriesRequest,
        context: ServerContext
    ) async throws -> Signet_Admin_V1alpha1_ListEntriesResponse {
        let kind = DocumentKind.registrationEntry.rawValue
        let (core, now) = (core, core.clock.wallTime)
        let limit = request.limit == 0 ? Self.pageMax : min(Int(request.limit), Self.pageMax)
        let namespace: String? =
            request.allNamespaces
            ? nil
            : (request.namespace.isEmpty ? DocumentMetadata.defaultNamespace : request.namespace)
        let actor = try await gate.requireAny(.list, kind: kind, namespace: namespace, context)
        let (read, visible) = try await core.read { transaction in
            let access = try core.access(in: transaction)
            let page = try transaction.entries(
                after: request.pageToken,
                limit: limit,
                namespace: namespace
            )
            let visible = page.filter { entry in
                let asked = AdminRequest(
                    actor: actor,
                    verb: .list,
                    kind: kind,
                    namespace: entry.namespace,
                    spiffeID: entry.spiffeID
                )
                guard case .allowed = access.allows(asked, now: now) else { return false }
                return (request.name.isEmpty || entry.name == request.name)
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
        try await gate.require(.nodeList, context)
        let now = core.clock.wallTime
        return try await core.read { transaction in
            let entries: [RegistrationEntry]
            var nodes: [NodeRecord]
            switch request.target {
            case .node(let name):
                guard let node = try transaction.node(named: name) else {
                    throw APIError(.notFound, "nodeUnknown", "there is no agent \(name)")
                }
                nodes = [node]
                entries = try transaction.entries(node: node.selectors)
            case .entry(let text):
                entries = [try Self.entry(text, in: transaction)]
                nodes = try Self.nodes(thatMatch: entries, in: transaction)
            case .spiffeID(let id):
                entries = try transaction.entries(
                    spiffeIDPrefix: id,
                    after: nil,
                    limit: Self.radiusMax
                ).filter { $0.spiffeID == id }
                nodes = try Self.nodes(thatMatch: entries, in: transaction)
            case nil:
                throw APIError(.invalidArgument, "targetMissing", "name an entry, a node or an ID")
            }
            return try Self.radius(entries, nodes, now: now, in: transaction)
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
        in transaction: ReadTransaction
    ) throws -> RegistrationEntry {
        let parts = text.split(separator: "/", maxSplits: 1).map(String.init)
        let key = DocumentKey(
            group: DocumentKey.nativeGroup,
            kind: DocumentKind.registrationEntry.rawValue,
            namespace: parts.count == 2 ? parts[0] : DocumentMetadata.defaultNamespace,
            name: parts.last ?? ""
        )
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
        try await gate.require(.explain, spiffeID: id.description, context)
        let reply = await core.hub.ask(
            AgentName(request.agentName),
            .explainWorkload(.with { $0.pid = request.pid }),
            deadline: core.clock.bootTime + Self.explainDeadline,
            limit: UInt32(Self.nearMissesMax)
        )
        switch reply?.answer {
        case .explainWorkload(let explanation):
            return try await addingOtherNodes(explanation, request.agentName)
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

    /// Adds entries that fit the workload but not the node, which the agent cannot know.
    private func addingOtherNodes(
        _ explanation: Signet_Node_V1alpha1_WorkloadExplanation,
        _ agent: String
    ) async throws -> Signet_Node_V1alpha1_WorkloadExplanation {
        let shown = Set(
            try selectors(
                explanation.selectors,
                "selectors",
                max: AttestedSelectors.workloadMax
            )
        )
        let misses = try await core.read { transaction in
            guard let node = try transaction.node(named: agent) else {
                return [Signet_Node_V1alpha1_NearMiss]()
            }
            return try transaction.entries(after: "", limit: Self.radiusMax, namespace: nil)
                .filter { $0.matches(workload: shown) && !$0.matches(node: node.selectors) }
                .prefix(Self.nearMissesMax)
                .map { entry in
                    .with {
                        $0.entry = "\(entry.namespace)/\(entry.name)"
                        $0.spiffeID = entry.spiffeID
                        $0.matched = entry.workloadSelectors.map(\.description)
                        $0.missingNodeSelectors = entry.nodeSelectors
                            .filter { !node.selectors.contains($0) }.map(\.description)
                    }
                }
        }
        var result = explanation
        result.nearMisses += misses
        return result
    }
}
