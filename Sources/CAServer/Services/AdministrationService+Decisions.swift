// SPDX-License-Identifier: Apache-2.0

internal import Authorization
internal import ControlAPI
internal import ControlAPIProtos
internal import DecisionLog
internal import GRPCCore
internal import HTTPSemantics
internal import Logging
internal import NodeSync
internal import SPIFFE
internal import SwiftProtobuf

/// What the decision log has.
extension AdministrationService {
    func readDecisionSegments(
        request: Signet_Admin_V1alpha1_ReadDecisionSegmentsRequest,
        context: ServerContext
    ) async throws -> Signet_Admin_V1alpha1_ReadDecisionSegmentsResponse {
        // Segments tell of every namespace, as the audit log does.
        try await gate.read(.exactly(.auditRead), context)
        return try await core.decisions.page(after: request.afterSequence)
    }

    /// Those of what was found that the caller may read, before anything of it is named.
    ///
    /// - Throws: `APIError` (`permissionDenied`) if he may read none; it names no namespace, and the
    ///   refusal is in the audit log with its name.
    func readable<Found: Sendable>(
        _ found: [Found],
        _ context: ServerContext,
        proxy: @escaping @Sendable (Found) -> String
    ) async throws -> [Found] {
        let kind = DataPathKind.proxy
        let readable = try await gate.read(.any(.get, kind: kind), context) { _, standing in
            found.filter { found in
                let namespace = ProxyReference(proxy(found)).namespace
                return standing.may(.get, kind: kind, namespace: namespace)
            }
        }
        guard readable.isEmpty, let first = found.first else { return readable }
        let namespace = ProxyReference(proxy(first)).namespace
        do {
            try await gate.read(.exactly(.get, kind: kind, namespace: namespace), context)
        } catch let error as APIError where error.kind == .permissionDenied {
            throw APIError(
                .permissionDenied,
                error.reason,
                "no role lets you read the Proxy that made this decision"
            )
        }
        return [first]
    }

    // MARK: - One decision

    func explainDecision(
        request: Signet_Admin_V1alpha1_ExplainDecisionRequest,
        context: ServerContext
    ) async throws -> Signet_Node_V1alpha1_DecisionExplanation {
        // What a decision tells is told to who may read the Proxy that made it; before it is found,
        // to who may read any.
        try await gate.read(.any(.get, kind: DataPathKind.proxy), context)
        guard let decision = DecisionID(request.id) else {
            throw APIError(
                .invalidArgument,
                "decisionMalformed",
                "a decision ID has \(DecisionID.length) characters, as in the answer that was "
                    + "refused"
            )
        }
        let instance = decision.instanceBytes
        let makers = core.hub.proxies { $0.isAttached && $0.instance == instance }
        let logged = await loggedDecisions(request.id)
        let claims = makers.map(DecisionClaim.process) + logged.map(DecisionClaim.record)
        guard !claims.isEmpty else {
            throw APIError(
                .notFound,
                "decisionUnknown",
                "no attached proxy made this decision, and the decision log has it not: allowed "
                    + "ones are sampled, floods of denials cut, and the newest are under way"
            )
        }
        let told = try await readable(claims, context, proxy: \.proxy)
        let hidden = Self.hidden(claims.count - told.count)
        // Everybody can choose the instance of a decision that he has seen, so a process is asked
        // only for what nobody has recorded, and for the rules of what its own Proxy has.
        guard let record = told.firstRecord else {
            return try await answer(to: request.id, by: told, hidden)
        }
        guard logged.allSatisfy({ $0.says(theSameAs: record) }) else {
            throw Self.ambiguous(
                "several records of the decision log contradict each other, and none is proved: ",
                told.filter { $0.isRecord },
                hidden
            )
        }
        var explanation = record.explanation
        if let maker = told.first(where: { isProcess($0, of: record) }),
            let live = try? await answer(to: request.id, by: [maker])
        {
            explanation.add(live)
        }
        return explanation
    }

    /// What the one process says whose decision it is, if there is no record.
    private func answer(
        to id: String,
        by claims: [DecisionClaim],
        _ hidden: String = ""
    ) async throws -> Signet_Node_V1alpha1_DecisionExplanation {
        guard claims.count == 1, case .process(let node, let proxy) = claims[0] else {
            throw Self.ambiguous(
                "the decision log has no record of it yet, and several processes say that it is "
                    + "theirs: ",
                claims,
                hidden
            )
        }
        let query = Signet_Node_V1alpha1_ProxyQuery.with {
            $0.proxy = proxy.proxy
            $0.decision = .with { $0.id = id }
        }
        let reply = try await ask(node, query, limit: 1)
        guard case .decision(var explanation) = reply.answer, explanation.id == id else {
            throw APIError(
                .unavailable,
                "proxyAnswer",
                "proxy \(proxy.proxy) answered with something else"
            )
        }
        let agent = try core.logic.agentID(node.name).description
        explanation.toldBy = .with {
            $0.agent = agent
            $0.proxy = proxy.proxy
            $0.contradiction =
                hidden.isEmpty ? "" : "others, of Proxies that you may not read, claim it too"
        }
        return explanation
    }

