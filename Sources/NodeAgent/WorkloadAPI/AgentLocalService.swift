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

    /// Which entries exist is not for every process of the machine to know.
    private func check(_ context: ServerContext) throws {
        guard case .local(let peer) = try context.peer, peer.uid == 0 || peer.uid == uid else {
            throw APIError(
                .permissionDenied,
                "notTheOperator",
                "only root and the agent's own user (uid \(uid)) may ask; try sudo"
            )
        }
    }
}
