// SPDX-License-Identifier: Apache-2.0

internal import ControlAPI
internal import ControlAPIProtos
internal import GRPCCore
internal import GRPCPeer

/// What people on the agent's machine may ask it: root, and the user the agent runs as.
struct AgentLocalService: Signet_Agent_V1alpha1_AgentLocal.SimpleServiceProtocol {
    let queries: ServerQueries
    /// The agent's own.
    let uid: UInt32

    func explainWorkload(
        request: Signet_Agent_V1alpha1_ExplainWorkloadRequest,
        context: ServerContext
    ) async throws -> Signet_Node_V1alpha1_WorkloadExplanation {
        try check(context)
        return await queries.explain(pid: request.pid)
    }

    func getStatus(
        request: Signet_Agent_V1alpha1_GetStatusRequest,
        context: ServerContext
    ) async throws -> Signet_Node_V1alpha1_AgentStatus {
        try check(context)
        return queries.status()
    }

    /// Which entries exist is not for every process of the machine to know, nor for the root of a
    /// container that has the socket.
    private func check(_ context: ServerContext) throws {
        guard case .local(let peer) = try context.peer, peer.uid == 0 || peer.uid == uid else {
            throw APIError(
                .permissionDenied,
                "notTheOperator",
                "only root and the agent's own user (uid \(uid)) may ask; try sudo"
            )
        }
        // Unknown only to an agent without rights, which serves no containers of others.
        guard (try? ProcessReading.sharesNamespaces(peer.pid)) != false, peer.isAlive() else {
            throw APIError(
                .permissionDenied,
                "otherNamespace",
                "only processes in the agent's own mount and user namespaces may ask"
            )
        }
    }
}
