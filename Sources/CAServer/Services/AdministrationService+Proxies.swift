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

/// Proxies as their agents see them, and what proxies answer.
extension AdministrationService {
    /// Most proxies that one answer names.
    static let proxiesListedMax = 5_000
    /// How long an agent and its proxy may take to answer.
    static let proxyDeadline: Duration = .seconds(5)
    /// Most rows that a proxy is asked for.
    static let proxyRowsMax = 1_000

    // MARK: - Proxies

    func listProxies(
        request: Signet_Admin_V1alpha1_ListProxiesRequest,
        context: ServerContext
    ) async throws -> Signet_Admin_V1alpha1_ListProxiesResponse {
        let namespace: String? =
            request.allNamespaces
            ? nil
            : (request.namespace.isEmpty ? DocumentMetadata.defaultNamespace : request.namespace)
        let (hub, kind) = (core.hub, DataPathKind.proxy)
        let found = try await gate.read(.any(.list, kind: kind, namespace: namespace), context) {
            _,
            standing in
            hub.proxies { proxy in
                let key = ProxyReference(proxy.proxy)
                return (namespace == nil || key.namespace == namespace)
                    && (request.name.isEmpty || key.name == request.name)
                    && standing.may(.list, kind: kind, namespace: key.namespace)
            }
        }
        return .with {
            $0.proxies = found.prefix(Self.proxiesListedMax).map { found in
                .with {
                    $0.node = found.node.name
                    $0.proxy = found.proxy.message
                }
            }
        }
    }

    func askProxy(
        request: Signet_Admin_V1alpha1_AskProxyRequest,
        context: ServerContext
    ) async throws -> Signet_Node_V1alpha1_ProxyQueryReply {
        let key = ProxyReference(request.query.proxy)
        let question = AdminQuestion.exactly(
            .get,
            kind: DataPathKind.proxy,
            namespace: key.namespace
        )
        try await gate.read(question, context)
        guard request.query.kind != nil else {
            throw APIError(.invalidArgument, "queryMissing", "say what the proxy is asked for")
        }
        let node = try Self.node(
            of: request.query.proxy,
            named: request.node,
            among: core.hub.proxies { $0.isAttached && $0.proxy == request.query.proxy }
        )
        let asked = request.limit == 0 ? Self.proxyRowsMax : Int(request.limit)
        let limit = min(asked, Self.proxyRowsMax)
        let reply = try await ask(node, request.query, limit: limit)
        // Meanwhile the caller may have lost the right to know.
        try await gate.read(question, context)
        return reply
    }

    /// The node whose process is meant.
    private static func node(
        of proxy: String,
        named node: String,
        among found: [(node: AgentName, proxy: AttachedProxy)]
    ) throws(APIError) -> AgentName {
        let places = found.filter { node.isEmpty || $0.node.name == node }
        guard let first = places.first else {
            throw APIError(
                .unavailable,
                "proxyAway",
                node.isEmpty
                    ? "no connected agent has proxy \(proxy) attached"
                    : "agent \(node) is not connected or has no proxy \(proxy) attached"
            )
        }
        guard places.count == 1 else {
            throw APIError(
                .failedPrecondition,
                "proxyAmbiguous",
                "proxy \(proxy) runs on \(places.count) nodes "
                    + "(\(ProxyReview.list(places.map(\.node.name)))); name one with --node"
            )
        }
        return first.node
    }

    func ask(
        _ node: AgentName,
        _ query: Signet_Node_V1alpha1_ProxyQuery,
        limit: Int
    ) async throws(APIError) -> Signet_Node_V1alpha1_ProxyQueryReply {
        let reply = await core.hub.ask(
            node,
            .proxy(query),
            deadline: core.clock.bootTime + Self.proxyDeadline,
            limit: UInt32(limit)
        )
        switch reply?.answer {
        case .proxy(let answer):
            if case .refusal(let refusal) = answer.answer {
                throw APIError(.failedPrecondition, refusal.code, refusal.message)
            }
            return answer.withoutOrigin
        case .refusal(let refusal):
            throw APIError(.failedPrecondition, refusal.code, refusal.message)
        default:
            throw APIError(
                .unavailable,
                "proxyAway",
                "agent \(node) or its proxy \(query.proxy) did not answer in time"
            )
        }
    }
}

/// The parts of `namespace/name`.
struct ProxyReference {
    let namespace: String
    let name: String

    /// A text without slash is a name without namespace.
    init(_ text: String) {
        let parts = text.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
        namespace = parts.count == 2 ? String(parts[0]) : ""
        name = String(parts.last ?? "")
    }
}

extension Signet_Node_V1alpha1_ProxyQueryReply {
    /// Without what the server alone says of a decision.
    fileprivate var withoutOrigin: Self {
        guard case .decision(var decision) = answer else { return self }
        decision.clearLogged()
        decision.clearToldBy()
        return .with { $0.decision = decision }
    }
}