    /// Whether it is a process of the Proxy and the node that a record is of.
    private func isProcess(_ claim: DecisionClaim, of record: LoggedDecision) -> Bool {
        guard case .process(let node, let proxy) = claim,
            let agent = try? core.logic.agentID(node.name)
        else { return false }
        return proxy.proxy == record.proxy && agent.description == record.agent
    }

    private func loggedDecisions(_ id: String) async -> [LoggedDecision] {
        do throws(APIError) {
            return try await core.decisions.decisions(named: id)
        } catch {
            core.logger.warning("the decision log cannot be asked", metadata: ["error": "\(error)"])
            return []
        }
    }

    private static func ambiguous(
        _ sentence: String,
        _ claims: [DecisionClaim],
        _ hidden: String
    ) -> APIError {
        APIError(
            .conflict,
            "decisionAmbiguous",
            sentence + ProxyReview.list(Set(claims.map(\.description)), separator: "; ") + hidden
                + "; the log of the proxy that made it has it"
        )
    }

    private static func hidden(_ count: Int) -> String {
        count == 0 ? "" : " (and \(count) of Proxies that you may not read)"
    }
}

/// Who says that a decision is its own.
private enum DecisionClaim: Sendable, CustomStringConvertible {
    case process(node: AgentName, proxy: AttachedProxy)
    case record(LoggedDecision)

    /// `namespace/name`.
    var proxy: String {
        switch self {
        case .process(_, let proxy): proxy.proxy
        case .record(let record): record.proxy
        }
    }

    var isRecord: Bool {
        if case .record = self { true } else { false }
    }

    var description: String {
        switch self {
        case .process(let node, let proxy): "\(node)/\(proxy.proxy)"
        case .record(let record):
            "\(record.agent) says that \(record.proxy) \(record.explanation.claim)"
        }
    }
}

extension [DecisionClaim] {
    fileprivate var firstRecord: LoggedDecision? {
        for case .record(let record) in self { return record }
        return nil
    }
}

extension LoggedDecision {
    /// Whether it is the same agent's word of the same proxy's decision.
    fileprivate func says(theSameAs other: Self) -> Bool {
        var (own, others) = (explanation, other.explanation)
        own.clearLogged()
        others.clearLogged()
        return agent == other.agent && proxy == other.proxy && own == others
    }
}

extension Signet_Node_V1alpha1_DecisionExplanation {
    /// What it says, in short.
    fileprivate var claim: String {
        let verdict = allowed ? "allowed" : "denied"
        let peer = peer.isEmpty ? "a peer without identity" : peer
        let policy = policy.isEmpty ? "no policy" : "\(policyNamespace)/\(policy)"
        return "\(verdict) \(peer) at \(identity) (\(policy), \(reason))"
    }

    /// Adds to a record what the process that made it knows beside, or that it says something else.
    fileprivate mutating func add(_ live: Self) {
        toldBy = live.toldBy
        guard isRecord(of: live) else {
            toldBy.contradiction = "the process says now that it \(live.claim)"
            return
        }
        rules = live.rules
        if !live.nearestMiss.isEmpty { nearestMiss = live.nearestMiss }
    }

    /// Whether a record of what `live` tells would say this.
    private func isRecord(of live: Self) -> Bool {
        var (own, other) = (self, live)
        own.clearLogged()
        own.clearToldBy()
        other.clearToldBy()
        other.rules = []
        (own.nearestMiss, other.nearestMiss) = ("", "")
        (own.timeUnixMilliseconds, other.timeUnixMilliseconds) = (0, 0)
        other.path = DecisionText.cut(live.path, bytesMax: DecisionText.pathBytesMax)
        return own == other
    }
}

extension DecisionID {
    /// The instance as agents report it.
    fileprivate var instanceBytes: [UInt8] {
        let last = AttachedProxy.instanceBytes - 1
        return (0...last).map { UInt8(truncatingIfNeeded: instance >> UInt64(8 * (last - $0))) }
    }
}
