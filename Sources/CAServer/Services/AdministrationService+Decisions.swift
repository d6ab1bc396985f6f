// SPDX-License-Identifier: Apache-2.0

internal import Authorization
internal import ControlAPI
internal import ControlAPIProtos
internal import GRPCCore
internal import Logging
internal import NodeSync
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

    /// A decision that no proxy remembers, for who may read the Proxy that made it.
    ///
    /// - Returns: nil if the log has it not, or cannot be asked.
    /// - Throws: `APIError` (`conflict`) with what each record says that the caller may read, if
    ///   several contradict each other: none of them is proved.
    func loggedDecision(
        _ id: String,
        _ context: ServerContext
    ) async throws -> Signet_Node_V1alpha1_DecisionExplanation? {
        let found = await loggedDecisions(id)
        guard let first = found.first else { return nil }
        let readable = try await readable(found, context) { $0.proxy }
        guard found.allSatisfy({ $0.says(theSameAs: first) }) else {
            let claims = ProxyReview.list(Set(readable.map(\.claim)), separator: "; ")
            throw APIError(
                .conflict,
                "decisionAmbiguous",
                "several records of the decision log contradict each other, and none is proved: "
                    + claims + Self.hidden(found.count - readable.count)
            )
        }
        return readable.first?.explanation
    }

    private func loggedDecisions(_ id: String) async -> [LoggedDecision] {
        do throws(APIError) {
            return try await core.decisions.decisions(named: id)
        } catch {
            core.logger.warning("the decision log cannot be asked", metadata: ["error": "\(error)"])
            return []
        }
    }

    /// Several processes say that a decision is theirs: who, and what the log has of it, as far as
    /// the caller may read the Proxies.
    func ambiguous(
        _ id: String,
        among makers: [(node: AgentName, proxy: AttachedProxy)],
        _ context: ServerContext
    ) async throws -> APIError {
        let readable = try await readable(makers, context) { $0.proxy.proxy }
        let names = readable.map { "\($0.node)/\($0.proxy.proxy)" }
        var message =
            "several processes say that it is theirs: \(ProxyReview.list(names))"
            + Self.hidden(makers.count - readable.count)
        let logged = await loggedDecisions(id)
        if !logged.isEmpty, let told = try? await self.readable(logged, context, proxy: \.proxy) {
            message +=
                "; the decision log has: "
                + ProxyReview.list(Set(told.map(\.claim)), separator: "; ")
                + Self.hidden(logged.count - told.count)
        }
        message += "; the log of the proxy that made it has it"
        return APIError(.conflict, "decisionAmbiguous", message)
    }

    private static func hidden(_ count: Int) -> String {
        count == 0 ? "" : " (and \(count) of Proxies that you may not read)"
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

    /// What it says, and who says it.
    fileprivate var claim: String {
        let verdict = explanation.allowed ? "allowed" : "denied"
        let peer = explanation.peer.isEmpty ? "a peer without identity" : explanation.peer
        let policy =
            explanation.policy.isEmpty
            ? "no policy" : "\(explanation.policyNamespace)/\(explanation.policy)"
        return "\(agent) says that \(proxy) \(verdict) \(peer) at \(explanation.identity) "
            + "(\(policy), \(explanation.reason))"
    }
}
